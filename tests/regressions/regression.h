/* The common part of the C regression tests. Each is a small program for one fault. Exit status: 0 if everything
 * is right; 1 after a message about the first error; 77 after the reason why it cannot run here.
 *
 * tests/regressions.rs runs each in a container. Two variables describe the container: MEM_KB, the memory limit
 * in KiB, and CPUS. A line `memory KB` on stdout requests another limit; a line on stdin confirms it. */
#ifndef REGRESSION_H
#define REGRESSION_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
/* musl from 1.2.4 on declares lseek64 and its like only with this. */
#define _LARGEFILE64_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* A whole number of pages of any size that an arm64 kernel may have. */
enum { PAGES = 65536 };

static void fail(const char *why, ...) __attribute__((noreturn, format(printf, 1, 2)));
static void fail(const char *why, ...) {
	char text[1024];
	va_list list;
	va_start(list, why);
	int n = vsnprintf(text, sizeof text - 1, why, list);
	va_end(list);
	if (n > (int)sizeof text - 2) n = sizeof text - 2;
	text[n++] = '\n';
	if (write(2, text, n)) {}
	_exit(1);
}

static void cannot(const char *why) __attribute__((noreturn, unused));
static void cannot(const char *why) {
	if (write(2, why, strlen(why))) {}
	_exit(77);
}

#define must(x) ((x) ? (void)0 : fail("%s:%d: not so: %s (errno %d)", __FILE__, __LINE__, #x, errno))

static long number_of(const char *name) {
	const char *value = getenv(name);
	if (!value) fail("%s is not set", name);
	return atol(value);
}

/* A system call without libc, so without a hook. An error is a negative errno. */
static inline long raw(long number, long a, long b, long c, long d, long e, long f) {
#if defined __x86_64__
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	__asm__ volatile("syscall" : "=a"(result)
		: "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
		: "rcx", "r11", "memory");
	return result;
#elif defined __aarch64__
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	__asm__ volatile("svc 0" : "+r"(x0)
		: "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory");
	return x0;
#endif
}

/* The rest of the file, as a string. */
static inline char *slurp(int fd, char *text, size_t size) {
	size_t have = 0;
	ssize_t n;
	while ((n = read(fd, text + have, size - 1 - have)) > 0) have += n;
	if (n < 0) fail("read: errno %d", errno);
	text[have] = 0;
	return text;
}

/* The number after a line's name; -1 without such a line. */
static inline long field(const char *text, const char *name) {
	const char *at = text;
	while (at && strncmp(at, name, strlen(name))) {
		at = strchr(at, '\n');
		if (at) at++;
	}
	return at ? atol(at + strlen(name)) : -1;
}

static inline int count_lines(const char *text, const char *prefix) {
	int n = 0;
	for (const char *at = text; at; at = strchr(at, '\n'), at = at ? at + 1 : 0)
		n += !strncmp(at, prefix, strlen(prefix));
	return n;
}

/* `text` is a whole /proc/meminfo whose MemTotal is `kb`. */
static inline void says(const char *text, long kb, const char *how) {
	long total = field(text, "MemTotal:");
	if (total != kb) fail("%s: MemTotal is %ld, not %ld", how, total, kb);
	if (strncmp(text, "MemTotal:", 9) || field(text, "VmallocTotal:") < 0 || text[strlen(text) - 1] != '\n')
		fail("%s: not the whole file", how);
	if (field(text, "MemFree:") > kb || field(text, "MemAvailable:") >= kb)
		fail("%s: more free than in total", how);
}

/* Reading `fd` from its offset gives a whole /proc/meminfo with the container's limit. */
static inline void reads_ours(int fd, const char *how) {
	char text[16384];
	says(slurp(fd, text, sizeof text), number_of("MEM_KB"), how);
}

/* Changes the container's memory limit. */
static inline void set_memory(long kb) {
	char text[64], byte;
	int n = snprintf(text, sizeof text, "memory %ld\n", kb);
	must(write(1, text, n) == n);
	do must(read(0, &byte, 1) == 1);
	while (byte != '\n');
}

/* Virtual files. */
static const char *const files[] __attribute__((unused)) = {
	"/proc/meminfo", "/proc/stat", "/proc/cpuinfo", "/proc/loadavg", "/proc/uptime",
	"/sys/devices/system/cpu/online", "/sys/devices/system/cpu/present",
};
#define FILES ((int)(sizeof files / sizeof *files))

/* `text` is the content of `files[i]` in the container. */
static inline void is_ours(int i, const char *text, long kb, long cpus) {
	char list[32];
	snprintf(list, sizeof list, cpus > 1 ? "0-%ld\n" : "0\n", cpus - 1);
	switch (i) {
	case 0: if (field(text, "MemTotal:") != kb) fail("meminfo: %.40s", text); break;
	case 1: if (count_lines(text, "cpu") != cpus + 1) fail("stat: %.200s", text); break;
	case 2: if (count_lines(text, "processor") != cpus) fail("cpuinfo: %d processors", count_lines(text, "processor")); break;
	case 3: if (!strchr(text, '/') || text[strlen(text) - 1] != '\n') fail("loadavg: '%s'", text); break;
	case 4: if (!strchr(text, '.') || text[strlen(text) - 1] != '\n') fail("uptime: '%s'", text); break;
	default: if (strcmp(text, list)) fail("%s: '%s'", files[i], text);
	}
}

/* Opens, reads and checks each of these files. */
static inline void read_all(long kb, long cpus) {
	static __thread char text[256 << 10];
	for (int i = 0; i < FILES; i++) {
		int fd = open(files[i], O_RDONLY);
		must(fd >= 0);
		is_ours(i, slurp(fd, text, sizeof text), kb, cpus);
		close(fd);
	}
}
/* The kernel's own mask in a file `status` of /proc, which is not virtual. */
static inline cpu_set_t mask_in(const char *status) {
	cpu_set_t mask;
	char text[16384], *digits;
	int fd = open(status, O_RDONLY);
	must(fd >= 0);
	ssize_t length = read(fd, text, sizeof text - 1);
	must(length > 0 && !close(fd));
	text[length] = 0;
	must((digits = strstr(text, "\nCpus_allowed:\t")));
	digits += strlen("\nCpus_allowed:\t");
	CPU_ZERO(&mask);
	/* Hexadecimal, the last CPUs first, with commas between groups. */
	for (int cpu = 0, i = strcspn(digits, "\n"); i-- > 0;) {
		if (digits[i] == ',') continue;
		int digit = digits[i] <= '9' ? digits[i] - '0' : digits[i] - 'a' + 10;
		for (int bit = 0; bit < 4; bit++, cpu++)
			if (digit >> bit & 1) CPU_SET(cpu, &mask);
	}
	return mask;
}

/* That of the calling thread. */
static inline cpu_set_t kernels_mask(void) { return mask_in("/proc/thread-self/status"); }

#endif
