/* freopen of a file of a hidden CPU fails as for a file that does not exist: libc decides about the stream, and the
 * program closes what it may close. */
#include "regression.h"

int main(void) {
	static const char *const paths[] = {"/sys/devices/system/cpu/cpu4095/uevent", "/sys/devices/system/cpu/cpu1/uevent"};
	for (int i = 0; i < 2; i++) {
		if (raw(SYS_faccessat, AT_FDCWD, (long)"/sys/devices/system/cpu/cpu1", F_OK, 0, 0, 0)) cannot("one CPU only");
		FILE *file = fopen("/etc/passwd", "r");
		must(file);
		errno = 0;
		FILE *other = freopen(paths[i], "r", file);
		if (other || errno != ENOENT) fail("%s: %s, errno %d", paths[i], other ? "opened" : "not opened", errno);
#ifdef __GLIBC__
		/* musl has closed it. */
		must(fclose(file) == EOF || errno == EBADF);
#endif
		/* Its memory was freed, or the allocator would report it. */
		void *more[8];
		for (int k = 0; k < 8; k++) must((more[k] = malloc(100 * k + 50)));
		for (int k = 0; k < 8; k++) free(more[k]);
	}
	must(fopen("/sys/devices/system/cpu/cpu0/uevent", "r"));
}
