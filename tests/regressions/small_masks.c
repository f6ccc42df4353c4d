/* Masks of one word on a kernel that supports more CPUs (wide_kernel.c): the program gets its CPU if the reduced
 * mask fits, and the kernel's EINVAL if it does not. Runs with a quota of 1 CPU. */
#include "regression.h"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

int main(void) {
	long first = number_of("FIRST");
	unsigned long word = 0x5555, wide[2] = {0x5555, 0x5555};
	cpu_set_t *mask = (cpu_set_t *)&word;
	errno = 1234;
	if (first < 64) {
		must(!sched_getaffinity(0, sizeof word, mask) && word == 1ul << first && errno == 1234);
		word = 0x5555;
		must(!pthread_getaffinity_np(pthread_self(), sizeof word, mask) && word == 1ul << first && errno == 1234);
	} else {
		must(sched_getaffinity(0, sizeof word, mask) == -1 && errno == EINVAL && word == 0x5555);
		must(pthread_getaffinity_np(pthread_self(), sizeof word, mask) == EINVAL && word == 0x5555);
	}
	must(!sched_getaffinity(0, sizeof wide, (cpu_set_t *)wide));
	must(wide[first / 64] == 1ul << first % 64 && !wide[!(first / 64)]);
	/* No mask, a bad one, a size that the kernel never accepts, a thread that has ended. */
	char *bad = mmap(0, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(bad != MAP_FAILED);
	cpu_set_t *volatile none = 0;
	must(sched_getaffinity(0, 8, none) == -1 && errno == EINVAL);
	must(sched_getaffinity(0, 8, (cpu_set_t *)bad) == -1 && errno == EINVAL);
	must(sched_getaffinity(0, 4, mask) == -1 && errno == EINVAL);
	must(sched_getaffinity(0, 0, mask) == -1 && errno == EINVAL);
	must(sched_getaffinity(1234, 8, mask) == -1 && errno == ESRCH);
}
