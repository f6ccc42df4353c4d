/* The library reads a path to its NUL and not a byte further: a path may end at the end of the last page, or span
 * two pages. */
#include "regression.h"
#include <sys/mman.h>

int main(void) {
	char *page = mmap(0, 2 * PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(page != MAP_FAILED && !mprotect(page + PAGES, PAGES, PROT_NONE));
	for (int back = 0; back < 20; back++) {
		char *path = strcpy(page + PAGES - sysconf(_SC_PAGESIZE) - back, "/proc/meminfo");
		int fd = open(path, O_RDONLY);
		must(fd >= 0);
		reads_ours(fd, "across a page");
		close(fd);
	}
	int fd = open(strcpy(page + PAGES - 14, "/proc/meminfo"), O_RDONLY);
	must(fd >= 0);
	reads_ours(fd, "at the end of the last page");
	/* The longest path that the kernel accepts: 4,095 bytes of slashes and a name. */
	char *path = page + PAGES - 4096;
	memset(path, '/', 4096);
	strcpy(path + 4095 - 12, "proc/meminfo");
	fd = open(path, O_RDONLY);
	must(fd >= 0);
	reads_ours(fd, "4,095 bytes");
	/* And a path in read-only memory. */
	must(!mprotect(page, PAGES, PROT_READ));
	fd = open(path, O_RDONLY);
	must(fd >= 0);
	reads_ours(fd, "read-only path");
}
