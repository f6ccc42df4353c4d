/* A program with an allocator that reads values of the machine while it initialises (see early_malloc.c): those
 * reads gave the container's values, and later reads do too. */
#include "regression.h"
#include <pthread.h>

extern int early_malloc_asked __attribute__((weak));
static long kb, cpus;

static void *work(void *nothing) {
	for (int i = 0; i < 50; i++) {
		char *text = malloc(64 << 10);
		int fd = open("/proc/meminfo", O_RDONLY);
		must(fd >= 0 && text);
		says(slurp(fd, text, 64 << 10), kb, "in a thread");
		close(fd);
		free(text);
	}
	return nothing;
}

int main(void) {
	kb = number_of("MEM_KB"), cpus = number_of("CPUS");
	void *volatile first = malloc(100);
	free(first);
	if (&early_malloc_asked && early_malloc_asked != 7) fail("the allocator was answered %d", early_malloc_asked);
	pthread_t threads[4];
	for (int i = 0; i < 4; i++) must(!pthread_create(threads + i, 0, work, 0));
	for (int i = 0; i < 4; i++) must(!pthread_join(threads[i], 0));
	read_all(kb, cpus);
}
