/* The descriptor has the flags of the real open: close-on-exec is neither lost nor added, and non-blocking stays. */
#include "regression.h"

static void same(int fd, int real, const char *how) {
	must(fd >= 0 && real >= 0);
	int d = fcntl(fd, F_GETFD), want_d = fcntl(real, F_GETFD), l = fcntl(fd, F_GETFL), want_l = fcntl(real, F_GETFL);
	if (d != want_d) fail("%s: F_GETFD is %#x, not %#x", how, d, want_d);
	if (l != want_l) fail("%s: F_GETFL is %#x, not %#x", how, l, want_l);
	close(fd);
	close(real);
}

int main(void) {
	static const int flags[] = {0, O_CLOEXEC, O_NONBLOCK, O_NONBLOCK | O_CLOEXEC, O_NOCTTY};
	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) {
		char how[32];
		snprintf(how, sizeof how, "open with %#x", flags[i]);
		same(open("/proc/meminfo", flags[i]), raw(SYS_openat, AT_FDCWD, (long)"/proc/meminfo", flags[i], 0, 0, 0), how);
	}
	static const char *const modes[] = {"r", "rb", "re", "rce", "rme"};
	for (unsigned i = 0; i < sizeof modes / sizeof *modes; i++) {
		FILE *file = fopen("/proc/meminfo", modes[i]);
		must(file);
		int cloexec = strchr(modes[i], 'e') ? FD_CLOEXEC : 0;
		if (fcntl(fileno(file), F_GETFD) != cloexec) fail("fopen %s: F_GETFD is %d", modes[i], fcntl(fileno(file), F_GETFD));
		fclose(file);
	}
#ifdef __GLIBC__
	/* glibc reads the first seven characters, and none after a comma. */
	static const char *const long_modes[] = {"r        e", "r,ccs=GREEK"};
	for (unsigned i = 0; i < sizeof long_modes / sizeof *long_modes; i++) {
		FILE *file = fopen("/proc/meminfo", long_modes[i]), *other = fopen("/proc/version", long_modes[i]);
		if (!file || !other) continue;
		must(fcntl(fileno(file), F_GETFD) == fcntl(fileno(other), F_GETFD));
		fclose(file);
		fclose(other);
	}
#endif
	/* And the content is the container's. */
	int fd = open("/proc/meminfo", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	must(fd >= 0);
	reads_ours(fd, "open with flags");
	/* A refresh keeps the flags, also those that were set later. */
	must(!fcntl(fd, F_SETFD, 0) && !fcntl(fd, F_SETFL, O_APPEND) && lseek(fd, 0, SEEK_SET) == 0);
	must(fcntl(fd, F_GETFD) == 0 && (fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK)) == O_APPEND);
}
