/* A file that is mounted over /proc/PID/stat is no file of a task. */
#include "regression.h"
#include <sys/mount.h>
#include <sys/stat.h>

int main(void) {
	char name[] = "/dev/shm/proclens-regression-XXXXXX", path[64], text[2048], again[2048];
	snprintf(path, sizeof path, "/proc/%d/stat", (int)getpid());
	int file = mkstemp(name), kernels = raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0, 0, 0);
	must(file >= 0 && kernels >= 0);
	size_t length = strlen(slurp(kernels, text, sizeof text));
	must(write(file, text, length) == (ssize_t)length);
	must(!unshare(CLONE_NEWNS) && !mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) && !mount(name, path, 0, MS_BIND, 0));
	must(!unlink(name));
	int fd = open(path, O_RDONLY);
	must(fd >= 0);
	/* By the kernel's calls, which the library does not change. */
	struct stat own, there;
	must(!fstat(file, &own));
	must(!raw(SYS_newfstatat, fd, (long)"", (long)&there, AT_EMPTY_PATH, 0, 0));
	must(own.st_ino == there.st_ino && own.st_dev == there.st_dev);
	if (strcmp(slurp(fd, again, sizeof again), text)) fail("it reads %s", again);
}
