/* Functions that an older libc lacks, used through weak references as in programs that run on both: a reference is
 * null, or the function works. tests/libcs.rs runs this on copies of libc without the names. With the argument
 * `only` it does not check the container's values. */
#include "regression.h"
#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#pragma weak statx
#pragma weak preadv2
#pragma weak preadv64v2
#pragma weak execveat
#pragma weak fstatat
#pragma weak fstatat64
#pragma weak stat64
#pragma weak fstat64
#pragma weak lstat64
int execveat(int, const char *, char *const *, char *const *, int);

/* Every glibc has this one. */
int with_version(int, int, struct stat *) __asm__("__fxstat");

/* As in JDK 22 and later: a function that dlsym finds must work. */
static void found_by_name(const struct stat *real) {
	struct statx extended;
	int (*found)(int, const char *, int, unsigned, struct statx *) = dlsym(RTLD_DEFAULT, "statx");
	if (found) must(!found(AT_FDCWD, "/etc/passwd", 0, STATX_BASIC_STATS, &extended) && extended.stx_ino == real->st_ino);
}

int main(int argc, char **argv) {
	char text[64], *arguments[] = {argv[0], "again", 0};
	if (argc > 1 && !strcmp(argv[1], "again")) return 0;
	int container = argc == 1;
	struct stat status, real;
	struct statx extended;
	struct iovec part = {text, 8};
	int fd = open("/etc/passwd", O_RDONLY);
	must(fd >= 0 && !with_version(1, fd, &real));
	found_by_name(&real);
	if (statx) {
		must(!statx(AT_FDCWD, "/etc/passwd", 0, STATX_BASIC_STATS, &extended) && extended.stx_ino == real.st_ino);
		must(statx(AT_FDCWD, "/nowhere", 0, STATX_BASIC_STATS, &extended) == -1 && errno == ENOENT);
		int ours = open("/proc/meminfo", O_RDONLY);
		if (container) must(!statx(ours, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &extended) && extended.stx_size == 0 && extended.stx_nlink == 1);
	}
	if (preadv2) must(preadv2(fd, &part, 1, 3, 0) == 8 && lseek(fd, 0, SEEK_CUR) == 0);
	if (preadv64v2) must(preadv64v2(fd, &part, 1, 3, 0) == 8 && preadv64v2(-1, &part, 1, 0, 0) == -1 && errno == EBADF);
	if (fstatat) must(!fstatat(AT_FDCWD, "/etc/passwd", &status, 0) && status.st_ino == real.st_ino);
	if (fstatat64) must(!fstatat64(fd, "", (void *)&status, AT_EMPTY_PATH) && status.st_size == real.st_size);
	if (stat64) must(!stat64("/etc/passwd", (void *)&status) && status.st_mode == real.st_mode);
	if (fstat64) must(!fstat64(fd, (void *)&status) && status.st_ino == real.st_ino);
	if (lstat64) must(!lstat64("/proc/self/exe", (void *)&status) && S_ISLNK(status.st_mode));
	int ours = open("/proc/meminfo", O_RDONLY);
	must(ours >= 0);
	if (container) reads_ours(ours, "with this libc");
	must(lseek(ours, 0, SEEK_SET) == 0);
	if (container) reads_ours(ours, "with this libc, anew");
	char *mapped = mmap(0, 4096, PROT_READ, MAP_PRIVATE, ours, 0);
	must(mapped == MAP_FAILED && errno == EIO);
	if (execveat) execveat(AT_FDCWD, "/proc/self/exe", arguments, environ, 0);
	else return 0;
	fail("execveat");
}
