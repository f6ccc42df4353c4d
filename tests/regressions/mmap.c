/* mmap never shows the machine's numbers. Either the mapping has the container's, or mmap fails as for the
 * kernel's own file, and reading, which programs do then, works. */
#include "regression.h"
#include <sys/mman.h>

int main(void) {
	int fd = open("/proc/meminfo", O_RDONLY);
	int own = raw(SYS_openat, AT_FDCWD, (long)"/proc/meminfo", O_RDONLY, 0, 0, 0);
	must(fd >= 0 && own >= 0);
	long refusal = raw(SYS_mmap, 0, 4096, PROT_READ, MAP_PRIVATE, own, 0);
	must(refusal < 0 && refusal > -4096);
	char *text = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	if (text != MAP_FAILED) says(text, number_of("MEM_KB"), "mmap");
	else if (errno != -refusal) fail("mmap: errno %d, not %ld", errno, -refusal);
	must(mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) == MAP_FAILED);
	static const struct { long size, protection, flags, offset; } refused[] = {
		{1, PROT_READ, MAP_PRIVATE, 0}, {1, PROT_READ, MAP_SHARED, 0}, {0, PROT_READ, MAP_PRIVATE, 0},
		{1, PROT_READ, MAP_PRIVATE, 7}, {1, PROT_READ, 0, 0}, {1, PROT_READ | PROT_WRITE, MAP_SHARED, 0},
	};
	for (unsigned i = 0; i < sizeof refused / sizeof *refused; i++) {
		long s = refused[i].size, p = refused[i].protection, f = refused[i].flags, o = refused[i].offset;
		refusal = raw(SYS_mmap, 0, s, p, f, own, o);
		must(refusal < 0 && refusal > -4096);
		must(mmap(0, s, p, f, fd, o) == MAP_FAILED);
		if (errno != -refusal) fail("mmap %u: errno %d, not %ld", i, errno, -refusal);
	}
	reads_ours(fd, "after mmap");
	/* All other files can be mapped. */
	must(mmap(0, 4096, PROT_READ, MAP_PRIVATE, open("/etc/passwd", O_RDONLY), 0) != MAP_FAILED);
	must(mmap(0, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, fd, 0) != MAP_FAILED);
}
