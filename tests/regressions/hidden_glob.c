/* glob of hidden CPUs has the same result as glob of files that do not exist: no path, or with GLOB_NOCHECK the
 * pattern, and with GLOB_APPEND the earlier paths. */
#include "regression.h"
#include <glob.h>

#define CPUS "/sys/devices/system/cpu/cpu[1-9]"
#define NONE "/sys/devices/system/cpu/cpv[1-9]"

static void same(int flags, const char *how) {
	static const char *const patterns[] = {NONE, CPUS};
	glob_t found[2];
	int results[2];
	memset(found, 0, sizeof found);
	for (int i = 0; i < 2; i++) {
		found[i].gl_offs = 2;
		if (flags & GLOB_APPEND) must(!glob("/etc/pass?d", flags & ~GLOB_APPEND, 0, &found[i]));
		results[i] = glob(patterns[i], flags, 0, &found[i]);
	}
	if (results[0] != results[1]) fail("%s: %d, not %d", how, results[1], results[0]);
	if (found[0].gl_pathc != found[1].gl_pathc) fail("%s: %ld found", how, (long)found[1].gl_pathc);
	int empty = flags & GLOB_DOOFFS ? 2 : 0;
	for (unsigned k = 0; k < found[1].gl_pathc; k++) {
		const char *path = found[1].gl_pathv[empty + k];
		const char *wanted = found[0].gl_pathv[empty + k];
		if (strcmp(path, strcmp(wanted, NONE) ? wanted : CPUS)) fail("%s: %s", how, path);
	}
	if (found[1].gl_pathc) must(!found[1].gl_pathv[empty + found[1].gl_pathc]);
	globfree(&found[0]);
	globfree(&found[1]);
}

int main(void) {
	if (raw(SYS_faccessat, AT_FDCWD, (long)"/sys/devices/system/cpu/cpu1", F_OK, 0, 0, 0)) cannot("one CPU only");
	same(0, "plain");
	same(GLOB_NOCHECK, "GLOB_NOCHECK");
	same(GLOB_NOCHECK | GLOB_DOOFFS, "GLOB_NOCHECK with places");
	same(GLOB_APPEND, "GLOB_APPEND");
	same(GLOB_APPEND | GLOB_NOCHECK, "GLOB_APPEND and GLOB_NOCHECK");
	glob_t found;
	must(!glob("/sys/devices/system/cpu/cpu[0-9]", 0, 0, &found) && found.gl_pathc == 1);
}
