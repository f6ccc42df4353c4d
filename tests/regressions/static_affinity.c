/* Reduced masks below `proclens run`, whose server must find out which program read a mask. Runs with a
 * quota of 1 CPU and 2 CPUs or more allowed. */
#include "regression.h"
#include <pthread.h>

static cpu_set_t seen, all;

static void is_real(const cpu_set_t *mask, const char *how) {
	cpu_set_t now = kernels_mask();
	if (!CPU_EQUAL(&now, mask)) fail("%s: the thread has %d CPUs, not %d", how, CPU_COUNT(&now), CPU_COUNT(mask));
}

static void read_mask(void) {
	must(!sched_getaffinity(0, sizeof seen, &seen));
	if (CPU_COUNT(&seen) != 1) fail("%d CPUs are seen", CPU_COUNT(&seen));
}

static void ends_well(pid_t child) {
	int status;
	must(child > 0 && waitpid(child, &status, 0) == child && !status);
}

/* A program sets the mask that the program before it in this process read: it has read none itself. */
static void not_after_exec(char *self) {
	pid_t child = fork();
	if (!child) {
		read_mask();
		execl(self, self, "pin", (char *)0);
		_exit(9);
	}
	ends_well(child);
}

/* The process that read the mask has ended. */
static void orphan(void) {
	int pipes[2];
	char byte;
	must(!pipe(pipes));
	pid_t child = fork();
	if (!child) {
		read_mask();
		pid_t reader = getpid();
		if (fork()) _exit(0);
		while (getppid() == reader) usleep(1000);
		must(!sched_setaffinity(0, sizeof seen, &seen));
		is_real(&all, "an orphan");
		must(write(pipes[1], "", 1) == 1);
		_exit(0);
	}
	ends_well(child);
	close(pipes[1]);
	must(read(pipes[0], &byte, 1) == 1);
}

static volatile pid_t thread_id;
static volatile int may_end;

static void *waits(void *pinned) {
	must(!sched_setaffinity(0, sizeof(cpu_set_t), pinned));
	thread_id = syscall(SYS_gettid);
	while (!may_end) usleep(1000);
	is_real(&all, "a thread, by its ID");
	return 0;
}

int main(int count, char **words) {
	all = kernels_mask();
	if (CPU_COUNT(&all) < 2) cannot("one CPU only");
	int first = 0, last = CPU_SETSIZE - 1;
	while (!CPU_ISSET(first, &all)) first++;
	while (!CPU_ISSET(last, &all)) last--;
	cpu_set_t one, other;
	CPU_ZERO(&one);
	CPU_SET(first, &one);
	CPU_ZERO(&other);
	CPU_SET(last, &other);
	if (count > 1) {
		must(!sched_setaffinity(0, sizeof one, &one));
		is_real(&one, "after exec");
		return 0;
	}
	not_after_exec(words[0]);
	orphan();
	read_mask();
	not_after_exec(words[0]);

	/* The kernel's own errors. */
	must(sched_setaffinity(0, 0, &seen) == -1 && errno == EINVAL);
	must(sched_setaffinity(0, sizeof seen, (cpu_set_t *)0) == -1 && errno == EFAULT);
	must(sched_setaffinity(-1, sizeof seen, &seen) == -1 && errno == ESRCH);
	must(sched_setaffinity(0x3fffffff, sizeof seen, &seen) == -1 && errno == ESRCH);
	must(sched_getaffinity(0, 1, &one) == -1 && errno == EINVAL);
	must(syscall(SYS_sched_getaffinity, 0, sizeof seen, 0) == -1 && errno == EFAULT);
	must(sched_getaffinity(0x3fffffff, sizeof seen, &seen) == -1 && errno == ESRCH);
	is_real(&all, "after errors");

	/* Other masks are set as they are. */
	must(!sched_setaffinity(0, sizeof other, &other));
	is_real(&other, "another mask");
	must(!sched_setaffinity(0, sizeof seen, &seen));
	is_real(&all, "restored");

	pthread_t thread;
	must(!pthread_create(&thread, 0, waits, &other));
	while (!thread_id) usleep(1000);
	must(!sched_setaffinity(thread_id, sizeof seen, &seen));
	may_end = 1;
	must(!pthread_join(thread, 0));

	/* A child is another process, with the same rights. Its mask was read before it is pinned. */
	int pipes[2];
	must(!pipe(pipes));
	pid_t child = fork();
	if (!child) {
		char byte;
		must(read(pipes[0], &byte, 1) == 1);
		is_real(&all, "a child, by its ID");
		_exit(0);
	}
	must(!sched_getaffinity(child, sizeof seen, &seen));
	must(!sched_setaffinity(child, sizeof other, &other));
	must(!sched_setaffinity(child, sizeof seen, &seen));
	must(write(pipes[1], "", 1) == 1);
	ends_well(child);

	/* With the IDs of another PID namespace; only root may make one. */
	if (!unshare(CLONE_NEWPID)) {
		child = fork();
		if (!child) {
			must(getpid() == 1);
			read_mask();
			must(!sched_setaffinity(1, sizeof other, &other));
			must(!sched_setaffinity(1, sizeof seen, &seen));
			is_real(&all, "in another PID namespace");
			may_end = 0;
			thread_id = 0;
			must(!pthread_create(&thread, 0, waits, &other));
			while (!thread_id) usleep(1000);
			must(!sched_setaffinity(thread_id, sizeof seen, &seen));
			may_end = 1;
			must(!pthread_join(thread, 0));
			_exit(0);
		}
		ends_well(child);
	}
	return 0;
}
