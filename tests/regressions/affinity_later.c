/* A mask that was reduced is restored when the quota has changed in between, and when the CPUs that the
 * program saw have left the cpuset. Starts with a quota of 1 CPU; a line on stdout requests a change. */
#include "regression.h"
#include <sched.h>

static void ask_for(const char *what) {
	char byte;
	must(write(1, what, strlen(what)) == (ssize_t)strlen(what));
	do must(read(0, &byte, 1) == 1);
	while (byte != '\n');
}

int main(void) {
	cpu_set_t seen, now, all = kernels_mask();
	if (CPU_COUNT(&all) < 2) cannot("one CPU only");
	must(!sched_getaffinity(0, sizeof seen, &seen));
	if (CPU_COUNT(&seen) != 1) fail("%d CPUs are seen", CPU_COUNT(&seen));
	ask_for("two\n");
	must(!sched_getaffinity(0, sizeof now, &now) && CPU_COUNT(&now) == 2);
	must(!sched_setaffinity(0, sizeof seen, &seen));
	now = kernels_mask();
	must(CPU_EQUAL(&now, &all));
	ask_for("none\n");
	must(!sched_setaffinity(0, sizeof seen, &seen));
	now = kernels_mask();
	must(CPU_EQUAL(&now, &all));
	/* Only the last CPU is left. Without the library the program would restore all CPUs it had and succeed. */
	ask_for("last\n");
	must(!sched_setaffinity(0, sizeof seen, &seen));
	now = kernels_mask();
	must(CPU_COUNT(&now) == 1 && !CPU_EQUAL(&now, &seen));
	ask_for("all\n");
	must(!sched_setaffinity(0, sizeof seen, &seen));
	now = kernels_mask();
	must(CPU_EQUAL(&now, &all));
	/* An empty cpuset: v1 refuses it, on v2 it means the parent's CPUs. */
	ask_for("empty\n");
	must(!sched_getaffinity(0, sizeof now, &now) && !sched_setaffinity(0, sizeof seen, &seen));
	now = kernels_mask();
	must(CPU_EQUAL(&now, &all));
	/* The limit falls and rises again, twice: each mask that was read can be restored. */
	for (int i = 0; i < 2; i++) {
		ask_for("one\n");
		must(!sched_getaffinity(0, sizeof now, &now) && CPU_EQUAL(&now, &seen));
		must(!sched_setaffinity(0, sizeof now, &now));
		now = kernels_mask();
		must(CPU_EQUAL(&now, &all));
		ask_for("two\n");
		must(!sched_getaffinity(0, sizeof now, &now) && CPU_COUNT(&now) == 2);
		must(!sched_setaffinity(0, sizeof now, &now));
		now = kernels_mask();
		must(CPU_EQUAL(&now, &all));
		must(!sched_setaffinity(0, sizeof seen, &seen));
		now = kernels_mask();
		must(CPU_EQUAL(&now, &all));
	}
}
