/* A thread with a stack of 16 KiB, less the page that records how much was used. */
#include "regression.h"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>

static long kb, cpus;
static char text[256 << 10];

static void *work(void *nothing) {
	struct sysinfo info;
	cpu_set_t set;
	double load[3];
	for (int i = 0; i < FILES; i++) {
		int fd = open(files[i], O_RDONLY);
		must(fd >= 0);
		is_ours(i, slurp(fd, text, sizeof text), kb, cpus);
		must(lseek(fd, 0, SEEK_SET) == 0);
		is_ours(i, slurp(fd, text, sizeof text), kb, cpus);
		must(pread(fd, text, 10, 0) > 0);
		close(fd);
	}
	must(sysconf(_SC_PHYS_PAGES) == kb / (sysconf(_SC_PAGESIZE) / 1024));
	must(!sysinfo(&info) && getloadavg(load, 3) == 3 && !sched_getaffinity(0, sizeof set, &set));
	return nothing;
}

int main(void) {
	kb = number_of("MEM_KB"), cpus = number_of("CPUS");
	/* Where libc accepts no stack as small as that (arm64), only its last 16 KiB can be used. A guard page
	 * below them ends the program before it touches a neighbour's memory. */
	long used = 16 << 10, least = sysconf(_SC_THREAD_STACK_MIN), page = sysconf(_SC_PAGESIZE);
	long size = least > used ? least : used;
	char *stack = mmap(0, page + size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(stack != MAP_FAILED && !mprotect(stack + size - used, page, PROT_NONE));
	/* read_all keeps its text in TLS, which glibc takes from the stack: not used here. */
	pthread_attr_t attributes;
	pthread_t thread;
	must(!pthread_attr_init(&attributes));
	if (pthread_attr_setstack(&attributes, stack + page, size)) fail("pthread_attr_setstack");
	int error = pthread_create(&thread, &attributes, work, 0);
	if (error) fail("pthread_create: errno %d", error);
	must(!pthread_join(thread, 0));
}
