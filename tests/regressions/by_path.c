/* stat of the paths that lead to a virtual descriptor shows the kernel's own file, as fstat of the descriptor does.
 * `cp /dev/stdin` calls stat, opens the path, and calls fstat. */
#include "regression.h"
#include <sys/mman.h>
#include <sys/stat.h>

static void same(const struct stat *status, const struct stat *real, const char *how) {
	if (status->st_dev != real->st_dev || status->st_ino != real->st_ino || status->st_size != real->st_size
		|| status->st_mode != real->st_mode || status->st_nlink != real->st_nlink)
		fail("%s: inode %ld, size %ld, mode %o", how, (long)status->st_ino, (long)status->st_size, status->st_mode);
}

static void asked(int fd, const struct stat *real) {
	char path[64], name[32];
	struct stat status;
	must(fd >= 0 && !fstat(fd, &status));
	same(&status, real, "fstat");
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	must(!stat(path, &status));
	same(&status, real, "stat");
	must(!fstatat(AT_FDCWD, path, &status, 0));
	same(&status, real, "fstatat");
	must(!fstatat(fd, "", &status, AT_EMPTY_PATH));
	same(&status, real, "fstatat without a path");
	snprintf(name, sizeof name, "%d", fd);
	must(!fstatat(open("/dev/fd/", O_RDONLY), name, &status, 0));
	same(&status, real, "fstatat in a directory");
	must(!lstat(path, &status) && S_ISLNK(status.st_mode));
	must(!fstatat(AT_FDCWD, path, &status, AT_SYMLINK_NOFOLLOW) && S_ISLNK(status.st_mode));
#ifdef __GLIBC__
	struct statx extended;
	must(!statx(AT_FDCWD, path, 0, STATX_BASIC_STATS, &extended));
	must(extended.stx_ino == real->st_ino && extended.stx_size == (unsigned long)real->st_size && extended.stx_nlink == real->st_nlink);
	must(!statx(fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended) && extended.stx_ino == real->st_ino);
#endif
	close(fd);
}

int main(void) {
	static const char *const paths[] = {"/proc/meminfo", "/proc/stat", "/proc/1/stat", "/sys/devices/system/cpu/online"};
	struct stat real, status;
	char path[64];
	for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
		must(!stat(paths[i], &real));
		asked(open(paths[i], O_RDONLY), &real);
	}
	/* A memory file of the program itself is shown as it is. */
	int fd = syscall(SYS_memfd_create, "proclens", 0);
	must(fd >= 0 && write(fd, "five!", 5) == 5);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	must(!stat(path, &status) && status.st_size == 5 && status.st_nlink == 0);
}
