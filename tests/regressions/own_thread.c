/* A thread may have descriptors and a working directory of its own: /proc/self shows the main thread's. */
#include "regression.h"
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

static void *other(void *nothing) {
	(void)nothing;
	static char text[16384];
	struct stat status;
	if (unshare(CLONE_FILES | CLONE_FS)) cannot("no unshare(2)");
	for (int fd = 3; fd < 20; fd++) close(fd);
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	reads_ours(fd, "own descriptors");
	must((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	set_memory(300 << 10);
	must(lseek(fd, 0, SEEK_SET) == 0);
	says(slurp(fd, text, sizeof text), 300 << 10, "own descriptors, anew");
	/* The main thread cannot see this directory. */
	char place[] = "/tmp/proclens-regression-XXXXXX";
	must(mkdtemp(place) && !chdir(place) && !mkdir("cpu4711", 0755));
	int found = !stat("cpu4711", &status);
	must(!rmdir("cpu4711") && !chdir("/") && !rmdir(place));
	if (!found) fail("a directory that is no CPU is hidden");
	return NULL;
}

int main(void) {
	pthread_t thread;
	for (int i = 0; i < 10; i++) must(open("/etc/passwd", O_RDONLY) >= 0);
	must(!chdir("/sys/devices/system/cpu"));
	must(!pthread_create(&thread, NULL, other, NULL));
	must(!pthread_join(thread, NULL));
}
