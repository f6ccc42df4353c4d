/* Calls on a virtual descriptor have the result, errno and offset that they have on the kernel's own
 * file, which this program opens without the library. ARCHITECTURE.md has a table of the differences. */
#include "regression.h"
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>

static const char *path;
static int ours, own;

#define AS_KERNEL(call) do { \
	int fd = own; errno = 0; long expected = (long)(call); int why = errno; \
	fd = ours; errno = 0; long result = (long)(call); int because = errno; \
	if (result != expected || because != why) \
		fail("%s: %s: %ld, errno %d; the kernel: %ld, errno %d", path, #call, result, because, expected, why); \
	if (lseek(ours, 0, SEEK_CUR) != lseek(own, 0, SEEK_CUR)) \
		fail("%s: offset %ld after %s; the kernel: %ld", path, (long)lseek(ours, 0, SEEK_CUR), #call, (long)lseek(own, 0, SEEK_CUR)); \
} while (0)

static long file_system(int fd) {
	struct statfs status;
	return fstatfs(fd, &status) ? -1 : (long)status.f_type;
}

static long volume_flags(int fd) {
	struct statvfs status;
	return fstatvfs(fd, &status) ? -1 : (long)status.f_flag;
}

/* As libuv does: mode, links and size. `struct statx` is 256 bytes. */
static long extended(int fd, const char *at) {
	unsigned short status[128] = {0};
	long of_descriptor, of_path;
	if (syscall(SYS_statx, fd, "", 0x1000 /* AT_EMPTY_PATH */, 0xfff, status)) return -1;
	of_descriptor = status[14] * 1000000L + status[8] * 10000 + status[20];
	if (syscall(SYS_statx, AT_FDCWD, at, 0, 0xfff, status)) return -1;
	of_path = status[14] * 1000000L + status[8] * 10000 + status[20];
	return of_descriptor == of_path ? of_path : -2;
}

static void *mapped(int fd, long size, int protection, int flags, long offset) {
	void *at = mmap(0, size, protection, flags, fd, offset);
	return at == MAP_FAILED ? at : (void *)1;
}

int main(void) {
	static const char *const paths[] = {
		"/proc/meminfo", "/proc/stat", "/proc/cpuinfo", "/proc/self/stat",
		"/sys/devices/system/cpu/online", "/sys/devices/system/node/node0/meminfo",
	};
	for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
		struct stat status;
		path = paths[i];
		if (stat(path, &status)) continue;
		ours = open(path, O_RDONLY);
		own = raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0, 0, 0);
		must(ours >= 0 && own >= 0);
		static const long sizes[] = {1, 512, 4096, 12288, 1 << 20, 0};
		for (unsigned s = 0; s < sizeof sizes / sizeof *sizes; s++) {
			AS_KERNEL(mapped(fd, sizes[s], PROT_READ, MAP_PRIVATE, 0));
			AS_KERNEL(mapped(fd, sizes[s], PROT_READ, MAP_SHARED, 0));
			AS_KERNEL(mapped(fd, sizes[s], PROT_READ | PROT_WRITE, MAP_PRIVATE, 0));
			AS_KERNEL(mapped(fd, sizes[s], PROT_READ | PROT_WRITE, MAP_SHARED, 0));
			AS_KERNEL(mapped(fd, sizes[s], PROT_READ, MAP_PRIVATE, 4096));
			AS_KERNEL(mapped(fd, sizes[s], PROT_READ, MAP_PRIVATE, 7));
			AS_KERNEL(mapped(fd, sizes[s], PROT_READ, 0, 0));
		}
		/* An anonymous mapping ignores its descriptor. */
		must(mapped(ours, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, 0) == (void *)1);
		AS_KERNEL(lseek(fd, 0, SEEK_END));
		AS_KERNEL(lseek(fd, -1, SEEK_END));
		AS_KERNEL(lseek(fd, 1, SEEK_END));
		AS_KERNEL(lseek(fd, 3, SEEK_SET));
		AS_KERNEL(lseek(fd, 0, SEEK_END));
		AS_KERNEL(lseek(fd, 0, SEEK_DATA));
		AS_KERNEL(lseek(fd, 0, SEEK_HOLE));
		AS_KERNEL(lseek(fd, 1L << 40, SEEK_DATA));
		AS_KERNEL(lseek(fd, -5, SEEK_SET));
		AS_KERNEL(lseek(fd, 1L << 40, SEEK_SET));
		AS_KERNEL(lseek(fd, 0x7fffffffffffffff, SEEK_SET));
		AS_KERNEL(lseek(fd, 0x7fffffff, SEEK_SET));
		AS_KERNEL(lseek(fd, 0, 77));
		AS_KERNEL(lseek(fd, 0, SEEK_SET));
		AS_KERNEL(fsync(fd));
		AS_KERNEL(fdatasync(fd));
		AS_KERNEL(file_system(fd));
		AS_KERNEL(volume_flags(fd));
		AS_KERNEL(extended(fd, path));
		AS_KERNEL(write(fd, "x", 1));
		AS_KERNEL(ftruncate(fd, 0));
		AS_KERNEL(fcntl(fd, F_GETFL));
		AS_KERNEL(fcntl(fd, F_SETFL, O_NONBLOCK | O_APPEND));
		AS_KERNEL(fcntl(fd, F_GETFL));
		AS_KERNEL(fcntl(fd, F_SETFL, 0));
		AS_KERNEL(fcntl(fd, F_GETFD));
		AS_KERNEL(fcntl(fd, 1032 /* F_GETPIPE_SZ */));
		AS_KERNEL(flock(fd, LOCK_SH | LOCK_NB));
		AS_KERNEL(flock(fd, LOCK_UN));
		pid_t child = fork();
		if (!child) {
			/* Not as root, who may change the mode of the kernel's files. */
			if (setgid(12345) || setuid(12345)) _exit(2);
			ours = open(path, O_RDONLY);
			own = raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY, 0, 0, 0);
			must(ours >= 0 && own >= 0);
			AS_KERNEL(fchmod(fd, 0644));
			AS_KERNEL(fchown(fd, 12345, 12345));
			AS_KERNEL(fchmod(fd, 0600));
			struct stat shown;
			must(!fstat(ours, &shown) && shown.st_uid == 0);
			_exit(0);
		}
		int ended;
		must(waitpid(child, &ended, 0) == child);
		if (ended) _exit(1);
		/* The text is still the container's. */
		if (!i) {
			must(lseek(ours, 0, SEEK_SET) == 0);
			reads_ours(ours, "after all of it");
		}
		close(ours);
		close(own);
	}
}
