/* A descriptor shared by fork: a rewind by the child refreshes it, and so does a later one by the parent. */
#include "regression.h"

int main(void) {
	char text[16384];
	int fd = open("/proc/meminfo", O_RDONLY), status;
	must(fd >= 0);
	says(slurp(fd, text, sizeof text), number_of("MEM_KB"), "parent");
	set_memory(300 << 10);
	pid_t child = fork();
	if (!child) {
		must(lseek(fd, 0, SEEK_SET) == 0);
		says(slurp(fd, text, sizeof text), 300 << 10, "child");
		_exit(0);
	}
	must(waitpid(child, &status, 0) == child && status == 0);
	must(read(fd, text, 1) == 0); /* one offset for both */
	set_memory(200 << 10);
	must(lseek(fd, 0, SEEK_SET) == 0);
	says(slurp(fd, text, sizeof text), 200 << 10, "parent after child");
}
