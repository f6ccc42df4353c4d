/* A vfork child runs hooks in its parent's memory: whatever it leaves there, the parent reads the right values
 * afterwards. */
#include "regression.h"
#include <spawn.h>

extern char **environ;

int main(void) {
	long kb = number_of("MEM_KB"), cpus = number_of("CPUS");
	static char text[16384];
	for (int i = 0; i < 50; i++) {
		int status;
		pid_t child = vfork();
		if (!child) {
			int fd = open("/proc/meminfo", O_RDONLY);
			if (fd < 0 || read(fd, text, sizeof text - 1) < 1000) _exit(1);
			if (sysconf(_SC_NPROCESSORS_ONLN) != cpus) _exit(2);
			if (i % 2) execl("/bin/true", "true", (char *)0);
			_exit(0);
		}
		must(waitpid(child, &status, 0) == child);
		if (status) fail("the child's status is %#x", status);
		if (field(text, "MemTotal:") != kb) fail("the child read %.40s", text);
		read_all(kb, cpus);
	}
	/* As posix_spawn does it (on musl in a thread of its own, in the same memory). */
	posix_spawn_file_actions_t actions;
	char *arguments[] = {(char *)"sh", (char *)"-c", (char *)"read name kb rest; test $kb = $MEM_KB", 0};
	pid_t child;
	int status;
	must(!posix_spawn_file_actions_init(&actions));
	int fd = open("/proc/meminfo", O_RDONLY);
	must(!posix_spawn_file_actions_adddup2(&actions, fd, 0));
	must(!posix_spawn(&child, "/bin/sh", &actions, 0, arguments, environ));
	must(waitpid(child, &status, 0) == child && status == 0);
	read_all(kb, cpus);
}
