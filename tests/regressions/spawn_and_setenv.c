/* posix_spawn with an environment of its own, while another thread changes environ. */
#include "regression.h"
#include <pthread.h>
#include <spawn.h>
#include <time.h>

extern char **environ;
static volatile int stop;

static void *changes(void *nothing) {
	/* So many that glibc takes the list from the kernel, and gives it back. */
	enum { MANY = 60000 };
	char name[32];
	for (long i = 0; !stop; i++) {
		snprintf(name, sizeof name, "V%ld", i % MANY);
		setenv(name, "x", 1);
		if (i % MANY == MANY - 1) clearenv();
	}
	return nothing;
}

int main(void) {
	char *arguments[] = {(char *)"none", 0}, *few[] = {(char *)"A=1", 0};
	pthread_t thread;
	pid_t child;
	must(!pthread_create(&thread, 0, changes, 0));
	time_t end = time(0) + 4;
	while (time(0) < end) must(posix_spawn(&child, "/none", 0, 0, arguments, few) == ENOENT);
	stop = 1;
	must(!pthread_join(thread, 0));
}
