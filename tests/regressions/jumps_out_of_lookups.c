/* siglongjmp out of a handler that interrupted a look-up of a CPU by an unusual path: no descriptor of the library is
 * left behind. */
#include "regression.h"
#include <setjmp.h>
#include <sys/stat.h>
#include <sys/time.h>

static sigjmp_buf back;
static volatile sig_atomic_t inside;

static void handler(int signal) {
	(void)signal;
	if (inside) siglongjmp(back, 1);
}

int main(void) {
	struct sigaction action = {0};
	struct stat status;
	action.sa_handler = handler;
	must(!sigaction(SIGALRM, &action, 0) && !chdir("/sys/devices/system"));
	int next = dup(0);
	must(next >= 0 && !close(next));
	for (volatile int i = 0; i < 2000; i++) {
		struct itimerval after = {{0, 0}, {0, 1 + i % 60}};
		if (!sigsetjmp(back, 1)) {
			inside = 1;
			must(!setitimer(ITIMER_REAL, &after, 0));
			for (int round = 0; round < 30; round++) stat("cpu/cpu1", &status);
		}
		inside = 0;
	}
	int last = dup(0);
	if (last != next) fail("descriptor %d was free, then %d", next, last);
}
