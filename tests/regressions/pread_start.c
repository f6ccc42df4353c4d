/* pread and similar functions at offset 0 refresh the content, and do not change the offset. */
#include "regression.h"
#include <sys/uio.h>

/* musl 1.2.3 lacks these, so no program calls them there. */
#ifndef __GLIBC__
#define preadv2 absent_preadv2
#define preadv64v2 absent_preadv64v2
#define __pread_chk absent_pread_chk
#define __pread64_chk absent_pread64_chk
#endif
ssize_t __pread_chk(int, void *, size_t, off_t, size_t) __attribute__((weak));
ssize_t __pread64_chk(int, void *, size_t, off_t, size_t) __attribute__((weak));
ssize_t preadv2(int, const struct iovec *, int, off_t, int) __attribute__((weak));
ssize_t preadv64v2(int, const struct iovec *, int, off_t, int) __attribute__((weak));

int main(void) {
	static char text[16384];
	struct iovec pieces[2] = {{text, 100}, {text + 100, sizeof text - 101}};
	long kb = number_of("MEM_KB");
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0 && read(fd, text, 7) == 7);
	for (int way = 0; way < 8; way++) {
		char how[32];
		ssize_t n = 0;
		set_memory(kb -= 4096);
		switch (way) {
		case 0: n = pread(fd, text, sizeof text - 1, 0); break;
		case 1: n = pread64(fd, text, sizeof text - 1, 0); break;
		case 2: n = preadv(fd, pieces, 2, 0); break;
		case 3: n = preadv64(fd, pieces, 2, 0); break;
		case 4: if (!preadv2) continue; n = preadv2(fd, pieces, 2, 0, 0); break;
		case 5: if (!preadv64v2) continue; n = preadv64v2(fd, pieces, 2, 0, 0); break;
		case 6: if (!__pread_chk) continue; n = __pread_chk(fd, text, sizeof text - 1, 0, sizeof text); break;
		case 7: if (!__pread64_chk) continue; n = __pread64_chk(fd, text, sizeof text - 1, 0, sizeof text); break;
		}
		snprintf(how, sizeof how, "way %d", way);
		must(n > 1000);
		text[n] = 0;
		says(text, kb, how);
		must(lseek(fd, 0, SEEK_CUR) == 7);
	}
	/* Two reads: the second part belongs to the same text as the first. */
	ssize_t n = pread(fd, text, 9, 0);
	set_memory(kb - 4096);
	must(n == 9 && (n = pread(fd, text + 9, sizeof text - 10, 9)) > 1000);
	text[n + 9] = 0;
	says(text, kb, "in two pieces");
}
