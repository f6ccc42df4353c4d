/* A plugin that called putenv with memory of its own was unloaded: environ contains a string, or is a list, that cannot
 * be read. The first use of a virtual file or value gives the container's, and whatever starts a program does as
 * without the library. */
#include "regression.h"
#include <spawn.h>
#include <sys/mman.h>

extern char **environ;
static char *arguments[] = {(char *)"true", 0}, *few[] = {(char *)"A=1", 0};
static long kb;

static void starts(int error, const pid_t *child, int expected, const char *how) {
	int status = 0;
	if (error != expected) fail("%s: error %d", how, error);
	must(error || (waitpid(*child, &status, 0) == *child && status == 0));
}

enum { LAST = 9 };

static void one(int which) {
	pid_t child;
	int status;
	switch (which) {
	case 0: {
		char text[16384];
		int fd = open("/proc/meminfo", O_RDONLY);
		must(fd >= 0);
		says(slurp(fd, text, sizeof text), kb, "open");
		break;
	}
	case 1: must(sysconf(_SC_PHYS_PAGES) == kb / (sysconf(_SC_PAGESIZE) / 1024)); break;
	case 2: must(sysconf(_SC_NPROCESSORS_ONLN) > 0); break;
	case 3: must(execv("/bin/true", arguments) == -1 && errno == EFAULT); break;
	case 4: execve("/bin/true", arguments, few); fail("execve: errno %d", errno);
	case 5: must(execl("/bin/true", "true", (char *)0) == -1 && errno == EFAULT); break;
	case 6: starts(posix_spawn(&child, "/bin/true", 0, 0, arguments, environ), &child, EFAULT, "with environ"); break;
	case 7: starts(posix_spawn(&child, "/bin/true", 0, 0, arguments, few), &child, 0, "with another"); break;
	case 8: status = system("true"); must(status == -1 || !WIFSIGNALED(status)); break;
	/* It reads PATH. */
	case LAST: must(execvp("true", arguments) == -1 && errno == EFAULT); break;
	}
}

static void all(const char *how, int end) {
	for (int which = 0; which < end; which++) {
		int status;
		pid_t child = fork();
		if (!child) {
			one(which);
			_exit(0);
		}
		must(waitpid(child, &status, 0) == child);
		if (WIFSIGNALED(status)) fail("%s, case %d: signal %d", how, which, WTERMSIG(status));
		if (status) _exit(1);
	}
}

int main(void) {
	kb = number_of("MEM_KB");
	char *gone = mmap(0, PAGES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(gone != MAP_FAILED);
	strcpy(gone, "PLUGIN_HOME=/opt");
	/* Not unmapped, so that nothing else is mapped there. */
	must(!putenv(gone) && !mprotect(gone, PAGES, PROT_NONE));
	all("a string", LAST + 1);
	environ = (char **)gone;
	all("the list", LAST);
}
