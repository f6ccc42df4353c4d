/* Descriptors that are duplicates of each other share one file: rewound through one, the other
 * reads anew too. */
#include "regression.h"

int main(void) {
	char text[16384];
	int fd = open("/proc/meminfo", O_RDONLY), twin = dup(fd), far = fcntl(fd, F_DUPFD, 400);
	must(fd >= 0 && twin >= 0 && far >= 400);
	says(slurp(twin, text, sizeof text), number_of("MEM_KB"), "dup");
	must(read(fd, text, 1) == 0);
	set_memory(300 << 10);
	must(lseek(fd, 0, SEEK_SET) == 0);
	says(slurp(twin, text, sizeof text), 300 << 10, "dup after lseek of the other");
	set_memory(200 << 10);
	must(lseek(far, 0, SEEK_SET) == 0);
	says(slurp(fd, text, sizeof text), 200 << 10, "after lseek of the far one");
}
