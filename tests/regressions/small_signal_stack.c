/* A signal handler on a stack of 8 KiB (SIGSTKSZ) above a guard page gets the kernel's answers: the library's need
 * more. On a larger stack it gets the container's. */
#include "regression.h"
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

static volatile int which;
static volatile long pages;

static void handler(int number) {
	(void)number;
	cpu_set_t set;
	struct stat status;
	struct sysinfo info;
	double load[3];
	switch (which) {
	case 0: pages = sysconf(_SC_PHYS_PAGES); break;
	case 1: sysconf(_SC_NPROCESSORS_ONLN); break;
	case 2: sched_getaffinity(0, sizeof set, &set); break;
	case 3: stat("/sys/devices/system/cpu/cpu1", &status); break;
	case 4: getloadavg(load, 3); break;
	case 5: sysinfo(&info); break;
	case 6: sysconf(_SC_AVPHYS_PAGES); break;
	case 7: close(open("/proc/stat", O_RDONLY)); break;
	case 8: close(open("/proc/loadavg", O_RDONLY)); break;
	}
}

/* Whether the container's memory is seen on a stack of this size. */
static int seen(size_t size) {
	char *stack = mmap(0, PAGES + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(stack != MAP_FAILED && !mprotect(stack, PAGES, PROT_NONE));
	stack_t own = {.ss_sp = stack + PAGES, .ss_size = size};
	if (sigaltstack(&own, 0)) cannot("signals need a larger stack here");
	must(!raise(SIGUSR1));
	return pages == number_of("MEM_KB") / (sysconf(_SC_PAGESIZE) / 1024);
}

int main(void) {
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_ONSTACK};
	must(!sigaction(SIGUSR1, &action, 0));
	for (which = 0; which < 9; which++) {
		int status;
		pid_t child = fork();
		if (!child) {
			seen(8 << 10);
			_exit(0);
		}
		must(waitpid(child, &status, 0) == child);
		if (WIFSIGNALED(status)) fail("case %d: signal %d", which, WTERMSIG(status));
		if (status) return WEXITSTATUS(status);
	}
	which = 0;
	if (!seen(64 << 10)) fail("%ld pages on a large stack", pages);
}
