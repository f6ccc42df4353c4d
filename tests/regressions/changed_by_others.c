/* Another user that gets a virtual descriptor cannot change the content that its owner reads: neither by the
 * descriptor nor by opening its file again. */
#include "regression.h"
#include <sys/stat.h>

static void tries(int fd) {
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (setgid(12345) || setuid(12345)) _exit(2);
	int again = open(path, O_RDWR);
	if (again >= 0) {
		if (write(again, "MemTotal: 1 kB\n", 15)) {}
		_exit(3);
	}
	if (open(path, O_WRONLY) >= 0 || open(path, O_RDONLY | O_TRUNC) >= 0) _exit(4);
	if (!ftruncate(fd, 0) || write(fd, "x", 1) >= 0) _exit(5);
	/* Reading is allowed, as of the kernel's file. */
	if (open(path, O_RDONLY) < 0) _exit(6);
	/* A rewind by another user gives that user the current text. */
	if (lseek(fd, 0, SEEK_SET)) _exit(7);
	_exit(0);
}

int main(void) {
	static const char *const paths[] = {"/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu/online", "/proc/self/stat"};
	if (getuid()) cannot("needs root");
	for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) {
		int fd = open(paths[i], O_RDONLY), status;
		must(fd >= 0);
		pid_t child = fork();
		if (!child) tries(fd);
		must(waitpid(child, &status, 0) == child);
		if (status) fail("%s: %#x", paths[i], status);
		close(fd);
	}
	/* Without the library the kernel refuses all of this too; only the next part needs the library. */
	int fd = open("/proc/meminfo", O_RDONLY);
	reads_ours(fd, "after others tried");
	/* A program that gives up root keeps its descriptors, and a rewind refreshes them. */
	pid_t child = fork();
	int status;
	if (!child) {
		struct stat real, shown;
		static char text[16384];
		if (setgid(12345) || setuid(12345)) _exit(2);
		must(!stat("/proc/meminfo", &real) && !fstat(fd, &shown));
		must(real.st_ino == shown.st_ino && real.st_dev == shown.st_dev);
		set_memory(300 << 10);
		must(lseek(fd, 0, SEEK_SET) == 0);
		says(slurp(fd, text, sizeof text), 300 << 10, "after root was given up");
		must(!fstat(fd, &shown) && real.st_ino == shown.st_ino);
		_exit(0);
	}
	must(waitpid(child, &status, 0) == child);
	return status != 0;
}
