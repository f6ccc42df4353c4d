/* RLIMIT_AS leaves the library no memory: the program reads a whole file all the same. */
#include "regression.h"
#include <sys/mman.h>
#include <sys/resource.h>

int main(void) {
	static char text[256 << 10];
	FILE *statm = fopen("/proc/self/statm", "r");
	long pages = 0;
	must(statm && fscanf(statm, "%ld", &pages) == 1);
	pages *= sysconf(_SC_PAGESIZE);
	struct rlimit limit = {pages, pages};
	must(!setrlimit(RLIMIT_AS, &limit));
	for (int i = 0; i < FILES; i++) {
		int fd = open(files[i], O_RDONLY);
		must(fd >= 0 && *slurp(fd, text, sizeof text) && text[strlen(text) - 1] == '\n');
		must(lseek(fd, 0, SEEK_SET) == 0 && read(fd, text, 10) > 0);
		close(fd);
	}
	must(sysconf(_SC_NPROCESSORS_ONLN) > 0 && sysconf(_SC_PHYS_PAGES) > 0);
	if (mmap(0, 1 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED) cannot("RLIMIT_AS does not limit here");
}
