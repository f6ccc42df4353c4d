/* The kernel refuses an environment that cannot be read: a list or a string at an invalid address, or one that
 * continues beyond its mapping. An environment that ends just before such an address is valid. */
#include "regression.h"
#include <spawn.h>
#include <stdint.h>
#include <sys/mman.h>

static char *arguments[] = {(char *)"true", 0};

static void refused(char **environment, const char *how) {
	pid_t child;
	must(execve("/bin/true", arguments, environment) == -1);
	if (errno != EFAULT) fail("execve, %s: errno %d", how, errno);
	int error = posix_spawn(&child, "/bin/true", 0, 0, arguments, environment);
	if (error != EFAULT) fail("posix_spawn, %s: %d", how, error);
}

static void refused_at(uintptr_t address, const char *where) {
	char *list[] = {(char *)address, 0};
	refused((char **)address, where);
	refused(list, where);
}

/* Between the program's image and its heap. */
static void between_image_and_heap(long page) {
	extern char end[];
	uintptr_t after = ((uintptr_t)end + page - 1) & -page, heap = 0;
	char line[512];
	FILE *maps = fopen("/proc/self/maps", "r");
	must(maps);
	while (fgets(line, sizeof line, maps))
		if (strstr(line, "[heap]")) heap = strtoul(line, 0, 16);
	fclose(maps);
	uintptr_t between = ((after + heap) / 2) & ~(uintptr_t)7;
	if (heap <= after + page) return;
	char *list[] = {(char *)between, 0};
	refused((char **)between, "a list between image and heap");
	refused(list, "a string between image and heap");
}

int main(void) {
	long page = sysconf(_SC_PAGESIZE);
	char *two = mmap(0, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(two != MAP_FAILED && !mprotect(two + page, page, PROT_NONE));
	char *at_one[] = {(char *)1, 0}, *nowhere[] = {(char *)"A=1", two + page, 0}, *unended[] = {two + page - 3, 0};
	memcpy(two + page - 3, "B=2", 3);
	refused(at_one, "a string at 1");
	refused(nowhere, "a string at an invalid address");
	refused(unended, "a string without an end");
	refused((char **)(two + page), "a list at an invalid address");
	char **list = (char **)(two + page) - 2;
	list[0] = list[1] = (char *)"C=3";
	refused(list, "a list without an end");
	between_image_and_heap(page);

	/* Up to the last byte. */
	memcpy(two + page - 4, "D=4", 4);
	list = (char **)(two + page) - 3;
	list[0] = two + page - 4;
	list[1] = 0;
	pid_t child;
	int status;
	char *last[] = {two + page - 4, 0};
	must(!posix_spawn(&child, "/bin/true", 0, 0, arguments, last) && waitpid(child, &status, 0) == child && status == 0);
	must(!posix_spawn(&child, "/bin/true", 0, 0, arguments, list) && waitpid(child, &status, 0) == child && status == 0);

	/* Without an environment, glibc's fexecve fails, and musl's executes. */
#ifdef __GLIBC__
	int fd = open("/bin/true", O_RDONLY | O_CLOEXEC);
	must(fd >= 0 && fexecve(fd, arguments, 0) == -1 && errno == EINVAL);
#endif
}
