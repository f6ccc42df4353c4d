/* A program makes a PID namespace for its children and then reads the load: the library must not start a sampler
 * there, which would be the namespace's PID 1 and end it. */
#include "regression.h"
#include <sched.h>

static int number_of_child(void) {
	int ends[2], number = 0, status;
	must(!pipe(ends));
	pid_t child = fork();
	if (!child) {
		number = getpid();
		if (write(ends[1], &number, sizeof number)) {}
		_exit(0);
	}
	if (child < 0) fail("fork: errno %d", errno);
	must(read(ends[0], &number, sizeof number) == sizeof number);
	must(waitpid(child, &status, 0) == child && status == 0);
	return number;
}

int main(void) {
	double load[3];
	if (unshare(CLONE_NEWPID)) cannot("no PID namespaces here");
	must(getloadavg(load, 3) == 3);
	must(number_of_child() == 1);
}
