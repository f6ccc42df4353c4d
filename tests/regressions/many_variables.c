/* A vfork child executes a program with more variables than fit the stack, none of them LD_PRELOAD: its parent's
 * memory does not grow, and the program gets all of them. */
#include "regression.h"

static char *environment[1002];

static long pages(void) {
	char text[64];
	int fd = open("/proc/self/statm", O_RDONLY);
	must(fd >= 0);
	long size = atol(slurp(fd, text, sizeof text));
	close(fd);
	return size;
}

static void execute(int count, const char *shell) {
	char *arguments[] = {(char *)"sh", (char *)"-c", (char *)shell, 0};
	int status;
	char *after = environment[count];
	environment[count] = 0;
	pid_t child = vfork();
	if (!child) {
		execve("/nowhere", arguments, environment);
		execve("/bin/sh", arguments, environment);
		_exit(1);
	}
	must(waitpid(child, &status, 0) == child);
	if (status) fail("%d variables: status %#x", count, status);
	environment[count] = after;
}

int main(void) {
	for (int i = 0; i < 1000; i++) {
		char text[32];
		snprintf(text, sizeof text, "V%d=%d", i, i * 7);
		must((environment[i] = strdup(text)));
	}
	execute(300, "test $V0 = 0 && test $V299 = 2093");
	execute(1000, "test $V0 = 0 && test $V999 = 6993");
	long before = pages();
	for (int i = 0; i < 20; i++) {
		execute(300, "test $V299 = 2093");
		execute(1000, "test $V999 = 6993");
	}
	if (pages() - before > 4) fail("%ld pages more", pages() - before);
}
