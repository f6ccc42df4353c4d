/* A program that frees each result of glob does not grow, whether CPUs are hidden from some or all of it. */
#include "regression.h"
#include <glob.h>

static long memory_kb(void) {
	static char text[1 << 16];
	int fd = raw(SYS_openat, AT_FDCWD, (long)"/proc/self/status", O_RDONLY, 0, 0, 0);
	slurp(fd, text, sizeof text);
	close(fd);
	return field(text, "VmData:");
}

static void rounds(int count, const char *pattern, int flags) {
	glob_t found;
	while (count--) {
		found.gl_offs = 3;
		must(flags & GLOB_APPEND ? !glob("/etc/pass?d", flags & ~GLOB_APPEND, 0, &found) : 1);
		int result = glob(pattern, flags, 0, &found);
		must(result == 0 || result == GLOB_NOMATCH);
		/* Without GLOB_DOOFFS and GLOB_APPEND, nothing is allocated if nothing matches. */
		if (result == 0 || flags) globfree(&found);
	}
}

static void stays(const char *pattern, int flags, const char *how) {
	rounds(500, pattern, flags);
	long before = memory_kb();
	rounds(6000, pattern, flags);
	long grown = memory_kb() - before;
	if (grown > 150) fail("%s: %ld KiB more", how, grown);
}

int main(void) {
	if (raw(SYS_faccessat, AT_FDCWD, (long)"/sys/devices/system/cpu/cpu1", F_OK, 0, 0, 0)) cannot("one CPU only");
	stays("/sys/devices/system/cpu/cpu[0-9]", 0, "some");
	stays("/sys/devices/system/cpu/cpu[1-9]", 0, "none");
	stays("/sys/devices/system/cpu/cpu[0-9]", GLOB_DOOFFS, "some, with places");
	stays("/sys/devices/system/cpu/cpu[1-9]", GLOB_DOOFFS, "none, with places");
	stays("/sys/devices/system/cpu/cpu[0-9]", GLOB_APPEND, "some, appended");
	stays("/sys/devices/system/cpu/cpu[1-9]", GLOB_NOCHECK, "the pattern");
}
