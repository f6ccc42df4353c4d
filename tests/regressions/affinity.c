/* The CPUs of a thread (NUMBERS section 2). A mask that is read has at most the container's number of
 * CPUs. A program that sets the mask that it has read gets back all CPUs it had: in this thread and in
 * others, by every function, after fork. Every other mask goes to the kernel as it is. Runs with a quota
 * of 1 CPU and 2 CPUs or more allowed. */
#include "regression.h"
#include <pthread.h>
#include <sched.h>

static cpu_set_t seen, all;

static int same(const cpu_set_t *a, const cpu_set_t *b) { return CPU_EQUAL(a, b); }

static void set_real(const cpu_set_t *mask) {
	must(!raw(SYS_sched_setaffinity, 0, sizeof *mask, (long)mask, 0, 0, 0));
}

static cpu_set_t only(int cpu) {
	cpu_set_t mask;
	CPU_ZERO(&mask);
	CPU_SET(cpu, &mask);
	return mask;
}

static void is_real(const cpu_set_t *mask, const char *how) {
	cpu_set_t now = kernels_mask();
	if (!same(&now, mask)) fail("%s: the thread has %d CPUs, not %d", how, CPU_COUNT(&now), CPU_COUNT(mask));
}

/* The result of each way of setting a mask, for the mask that was read and for another one. */
static int by_sched(const cpu_set_t *mask) { return sched_setaffinity(0, sizeof *mask, mask); }
static int by_number(const cpu_set_t *mask) { return sched_setaffinity(syscall(SYS_gettid), sizeof *mask, mask); }
static int by_thread(const cpu_set_t *mask) { return pthread_setaffinity_np(pthread_self(), sizeof *mask, mask); }
static int by_call(const cpu_set_t *mask) { return syscall(SYS_sched_setaffinity, 0, sizeof *mask, mask); }
static int by_word(const cpu_set_t *mask) { return sched_setaffinity(0, 8, mask); }

static int (*const ways[])(const cpu_set_t *) = {by_sched, by_number, by_thread, by_call, by_word};
#define WAYS ((int)(sizeof ways / sizeof *ways))

static void restores(const char *where) {
	for (int i = 0; i < WAYS; i++) {
		char how[64];
		snprintf(how, sizeof how, "%s, way %d", where, i);
		errno = 1234;
		must(!ways[i](&seen) && errno == 1234);
		is_real(&all, how);
		/* Pinned elsewhere first. */
		for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
			if (CPU_ISSET(cpu, &all) && !CPU_ISSET(cpu, &seen)) {
				cpu_set_t one = only(cpu), now;
				must(!ways[i](&one));
				is_real(&one, how);
				must(!sched_getaffinity(0, sizeof now, &now) && same(&now, &one));
				break;
			}
		must(!ways[i](&seen));
		is_real(&all, how);
		must(!ways[i](&all));
		is_real(&all, "all CPUs");
	}
}

static void *in_thread(void *how) {
	restores(how);
	return 0;
}

static void reads(void) {
	cpu_set_t mask;
	memset(&mask, 0xff, sizeof mask);
	must(!sched_getaffinity(0, sizeof mask, &mask) && same(&mask, &seen));
	must(!pthread_getaffinity_np(pthread_self(), sizeof mask, &mask) && same(&mask, &seen));
	CPU_ZERO(&mask);
	must(syscall(SYS_sched_getaffinity, 0, sizeof mask, &mask) > 0 && same(&mask, &seen));
	static unsigned char large[128 << 10];
	memset(large, 0xff, sizeof large);
	must(!sched_getaffinity(0, sizeof large, (cpu_set_t *)large) && !memcmp(large, &seen, sizeof seen));
	for (size_t i = sizeof seen; i < sizeof large; i++) must(!large[i]);
	/* A mask of one word that the program made itself. */
	unsigned long word = *(unsigned long *)large;
	must(!sched_setaffinity(0, sizeof word, (cpu_set_t *)&word));
	is_real(&all, "one word");
	must(!sched_setaffinity(0, sizeof large, (cpu_set_t *)large));
	is_real(&all, "128 KiB");
}

#ifdef __GLIBC__
static void *is_free(void *unused) {
	is_real(&all, "a thread made with an attribute");
	return unused;
}

static void attributes(void) {
	pthread_attr_t attributes;
	pthread_t thread;
	cpu_set_t mask;
	must(!pthread_attr_init(&attributes) && !pthread_attr_setaffinity_np(&attributes, sizeof seen, &seen));
	must(!pthread_attr_getaffinity_np(&attributes, sizeof mask, &mask) && same(&mask, &seen));
	must(!pthread_create(&thread, &attributes, is_free, 0) && !pthread_join(thread, 0));
	must(!pthread_attr_destroy(&attributes));
}
#else
static void attributes(void) {}
#endif

int main(void) {
	all = kernels_mask();
	if (CPU_COUNT(&all) < 2) cannot("one CPU only");
	int first = 0;
	while (!CPU_ISSET(first, &all)) first++;
	/* A program that has not read a mask pins itself: it stays pinned. */
	cpu_set_t one = only(first);
	must(!sched_setaffinity(0, sizeof one, &one));
	is_real(&one, "pinned");
	set_real(&all);
	/* As taskset does, which only wants the size of a mask. */
	static unsigned long large[32];
	long size = syscall(SYS_sched_getaffinity, 0, sizeof large, large);
	must(size > 0);
	cpu_set_t *fresh = malloc(size);
	must(fresh);
	memset(fresh, 0, size);
	CPU_SET_S(first, size, fresh);
	must(!sched_setaffinity(0, size, fresh));
	is_real(&one, "pinned after a look at the size");
	set_real(&all);
	/* The same buffer is a mask that was read. */
	must(!syscall(SYS_sched_setaffinity, 0, size, large));
	is_real(&all, "the raw call's own mask");

	must(!sched_getaffinity(0, sizeof seen, &seen));
	if (CPU_COUNT(&seen) != 1 || !CPU_ISSET(first, &seen)) fail("%d CPUs are seen", CPU_COUNT(&seen));
	is_real(&all, "reading");
	reads();
	restores("the first thread");
	pthread_t thread;
	must(!pthread_create(&thread, 0, in_thread, "another thread") && !pthread_join(thread, 0));
	attributes();
	/* A child by fork, and its child. */
	pid_t child = fork();
	if (!child) {
		restores("a child");
		child = fork();
		if (!child) {
			restores("a grandchild");
			_exit(0);
		}
	}
	int status;
	must(child > 0 && waitpid(child, &status, 0) == child && !status);
	is_real(&all, "the end");
}
