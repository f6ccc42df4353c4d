/* siglongjmp out of a handler that interrupted a call: no descriptor, mapping or lock of the library
 * is left behind, and later values are still the container's. */
#include "regression.h"
#include <sched.h>
#include <setjmp.h>
#include <sys/sysinfo.h>
#include <sys/time.h>

static sigjmp_buf back;
static volatile sig_atomic_t inside, jumps;

static void handler(int signal) {
	(void)signal;
	if (inside) {
		jumps++;
		siglongjmp(back, 1);
	}
}

/* Closes all but the usual descriptors; returns their number. */
static int closed(void) {
	int count = 0;
	for (int fd = 3; fd < 16; fd++) count += raw(SYS_close, fd, 0, 0, 0, 0, 0) == 0;
	return count;
}

static long mapped_kb(void) {
	static char text[1 << 16];
	int fd = raw(SYS_openat, AT_FDCWD, (long)"/proc/self/status", O_RDONLY, 0, 0, 0);
	slurp(fd, text, sizeof text);
	close(fd);
	return field(text, "VmSize:");
}

static void round_of(int which) {
	int fd = -1;
	switch (which % 4) {
	case 0: fd = open("/proc/meminfo", O_RDONLY); break;
	case 1: fd = open("/proc/stat", O_RDONLY); break;
	case 2: { struct sysinfo info; sysinfo(&info); sysconf(_SC_NPROCESSORS_ONLN); break; }
	case 3: fd = open("/proc/self/stat", O_RDONLY); break;
	}
	if (fd >= 0) close(fd);
}

int main(void) {
	struct sigaction action = {0};
	action.sa_handler = handler;
	must(!sigaction(SIGALRM, &action, 0));
	read_all(number_of("MEM_KB"), number_of("CPUS"));
	for (int i = 0; i < 4; i++) round_of(i);
	long memory = mapped_kb();
	closed();
	/* The moment of the signal moves over the whole call. A jump may lose the descriptor of the call that it
	 * interrupts, without the library too, and no more. */
	for (volatile int i = 0; i < 2000; i++) {
		struct itimerval after = {{0, 0}, {0, 1 + i % 97}};
		if (!sigsetjmp(back, 1)) {
			inside = 1;
			must(!setitimer(ITIMER_REAL, &after, 0));
			for (int round = 0; round < 400; round++) round_of(i);
		}
		inside = 0;
		int lost = closed();
		if (lost > 1) fail("a jump leaves %d descriptors", lost);
	}
	struct itimerval none = {{0, 0}, {0, 0}};
	must(!setitimer(ITIMER_REAL, &none, 0));
	must(jumps > 500);
	long grown = mapped_kb() - memory;
	if (grown > 2048) fail("%ld KiB of memory lost in %d jumps", grown, (int)jumps);
	read_all(number_of("MEM_KB"), number_of("CPUS"));
}
