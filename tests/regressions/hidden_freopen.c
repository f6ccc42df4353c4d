/* freopen of a file of a hidden CPU fails as for a file that does not exist: libc decides about the stream. (musl and
 * glibc from 2.38 on have then freed it.) */
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
		/* The allocator reports a stream that was freed twice. */
		void *more[8];
		for (int k = 0; k < 8; k++) must((more[k] = malloc(100 * k + 50)));
		for (int k = 0; k < 8; k++) free(more[k]);
	}
	must(fopen("/sys/devices/system/cpu/cpu0/uevent", "r"));
}
