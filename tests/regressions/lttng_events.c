/* LTTng writes the events of each CPU into a ring of its own: 1,000 events on the CPU of the first argument. */
#include "regression.h"
#include <lttng/tracef.h>
#include <sched.h>

int main(int argc, char **argv) {
	cpu_set_t one;
	CPU_ZERO(&one);
	must(argc > 1);
	CPU_SET(atoi(argv[1]), &one);
	must(!raw(SYS_sched_setaffinity, 0, sizeof one, (long)&one, 0, 0, 0));
	for (int i = 0; i < 1000; i++) lttng_ust_tracef("event %d of CPU %d", i, sched_getcpu());
}
