/* A program that allows itself the calls that its own libc makes, and then reads values of the machine: the
 * library makes no call for it, and the program gets the kernel's own values. The same program with a
 * filter that traps calls, whose handler makes them (the brokers of browsers): its signal stays free. */
#include "regression.h"
#include <dirent.h>
#include <sched.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <ucontext.h>

/* linux/filter.h and linux/seccomp.h, which musl-gcc does not find. */
struct instruction { unsigned short code; unsigned char yes, no; unsigned k; };
struct program { unsigned short length; struct instruction *code; };
enum { LOAD = 0x20, JUMP_IF_EQUAL = 0x15, RETURN = 0x06, KILL = 0, TRAP = 0x30000, ALLOW = 0x7fff0000, FILTER = 2 };
#define ALLOWED(n) {JUMP_IF_EQUAL, 0, 1, n}, {RETURN, 0, 0, ALLOW}

enum how { PRCTL, SECCOMP, SYSCALL_PRCTL, UNSEEN, HOWS };

static void install(struct program *program, enum how how) {
	long done = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	switch (done ? HOWS : how) {
	case PRCTL: done = prctl(PR_SET_SECCOMP, FILTER, program); break;
	case SECCOMP: done = syscall(SYS_seccomp, 1, 0, program); break;
	case SYSCALL_PRCTL: done = syscall(SYS_prctl, PR_SET_SECCOMP, FILTER, program); break;
	default: done = raw(SYS_prctl, PR_SET_SECCOMP, FILTER, (long)program, 0, 0, 0);
	}
	if (done) cannot("no seccomp filters here");
}

static void confine(enum how how) {
	/* The system calls that glibc and musl make for the calls below. */
	struct instruction filter[] = {
		{LOAD, 0, 0, 0}, /* the number of the system call */
		ALLOWED(SYS_read), ALLOWED(SYS_write), ALLOWED(SYS_openat), ALLOWED(SYS_close), ALLOWED(SYS_lseek),
		ALLOWED(SYS_newfstatat), ALLOWED(SYS_sysinfo), ALLOWED(SYS_sched_getaffinity), ALLOWED(SYS_execve),
		ALLOWED(SYS_sched_setaffinity), ALLOWED(SYS_exit_group), ALLOWED(SYS_brk), ALLOWED(SYS_getdents64),
#ifdef SYS_open
		ALLOWED(SYS_open), ALLOWED(SYS_stat),
#endif
		{RETURN, 0, 0, KILL},
	};
	install(&(struct program){sizeof filter / sizeof *filter, filter}, how);
}

static char *wiped[] = {"A=1", 0};

static void asked(const char *what, enum how how) {
	char text[64];
	struct stat status;
	struct sysinfo info;
	double averages[3];
	cpu_set_t mask;
	char *arguments[] = {"none", 0};
	int fd = open("/proc/meminfo", O_RDONLY), ended;
	must(fd >= 0);
	pid_t child = fork();
	if (!child) {
		confine(how);
		switch (*what) {
		case 'm': { int own = open("/proc/meminfo", O_RDONLY); if (own < 0 || read(own, text, 9) != 9 || memcmp(text, "MemTotal:", 9)) _exit(1); break; }
		case 'c': if (open("/sys/devices/system/cpu/online", O_RDONLY) < 0) _exit(1); break;
		case 'd': if (stat("/sys/devices/system/cpu/cpu0", &status)) _exit(1); break;
		case 'l': if (lseek(fd, 0, SEEK_SET)) _exit(1); break;
		case 'n': if (sysconf(_SC_NPROCESSORS_ONLN) < 1) _exit(1); break;
		case 'p': if (sysconf(_SC_PHYS_PAGES) < 1) _exit(1); break;
		case 'a': if (sched_getaffinity(0, sizeof mask, &mask) || sched_setaffinity(0, sizeof mask, &mask)) _exit(1); break;
		case 'g': if (getloadavg(averages, 3) != 3) _exit(1); break;
		case 's': if (sysinfo(&info) || !info.totalram) _exit(1); break;
		case 'y': if (syscall(SYS_sysinfo, &info) || !info.totalram) _exit(1); break;
		case 'e': execve("/none", arguments, wiped); if (errno != ENOENT) _exit(1); break;
		}
		_exit(0);
	}
	must(waitpid(child, &ended, 0) == child);
	if (WIFEXITED(ended) && WEXITSTATUS(ended) == 77) _exit(77);
	if (ended) fail("%s, %d: status %#x", what, how, ended);
	close(fd);
}

#ifdef __x86_64__
enum { BROKER = 0x70726f78 };

/* Makes the trapped call, with a last argument that lets it pass. */
static void make(int number, siginfo_t *info, void *context) {
	(void)number, (void)info;
	greg_t *at = ((ucontext_t *)context)->uc_mcontext.gregs;
	at[REG_RAX] = raw(at[REG_RAX], at[REG_RDI], at[REG_RSI], at[REG_RDX], at[REG_R10], at[REG_R8], BROKER);
}

static void trapped(enum how how) {
	int ended;
	pid_t child = fork();
	if (!child) {
		char text[64];
		struct sysinfo info;
		struct sigaction action = {.sa_sigaction = make, .sa_flags = SA_SIGINFO | SA_NODEFER};
		struct instruction filter[] = {
			{LOAD, 0, 0, 0},
			{JUMP_IF_EQUAL, 1, 0, SYS_openat}, {JUMP_IF_EQUAL, 0, 3, SYS_open},
			{LOAD, 0, 0, 16 + 5 * 8},
			{JUMP_IF_EQUAL, 1, 0, BROKER}, {RETURN, 0, 0, TRAP},
			{RETURN, 0, 0, ALLOW},
		};
		if (sigaction(SIGSYS, &action, 0)) _exit(1);
		install(&(struct program){sizeof filter / sizeof *filter, filter}, how);
		int fd = open("/proc/meminfo", O_RDONLY);
		if (fd < 0 || read(fd, text, 9) != 9 || memcmp(text, "MemTotal:", 9)) _exit(2);
		if (sysconf(_SC_NPROCESSORS_ONLN) < 1 || sysinfo(&info)) _exit(3);
		_exit(0);
	}
	must(waitpid(child, &ended, 0) == child);
	if (WIFEXITED(ended) && WEXITSTATUS(ended) == 77) _exit(77);
	if (ended) fail("trapped, %d: status %#x", how, ended);
}
#endif

int main(void) {
	static const char *const what[] = {
		"meminfo", "cpu", "directory", "lseek", "nprocessors", "pages", "affinity", "getloadavg", "sysinfo", "y", "execve",
	};
	for (enum how how = PRCTL; how < UNSEEN; how++)
		for (unsigned i = 0; i < sizeof what / sizeof *what; i++) asked(what[i], how);
#ifdef __x86_64__
	for (enum how how = PRCTL; how < HOWS; how++) trapped(how);
#endif
}
