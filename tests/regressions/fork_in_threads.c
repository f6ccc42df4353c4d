/* A program forks while its threads read. The child, which has a copy of their locks, gets the container's values. */
#include "regression.h"
#include <pthread.h>

static long kb, cpus;
static volatile int done;

static void *work(void *nothing) {
	while (!done) read_all(kb, cpus);
	return nothing;
}

int main(void) {
	kb = number_of("MEM_KB"), cpus = number_of("CPUS");
	pthread_t threads[4];
	for (int i = 0; i < 4; i++) must(!pthread_create(threads + i, 0, work, 0));
	for (int i = 0; i < 60; i++) {
		int status;
		pid_t child = fork();
		if (!child) {
			alarm(20);
			read_all(kb, cpus);
			_exit(0);
		}
		must(waitpid(child, &status, 0) == child);
		if (status) fail("child %d: status %#x", i, status);
	}
	done = 1;
	for (int i = 0; i < 4; i++) must(!pthread_join(threads[i], 0));
}
