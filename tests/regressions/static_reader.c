// A static program: prints the values of the machine, by system calls that no preload reaches.
// static_reader [see] | load MS | refresh FILE | interrupted | relative | self | full | often COUNT open|write|getppid|rewind
//               | try FILE... | fifo FILE
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static long opens, failures;
static int first_errno;
static volatile int over;

static void *open_often(void *unused)
{
	static const char *const paths[] = {"/etc/hostname", "/proc/uptime", "/proc/meminfo", "/etc/passwd"};
	char text[4096];
	for (unsigned i = 0; !over; i++) {
		int fd = open(paths[i % 4], O_RDONLY);
		__sync_fetch_and_add(&opens, 1);
		if (fd < 0 || read(fd, text, sizeof text) <= 0) {
			first_errno = errno;
			__sync_fetch_and_add(&failures, 1);
		}
		close(fd);
	}
	return unused;
}

// Four threads that open files for MS milliseconds.
static int load(int milliseconds)
{
	pthread_t threads[4];
	for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, open_often, 0);
	usleep(milliseconds * 1000);
	over = 1;
	for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
	printf("opens %ld failures %ld errno %d\n", opens, failures, first_errno);
	return failures != 0;
}

static void see(void)
{
	struct sysinfo info;
	cpu_set_t cpus;
	if (sysinfo(&info) == 0) printf("totalram %lu\nuptime %ld\n", info.totalram / 1024 * info.mem_unit, info.uptime);
	if (sched_getaffinity(0, sizeof cpus, &cpus) == 0) printf("affinity %d\n", CPU_COUNT(&cpus));
}

// Waits between the passes, so that uptime must change.
static int refresh(const char *path)
{
	char first[256] = "", sought[256] = "", at[256] = "";
	int fd = open(path, O_RDONLY);
	if (fd < 0) return 1;
	read(fd, first, sizeof first - 1);
	usleep(50000);
	lseek(fd, 0, SEEK_SET);
	read(fd, sought, sizeof sought - 1);
	usleep(50000);
	pread(fd, at, sizeof at - 1, 0);
	printf("first %ssought %sat %s", first, sought, at);
	return 0;
}

static void nothing(int unused) { (void)unused; }

// Opens while a timer's signal comes every 100 us. With SA_RESTART no open may fail.
static int interrupted(int flags)
{
	struct sigaction action = {.sa_handler = nothing, .sa_flags = flags};
	struct itimerval timer = {{0, 100}, {0, 100}};
	int failed = 0;
	sigaction(SIGALRM, &action, 0);
	setitimer(ITIMER_REAL, &timer, 0);
	for (int i = 0; i < 20000; i++) {
		int fd = open("/etc/hostname", O_RDONLY);
		if (fd < 0) failed++;
		else close(fd);
	}
	printf("failed %d\n", failed);
	return failed != 0;
}

// COUNT calls of one kind, for the benchmark.
static void often(int times, const char *kind)
{
	char byte;
	int fd = open("/etc/hostname", O_RDONLY);
	while (times-- > 0) {
		if (!strcmp(kind, "open")) close(open("/etc/hostname", O_RDONLY));
		else if (!strcmp(kind, "write")) close(open("/dev/null", O_WRONLY));
		else if (!strcmp(kind, "getppid")) getppid();
		else if (lseek(fd, 0, SEEK_SET) == 0) read(fd, &byte, 1);
	}
}

static int tried(int fd)
{
	int error = errno;
	if (fd < 0) return error;
	close(fd);
	return 0;
}

// The error numbers of several opens of a file, 0 for success.
static void try(const char *path)
{
	static const int flags[] = {0, O_NOFOLLOW, O_DIRECT, O_NOATIME, O_TRUNC};
	// `struct open_how`: flags, mode, resolve.
	static const unsigned long long hows[][3] = {{0, 0, 0}, {1ULL << 40, 0, 0}, {0, 0600, 0}, {0, 0, 1 << 20}, {O_NOFOLLOW, 0, 0}};
	printf("%s:", path);
	for (unsigned i = 0; i < sizeof flags / sizeof *flags; i++) printf(" %d", tried(open(path, flags[i])));
	for (unsigned i = 0; i < sizeof hows / sizeof *hows; i++)
		printf(" %d", tried(syscall(SYS_openat2, AT_FDCWD, path, hows[i], sizeof hows[i])));
	printf("\n");
}

// A read from the start of a FIFO without a writer fails at once.
static int fifo(const char *path)
{
	char byte;
	if (mkfifo(path, 0600)) return 1;
	int writer = open(path, O_RDWR | O_NONBLOCK), reader = open(path, O_RDONLY | O_NONBLOCK);
	close(writer);
	int result = pread(reader, &byte, 1, 0);
	printf("%d %d\n", result, errno);
	return 0;
}

int main(int count, char **words)
{
	const char *what = count > 1 ? words[1] : "see";
	if (!strcmp(what, "load")) return load(atoi(words[2]));
	if (!strcmp(what, "refresh")) return refresh(words[2]);
	if (!strcmp(what, "often")) return often(atoi(words[2]), words[3]), 0;
	if (!strcmp(what, "fifo")) return fifo(words[2]);
	if (!strcmp(what, "try")) {
		for (int i = 2; i < count; i++) try(words[i]);
		return 0;
	}
	if (!strcmp(what, "interrupted")) return interrupted(SA_RESTART);
	if (!strcmp(what, "relative")) {
		// The last component in the working directory, and below a directory's descriptor.
		char text[64] = "";
		int dir = open("/proc", O_RDONLY | O_DIRECTORY);
		if (chdir("/proc") || read(open("meminfo", O_RDONLY), text, 27) < 0) return 1;
		printf("%s\n", strtok(text, "\n"));
		if (chdir("/") || read(openat(dir, "meminfo", O_RDONLY), text, 27) < 0) return 1;
		printf("%s\n", strtok(text, "\n"));
		return 0;
	}
	if (!strcmp(what, "self")) {
		char text[64] = "";
		if (read(open("/proc/self/stat", O_RDONLY), text, 60) < 0) return 1;
		printf("%d %d\n", getpid(), atoi(text));
		return 0;
	}
	if (!strcmp(what, "full")) {
		// No descriptor left: the kernel's own error.
		while (open("/etc/hostname", O_RDONLY) >= 0) continue;
		printf("%d %d\n", open("/proc/meminfo", O_RDONLY), errno);
		return 0;
	}
	see();
	return 0;
}
