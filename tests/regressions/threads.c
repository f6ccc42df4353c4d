/* Eight threads read all files for two seconds: no crash, no empty or incomplete text, and the CPU time of each
 * pass adds up. */
#include "regression.h"
#include <pthread.h>
#include <time.h>

static long kb, cpus;
static time_t end;

static void *work(void *own) {
	static __thread char text[64 << 10];
	int shared = *(int *)own;
	while (time(0) < end) {
		read_all(kb, cpus);
		/* All threads read one descriptor, each at an offset of its own. */
		ssize_t n = pread(shared, text, sizeof text - 1, 0);
		must(n > 0);
	}
	return 0;
}

int main(void) {
	kb = number_of("MEM_KB"), cpus = number_of("CPUS"), end = time(0) + 2;
	int shared = open("/proc/meminfo", O_RDONLY);
	pthread_t threads[8];
	for (int i = 0; i < 8; i++) must(!pthread_create(threads + i, 0, work, &shared));
	for (int i = 0; i < 8; i++) must(!pthread_join(threads[i], 0));
}
