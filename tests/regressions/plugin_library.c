/* The plugin of plugin.c, with the functions that its libc lacks. Before glibc 2.34 they are in libpthread and
 * libdl, which come with the plugin. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

static int calls;

int pthread_getaffinity_np(pthread_t thread, size_t size, cpu_set_t *set) {
	(void)thread;
	long length = syscall(SYS_sched_getaffinity, 0, size, set);
	if (length < 0) return 22;
	for (size_t i = length; i < size; i++) ((char *)set)[i] = 0;
	calls++;
	return 0;
}

int pthread_setaffinity_np(pthread_t thread, size_t size, const cpu_set_t *set) {
	(void)thread;
	calls++;
	return syscall(SYS_sched_setaffinity, 0, size, set) ? 22 : 0;
}

void *dlsym(void *handle, const char *name) {
	(void)handle, (void)name;
	calls++;
	return &calls;
}

static int used(void) {
	cpu_set_t set;
	CPU_ZERO(&set);
	if (pthread_getaffinity_np(pthread_self(), sizeof set, &set) || !CPU_COUNT(&set) || calls != 1) return 1;
	if (pthread_setaffinity_np(pthread_self(), sizeof set, &set) || calls < 2) return 2;
	/* A name that is hooked, and one that is not. */
	if (dlsym(NULL, "getpid") != &calls || dlsym(NULL, "fopen") != &calls) return 3;
	return 0;
}

/* The status says which function did not do its work. */
__attribute__((constructor)) static void plug(void) {
	_exit(used());
}
