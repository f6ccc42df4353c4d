/* Invalid masks give the kernel's own results and errors, before a mask was reduced and after. */
#include "regression.h"
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>

static const char *unreadable;
static char *at_the_end;
static long kernel_size;

/* The result of a system call without libc. */
static void is(long result, long number, long pid, size_t size, const void *mask, int line) {
	int error = result < 0 ? errno : 0;
	long expected = raw(number, pid, size, (long)mask, 0, 0, 0);
	if (number == SYS_sched_getaffinity && expected > 0) expected = 0;
	/* On a machine of more than 64 possible CPUs a smaller mask holds the reduced one: small_masks.c. */
	if (number == SYS_sched_getaffinity && expected == -EINVAL && result >= 0 && size % 8 == 0 && size && (long)size < kernel_size)
		return;
	long got = error ? -error : result > 0 ? 0 : result;
	if (got != expected)
		fail("line %d: size %zu, pid %ld: %ld, not %ld", line, size, pid, got, expected);
}
#define IS(number, pid, size, mask, call) do { errno = 0; long r = (call); is(r, number, pid, size, mask, __LINE__); } while (0)

static void same(void) {
	static unsigned char large[128 << 10];
	static const size_t sizes[] = {0, 1, 3, 7, 8, 9, 12, 16, 24, 120, 128, 1000, 1024, 1032, 4096, sizeof large};
	static const pid_t threads[] = {0, 1, -1, 0x3fffffff};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
		for (size_t j = 0; j < sizeof threads / sizeof *threads; j++) {
			size_t size = sizes[i];
			pid_t pid = threads[j];
			cpu_set_t *mask = (cpu_set_t *)large;
			IS(SYS_sched_getaffinity, pid, size, mask, sched_getaffinity(pid, size, mask));
			IS(SYS_sched_getaffinity, pid, size, mask, syscall(SYS_sched_getaffinity, pid, size, mask));
			/* Not the mask of the first process. */
			if (pid == 1) continue;
			memset(large, 0, sizeof large);
			IS(SYS_sched_setaffinity, pid, size, mask, sched_setaffinity(pid, size, mask));
			IS(SYS_sched_setaffinity, pid, size, mask, syscall(SYS_sched_setaffinity, pid, size, mask));
			memset(large, 0xff, sizeof large);
			IS(SYS_sched_setaffinity, pid, size, mask, sched_setaffinity(pid, size, mask));
			IS(SYS_sched_setaffinity, pid, size, mask, syscall(SYS_sched_setaffinity, pid, size, mask));
			for (int k = 0; k < 2; k++) {
				const cpu_set_t *bad = k ? (const cpu_set_t *)unreadable : 0;
				/* musl clears what the kernel did not write. */
				IS(SYS_sched_getaffinity, pid, size, bad, syscall(SYS_sched_getaffinity, pid, size, bad));
				IS(SYS_sched_setaffinity, pid, size, bad, sched_setaffinity(pid, size, bad));
				IS(SYS_sched_setaffinity, pid, size, bad, syscall(SYS_sched_setaffinity, pid, size, bad));
			}
		}
	/* The kernel reads at most the size of its own masks, for any larger size. */
	long words = raw(SYS_sched_getaffinity, 0, sizeof large, (long)large, 0, 0, 0);
	must(words > 0);
	char *last = at_the_end - words;
	memcpy(last, large, words);
	IS(SYS_sched_setaffinity, 0, 4096, last, sched_setaffinity(0, 4096, (cpu_set_t *)last));
	IS(SYS_sched_setaffinity, 0, 4096, last, syscall(SYS_sched_setaffinity, 0, 4096, last));
	must(pthread_setaffinity_np(pthread_self(), 4096, (cpu_set_t *)last) == 0);
	must(pthread_setaffinity_np(pthread_self(), 0, (cpu_set_t *)last) == EINVAL);
	must(pthread_setaffinity_np(pthread_self(), 8, (cpu_set_t *)unreadable) == EFAULT);
	must(pthread_getaffinity_np(pthread_self(), 3, (cpu_set_t *)last) == EINVAL);
	/* A process that belongs to another user. */
	pid_t child = fork();
	if (!child) {
		must(!setgid(65534) && !setuid(65534));
		cpu_set_t mask;
		must(!sched_getaffinity(getppid(), sizeof mask, &mask));
		must(sched_setaffinity(getppid(), sizeof mask, &mask) == -1 && errno == EPERM);
		must(syscall(SYS_sched_setaffinity, getppid(), sizeof mask, &mask) == -1 && errno == EPERM);
		_exit(0);
	}
	int status;
	must(child > 0 && waitpid(child, &status, 0) == child && !status);
	/* And one that has ended. */
	cpu_set_t mask;
	must(sched_getaffinity(child, sizeof mask, &mask) == -1 && errno == ESRCH);
	must(!sched_getaffinity(0, sizeof mask, &mask));
	must(sched_setaffinity(child, sizeof mask, &mask) == -1 && errno == ESRCH);
}

int main(void) {
	char *pages = mmap(0, 2 * PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(pages != MAP_FAILED && !mprotect(pages + PAGES, PAGES, PROT_NONE));
	unreadable = at_the_end = pages + PAGES;
	static unsigned char largest[1024];
	kernel_size = raw(SYS_sched_getaffinity, 0, sizeof largest, (long)largest, 0, 0, 0);
	same();
	cpu_set_t mask;
	must(!sched_getaffinity(0, sizeof mask, &mask));
	same();
}
