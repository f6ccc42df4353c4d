/* A library after the tested one that acts as a kernel with 128 possible CPUs, which refuses every mask below
 * 16 bytes. FIRST and SECOND are the CPUs of every thread. */
#include "regression.h"
#include <pthread.h>
#include <sched.h>

static int fill(size_t size, unsigned char *mask) {
	if (size < 16 || size % 8) return EINVAL;
	memset(mask, 0, size);
	long cpus[] = {number_of("FIRST"), number_of("SECOND")};
	for (int i = 0; i < 2; i++) mask[cpus[i] / 8] |= 1 << cpus[i] % 8;
	return 0;
}

int sched_getaffinity(pid_t pid, size_t size, cpu_set_t *mask) {
	int error = pid ? ESRCH : fill(size, (unsigned char *)mask);
	if (!error) return 0;
	errno = error;
	return -1;
}

int pthread_getaffinity_np(pthread_t thread, size_t size, cpu_set_t *mask) {
	return thread ? fill(size, (unsigned char *)mask) : ESRCH;
}
