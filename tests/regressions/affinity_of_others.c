/* A program sets the mask of another process (NUMBERS section 2). It gives back the whole mask only if it
 * has read that process's mask, or if the process still has the whole mask. Otherwise the process gets the
 * mask that was set: it may have been pinned on purpose. Runs with a quota of 1 CPU and 2 CPUs or more
 * allowed. */
#include "regression.h"
#include <pthread.h>
#include <sys/prctl.h>

static cpu_set_t seen, all, pinned;

static void set_real(const cpu_set_t *mask) {
	must(!raw(SYS_sched_setaffinity, 0, sizeof *mask, (long)mask, 0, 0, 0));
}

static void has(pid_t thread, const cpu_set_t *mask, const char *how) {
	char status[64];
	snprintf(status, sizeof status, "/proc/%d/status", thread ? thread : getpid());
	cpu_set_t now = mask_in(status);
	if (!CPU_EQUAL(&now, mask)) fail("%s: %d CPUs, not %d", how, CPU_COUNT(&now), CPU_COUNT(mask));
}

static int by_libc(pid_t thread, const cpu_set_t *mask) { return sched_setaffinity(thread, sizeof *mask, mask); }
static int by_call(pid_t thread, const cpu_set_t *mask) { return syscall(SYS_sched_setaffinity, thread, sizeof *mask, mask); }
static int (*const ways[])(pid_t, const cpu_set_t *) = {by_libc, by_call};

/* A child with the mask, which waits. It ends with this program, so that a failure leaves none. */
static pid_t child_with(const cpu_set_t *mask) {
	set_real(mask);
	pid_t parent = getpid(), child = fork();
	if (!child) {
		must(!prctl(PR_SET_PDEATHSIG, SIGKILL));
		while (getppid() == parent) pause();
		_exit(9);
	}
	must(child > 0);
	set_real(&all);
	return child;
}

static void end(pid_t child) { must(!kill(child, SIGKILL) && waitpid(child, 0, 0) == child); }

static volatile pid_t thread_id;
static volatile int may_end;

static void *waits(void *unused) {
	set_real(&pinned);
	thread_id = syscall(SYS_gettid);
	while (!may_end) usleep(1000);
	return unused;
}

int main(void) {
	all = kernels_mask();
	if (CPU_COUNT(&all) < 2) cannot("one CPU only");
	int last = CPU_SETSIZE - 1;
	while (!CPU_ISSET(last, &all)) last--;
	CPU_ZERO(&pinned);
	CPU_SET(last, &pinned);

	for (int i = 0; i < (int)(sizeof ways / sizeof *ways); i++) {
		int (*set)(pid_t, const cpu_set_t *) = ways[i];
		/* Nobody has read its mask. */
		pid_t child = child_with(&pinned);
		must(!sched_getaffinity(0, sizeof seen, &seen));
		if (CPU_COUNT(&seen) != 1) fail("%d CPUs are seen", CPU_COUNT(&seen));
		errno = 1234;
		must(!set(child, &seen) && errno == 1234);
		has(child, &seen, "a pinned child");
		end(child);

		/* It has the mask that this program has read of itself. */
		child = child_with(&all);
		must(!set(child, &seen));
		has(child, &all, "a child with all CPUs");
		end(child);

		/* This program has read its mask. */
		child = child_with(&all);
		cpu_set_t of_child;
		must(!sched_getaffinity(child, sizeof of_child, &of_child) && CPU_EQUAL(&of_child, &seen));
		must(!set(child, &pinned));
		has(child, &pinned, "a child that is pinned after a read");
		must(!set(child, &of_child));
		has(child, &all, "a child whose mask was read");
		end(child);

		/* A child sets its own mask: it is pinned as its parent was, and knows what its parent has read. */
		set_real(&pinned);
		child = fork();
		if (!child) {
			must(!set(0, &seen));
			has(0, &all, "itself");
			set_real(&pinned);
			must(!set(getpid(), &seen));
			has(0, &all, "itself, by its ID");
			_exit(0);
		}
		int status;
		must(child > 0 && waitpid(child, &status, 0) == child && !status);
		set_real(&all);

		/* Another thread of this process. */
		pthread_t thread;
		thread_id = may_end = 0;
		must(!pthread_create(&thread, 0, waits, 0));
		while (!thread_id) usleep(1000);
		must(!set(thread_id, &seen));
		has(thread_id, &all, "a thread, by its ID");
		may_end = 1;
		must(!pthread_join(thread, 0));
	}
	return 0;
}
