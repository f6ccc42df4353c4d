/* With all signals blocked, also SIGPIPE and SIGXFSZ, the mask does not change. */
#include "regression.h"

int main(void) {
	sigset_t all, before, after;
	sigfillset(&all);
	must(!sigprocmask(SIG_SETMASK, &all, 0) && !sigprocmask(SIG_SETMASK, 0, &before));
	read_all(number_of("MEM_KB"), number_of("CPUS"));
	must(!sigprocmask(SIG_SETMASK, 0, &after) && !memcmp(&before, &after, 8));
	must(!sigpending(&after));
	for (int i = 1; i < 32; i++) must(!sigismember(&after, i));
}
