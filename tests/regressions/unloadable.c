/* A hook whose function libc lacks does not call a library that the program has loaded with dlopen, because the
 * program may unload it. The argument is the library. */
#include "regression.h"
#include <dlfcn.h>

int __open_2(const char *, int) __attribute__((weak));

int main(int argc, char **argv) {
	must(argc > 1);
	/* Without the library no object has the name. */
	if (!__open_2) return 0;
	void *loaded = dlopen(argv[1], RTLD_NOW);
	if (!loaded) fail("%s", dlerror());
	int fd = __open_2("/etc/passwd", O_RDONLY);
	if (fd < 0 || fd > 100) fail("%d, errno %d", fd, errno);
	must(!dlclose(loaded));
	must((fd = __open_2("/proc/meminfo", O_RDONLY)) >= 0 && fd < 100);
	reads_ours(fd, "by a function that libc lacks");
}
