/* faulted ITEM ROUNDS: reads a file, or makes a call, ROUNDS times, with a getppid() before each and one after the
 * last. By these tests/fault_injection.rs finds the system calls in strace's output. Prints for each round a line
 * "== ROUND descriptor result errno" and the text that was read; then "== end DESCRIPTORS MAPPINGS", the open
 * descriptors and the mappings at the end. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <unistd.h>

static char text[8 << 20];
static size_t length;

static void print(const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	length += vsnprintf(text + length, sizeof text - length, format, arguments);
	va_end(arguments);
}

static void mark(void)
{
	syscall(SYS_getppid);
}

/* The whole file: its end is a read of 0 bytes. */
static void read_file(const char *path, int round)
{
	static char content[1 << 20];
	size_t size = 0;
	int result = 0, code = 0;
	errno = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || errno) {
		result = fd < 0 ? -1 : -2; /* -2: success that changes errno */
		code = errno;
	}
	while (fd >= 0 && !result) {
		errno = 0;
		ssize_t got = read(fd, content + size, sizeof content - size);
		if (got < 0 || errno) {
			result = got < 0 ? -1 : -2;
			code = errno;
		} else if (got == 0) {
			break;
		} else {
			size += got;
		}
	}
	if (fd >= 0) {
		errno = 0;
		if (close(fd) < 0 && !result) {
			/* The kernel closes the descriptor whatever close() returns. */
			result = -3;
			code = errno;
		}
	}
	mark();
	print("== %d %d %d %d\n%.*s", round, fd, result, code, (int)size, content);
}

static void call(const char *name, int round)
{
	long long value = 0;
	int result = 0;
	struct sysinfo info;
	cpu_set_t set;
	double loads[3];
	errno = 0;
	if (!strcmp(name, "sysinfo")) {
		result = sysinfo(&info);
		value = (long long)info.totalram * info.mem_unit;
	} else if (!strcmp(name, "getloadavg")) {
		value = getloadavg(loads, 3);
	} else if (!strcmp(name, "affinity")) {
		result = sched_getaffinity(0, sizeof set, &set);
		value = CPU_COUNT(&set);
	} else if (!strcmp(name, "pages")) {
		value = sysconf(_SC_PHYS_PAGES);
	} else {
		value = sysconf(_SC_NPROCESSORS_ONLN);
	}
	int code = errno;
	if (!result && code && value >= 0)
		result = -2;
	mark();
	print("== %d -1 %d %d\n%lld\n", round, result, code, value);
}

int main(int count, char **arguments)
{
	if (count != 3)
		return 2;
	int rounds = atoi(arguments[2]);
	mark();
	for (int round = 1; round <= rounds; round++) {
		if (*arguments[1] == '/')
			read_file(arguments[1], round);
		else
			call(arguments[1], round);
	}
	int descriptors = 0, mappings = 0;
	for (int fd = 0; fd < 1024; fd++)
		descriptors += syscall(SYS_fcntl, fd, F_GETFD) >= 0;
	int maps = syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY);
	static char page[65536];
	for (long got; (got = syscall(SYS_read, maps, page, sizeof page)) > 0;)
		for (long i = 0; i < got; i++)
			mappings += page[i] == '\n';
	print("== end %d %d\n", descriptors, mappings);
	for (size_t done = 0; done < length;) {
		long got = syscall(SYS_write, 1, text + done, length - done);
		if (got <= 0)
			return 3;
		done += got;
	}
	return 0;
}
