/* A call that fails has the same result and the same errno as the system call itself, which this program makes
 * without libc. */
#include "regression.h"
#include <sched.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>

static void same(long got, int error, long want, const char *what, const char *how) {
	if (want < 0) {
		if (got != -1 || error != -want) fail("%s %s: %ld, errno %d; should be errno %ld", what, how, got, error, -want);
	} else {
		if (got < 0) fail("%s %s: errno %d; should succeed", what, how, error);
		close(got);
		close(want);
	}
}

static void try(const char *how, int dir, const char *path, int flags) {
	long want;
#ifdef SYS_open
	want = raw(SYS_open, (long)path, flags, 0600, 0, 0, 0);
	if (dir == AT_FDCWD) {
		int fd = open(path, flags, 0600);
		same(fd, errno, want, "open", how);
		want = raw(SYS_open, (long)path, flags, 0600, 0, 0, 0);
		fd = syscall(SYS_open, path, flags, 0600);
		same(fd, errno, want, "syscall(SYS_open)", how);
	} else if (want >= 0) close(want);
#endif
	want = raw(SYS_openat, dir, (long)path, flags, 0600, 0, 0);
	int fd = openat(dir, path, flags, 0600);
	same(fd, errno, want, "openat", how);
	want = raw(SYS_openat, dir, (long)path, flags, 0600, 0, 0);
	fd = syscall(SYS_openat, dir, path, flags, 0600);
	same(fd, errno, want, "syscall(SYS_openat)", how);
	unsigned long long open_how[3] = {flags & ~O_CREAT, 0, 0};
	want = raw(SYS_openat2, dir, (long)path, (long)open_how, sizeof open_how, 0, 0);
	fd = syscall(SYS_openat2, dir, path, open_how, sizeof open_how);
	same(fd, errno, want, "syscall(SYS_openat2)", how);
}

int main(void) {
	static char long_path[5001];
	memset(long_path, 'a', 5000);
	memcpy(long_path, "/proc/meminfo", 13);
	long_path[13] = '/';
	memcpy(long_path + 5000 - 8, "/meminfo", 8);
	char *page = mmap(0, 2 * PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(page != MAP_FAILED && !mprotect(page + PAGES, PAGES, PROT_NONE));
	char *unterminated = page + PAGES - 13, *unreadable = page + PAGES;
	memcpy(unterminated, "/proc/meminfo", 13);

	try("missing", AT_FDCWD, "/proc/meminfo.", O_RDONLY);
	try("missing, with a name of ours", AT_FDCWD, "/nowhere/meminfo", O_RDONLY);
	try("missing, relative", AT_FDCWD, "meminfo", O_RDONLY);
	try("empty", AT_FDCWD, "", O_RDONLY);
	try("NULL", AT_FDCWD, 0, O_RDONLY);
	try("unreadable", AT_FDCWD, unreadable, O_RDONLY);
	try("a pointer to nowhere", AT_FDCWD, (char *)8, O_RDONLY);
	try("a pointer into the kernel", AT_FDCWD, (char *)-4096, O_RDONLY);
	try("unterminated at the end of a page", AT_FDCWD, unterminated, O_RDONLY);
	try("5,000 bytes long", AT_FDCWD, long_path, O_RDONLY);
	try("closed directory", 1000, "meminfo", O_RDONLY);
	try("closed directory, absolute", -1, "/proc/meminfo", O_RDONLY);
	try("a directory that is none", 0, "meminfo", O_RDONLY);
	try("trailing slash", AT_FDCWD, "/proc/meminfo/", O_RDONLY);
	try("O_PATH", AT_FDCWD, "/proc/meminfo", O_PATH);
	try("O_WRONLY", AT_FDCWD, "/proc/meminfo", O_WRONLY);
	try("O_RDWR", AT_FDCWD, "/proc/meminfo", O_RDWR);
	try("O_ACCMODE", AT_FDCWD, "/proc/meminfo", O_ACCMODE);
	try("O_TRUNC", AT_FDCWD, "/proc/meminfo", O_TRUNC);
	try("O_DIRECTORY", AT_FDCWD, "/proc/meminfo", O_DIRECTORY);
	try("O_CREAT | O_EXCL", AT_FDCWD, "/proc/meminfo", O_CREAT | O_EXCL);
	try("O_CREAT", AT_FDCWD, "/proc/meminfo", O_CREAT);
	try("O_TMPFILE", AT_FDCWD, "/proc/meminfo", O_TMPFILE | O_RDWR);
	try("O_DIRECT", AT_FDCWD, "/proc/meminfo", O_DIRECT);
	try("nonsense", AT_FDCWD, "/proc/meminfo", 0x40000000);

	must(!fopen("/nowhere/meminfo", "r") && errno == ENOENT);
	must(!fopen("/proc/meminfo", "q") && errno == EINVAL);
	must(!fopen(long_path, "r") && errno == ENAMETOOLONG);
	must(!fopen(unterminated, "r") && errno == EFAULT);

	static char text[8192];
	struct iovec part = {text, sizeof text}, bad = {unreadable, 10};
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	must(lseek(1000, 0, SEEK_SET) == -1 && errno == EBADF);
	must(lseek(-1, 0, SEEK_SET) == -1 && errno == EBADF);
	must(lseek(fd, -1, SEEK_SET) == -1 && errno == EINVAL);
	must(lseek(fd, 0, 99) == -1 && errno == EINVAL);
	must(pread(1000, text, 10, 0) == -1 && errno == EBADF);
	must(pread(fd, text, 10, -1) == -1 && errno == EINVAL);
	must(pread(fd, unreadable, 10, 0) == -1 && errno == EFAULT);
	must(preadv(1000, &part, 1, 0) == -1 && errno == EBADF);
	volatile int too_few = -1;
	must(preadv(fd, &part, too_few, 0) == -1 && errno == EINVAL);
	must(preadv(fd, &bad, 1, 0) == -1 && errno == EFAULT);
	FILE *file = fopen("/proc/meminfo", "r");
	must(file && fseek(file, -1, SEEK_SET) == -1 && errno == EINVAL);
	must(fseek(file, 0, 99) == -1 && errno == EINVAL);
	close(fileno(file));
	must(fseek(file, 0, SEEK_SET) == -1 && errno == EBADF);

	must(syscall(SYS_sysinfo, 0) == -1 && errno == EFAULT);
	must(syscall(SYS_sysinfo, unreadable) == -1 && errno == EFAULT);
	must(sysinfo((struct sysinfo *)unreadable) == -1 && errno == EFAULT);
	cpu_set_t cpus;
	must(sched_getaffinity(0, 0, &cpus) == -1 && errno == EINVAL);
	must(sched_getaffinity(0, 3, &cpus) == -1 && errno == EINVAL);
	must(sched_getaffinity(0, 8, (cpu_set_t *)unreadable) == -1 && errno == EFAULT);
	must(sched_getaffinity(0x3fffffff, sizeof cpus, &cpus) == -1 && errno == ESRCH);
	must(syscall(SYS_sched_getaffinity, 0, 3, &cpus) == -1 && errno == EINVAL);
	must(syscall(SYS_sched_getaffinity, 0, 8, unreadable) == -1 && errno == EFAULT);
	/* The raw call returns how many bytes it wrote, and writes no more. */
	memset(&cpus, 0x55, sizeof cpus);
	long wrote = syscall(SYS_sched_getaffinity, 0, sizeof cpus, &cpus);
	must(wrote == raw(SYS_sched_getaffinity, 0, sizeof cpus, (long)text, 0, 0, 0));
	for (unsigned i = wrote; i < sizeof cpus; i++) must(((unsigned char *)&cpus)[i] == 0x55);
	errno = 0;
	must(sysconf(-1) == -1 && errno == EINVAL);
	must(sysconf(99999) == -1 && errno == EINVAL);
	double load[4] = {-1, -1, -1, -1};
	must(getloadavg(load, 0) <= 0 && load[0] == -1);
	must(getloadavg(load, 2) == 2 && load[2] == -1);
	must(getloadavg(load, 4) == 3 && load[3] == -1);
	must(syscall(99999) == -1 && errno == ENOSYS);
	must(syscall(SYS_close, 1000) == -1 && errno == EBADF);
}
