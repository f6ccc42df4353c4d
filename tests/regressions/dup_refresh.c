/* Duplicates of a descriptor share one file: a rewind of one refreshes the others too. */
#include "regression.h"

int main(void) {
	char text[16384];
	int fd = open("/proc/meminfo", O_RDONLY), copy = dup(fd), far = fcntl(fd, F_DUPFD, 400);
	must(fd >= 0 && copy >= 0 && far >= 400);
	says(slurp(copy, text, sizeof text), number_of("MEM_KB"), "dup");
	must(read(fd, text, 1) == 0);
	set_memory(300 << 10);
	must(lseek(fd, 0, SEEK_SET) == 0);
	says(slurp(copy, text, sizeof text), 300 << 10, "dup after lseek of the other");
	set_memory(200 << 10);
	must(lseek(far, 0, SEEK_SET) == 0);
	says(slurp(fd, text, sizeof text), 200 << 10, "after lseek of the far one");
}
