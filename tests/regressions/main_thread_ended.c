/* The main thread has ended, and its directory /proc/self with it: the other threads still see the container. */
#include "regression.h"
#include <pthread.h>

static void *other(void *nothing) {
	(void)nothing;
	static char text[16384];
	usleep(200000);
	/* Again after the cached cgroup directories have expired. */
	for (int i = 0; i < 3; i++) {
		read_all(number_of("MEM_KB"), number_of("CPUS"));
		usleep(600000);
	}
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	reads_ours(fd, "without a main thread");
	must((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	set_memory(300 << 10);
	must(lseek(fd, 0, SEEK_SET) == 0);
	says(slurp(fd, text, sizeof text), 300 << 10, "without a main thread, anew");
	exit(0);
}

int main(void) {
	pthread_t thread;
	must(!pthread_create(&thread, NULL, other, NULL));
	pthread_exit(NULL);
}
