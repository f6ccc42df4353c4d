/* After exec the library has no memory of the open, and still a rewind refreshes the descriptor: on a low number
 * and on a high one. With an argument there is only a high one: the library detects it when the program opens a
 * virtual file itself. */
#include "regression.h"

int main(int argc, char **argv) {
	char text[16384];
	if (argc > 2) {
		int fd = atoi(argv[1]), high = atoi(argv[2]);
		if (fd == high) must(!close(open("/proc/uptime", O_RDONLY)));
		set_memory(300 << 10);
		must(lseek(high, 0, SEEK_SET) == 0);
		says(slurp(high, text, sizeof text), 300 << 10, "the high number after exec");
		set_memory(200 << 10);
		must(lseek(fd, 0, SEEK_SET) == 0);
		says(slurp(fd, text, sizeof text), 200 << 10, "the low number after exec");
		return 0;
	}
	char low[16], high[16];
	int fd = open("/proc/meminfo", O_RDONLY), far = fcntl(fd, F_DUPFD, 300);
	must(fd >= 0 && far == 300);
	says(slurp(fd, text, sizeof text), number_of("MEM_KB"), "before exec");
	if (argc == 2) close(fd);
	snprintf(low, sizeof low, "%d", argc == 2 ? far : fd);
	snprintf(high, sizeof high, "%d", far);
	execl("/proc/self/exe", argv[0], low, high, (char *)0);
	fail("exec");
}
