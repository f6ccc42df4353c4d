/* RLIMIT_FSIZE 0: a write to a memory file would raise a fatal SIGXFSZ. The program reads a whole file, the
 * container's or the kernel's, and a text from before the limit stays whole. */
#include "regression.h"
#include <sys/resource.h>

int main(void) {
	static char text[256 << 10];
	int early = open("/proc/meminfo", O_RDONLY);
	FILE *stream = fopen("/proc/meminfo", "r");
	must(early >= 0 && stream);
	struct rlimit none = {0, 0};
	must(!setrlimit(RLIMIT_FSIZE, &none));
	for (int i = 0; i < FILES; i++) {
		int fd = open(files[i], O_RDONLY);
		must(fd >= 0 && read(fd, text, sizeof text) > 0 && lseek(fd, 0, SEEK_SET) == 0 && read(fd, text, sizeof text) > 0);
	}
	slurp(early, text, sizeof text);
	says(text, field(text, "MemTotal:"), "opened before");
	must(lseek(early, 0, SEEK_SET) == 0);
	slurp(early, text, sizeof text);
	says(text, field(text, "MemTotal:"), "rewound under the limit");
	rewind(stream);
	must(fgets(text, sizeof text, stream) && field(text, "MemTotal:") > 0);
	/* Calls that need no file return the container's values. */
	must(sysconf(_SC_PHYS_PAGES) == number_of("MEM_KB") / (sysconf(_SC_PAGESIZE) / 1024));
}
