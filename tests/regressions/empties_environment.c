/* A program empties its own environment, in every possible way, and then starts another program, in every
 * possible way: the other program sees the container. LIMIT_KB is the MemTotal that it must see. The arguments
 * are a way to empty and a way to start. */
#include "regression.h"
#include <spawn.h>

extern char **environ;

#define SHOW "exec head -n 1 /proc/meminfo"

static char *arguments[] = {(char *)"sh", (char *)"-c", (char *)SHOW, 0};

static void overwrite(char **argv) {
	/* Arguments and environment are in one block of memory; setproctitle overwrites all of it. */
	char *end = argv[0] + strlen(argv[0]) + 1;
	for (char **each = argv + 1; *each; each++) if (*each == end) end += strlen(end) + 1;
	for (char **each = environ; *each; each++) if (*each == end) end += strlen(end) + 1;
	memset(argv[0], 'x', end - argv[0]);
	end[-1] = 0;
}

static void empty(const char *how, char **argv) {
	static char *none[] = {0};
	if (!strcmp(how, "clearenv")) must(!clearenv());
	else if (!strcmp(how, "null")) environ = 0;
	else if (!strcmp(how, "none")) environ = none;
	else if (!strcmp(how, "in-place")) environ[0] = 0;
	else if (!strcmp(how, "one-by-one"))
		while (*environ) {
			char name[128];
			snprintf(name, sizeof name, "%s", *environ);
			*strchr(name, '=') = 0;
			must(!unsetenv(name));
		}
	else if (!strcmp(how, "overwritten")) {
		overwrite(argv);
		environ = none;
	} else fail("empty %s?", how);
}

static void waited(pid_t child) {
	int status;
	must(waitpid(child, &status, 0) == child);
	if (status) fail("status %#x", status);
}

static void start(const char *how) {
	pid_t child = 0;
	static char *none[] = {0}, *few[] = {(char *)"A=1", 0};
	if (!strcmp(how, "system")) { must(!system("head -n 1 /proc/meminfo")); return; }
	if (!strcmp(how, "popen")) {
		char line[256];
		FILE *stream = popen("head -n 1 /proc/meminfo", "r");
		must(stream && fgets(line, sizeof line, stream) && !pclose(stream));
		fputs(line, stdout);
		return;
	}
	if (!strcmp(how, "posix_spawn")) { must(!posix_spawn(&child, "/bin/sh", 0, 0, arguments, environ)); waited(child); return; }
	if (!strcmp(how, "posix_spawnp")) { must(!posix_spawnp(&child, "sh", 0, 0, arguments, few)); waited(child); return; }
	child = strncmp(how, "vfork", 5) ? fork() : vfork();
	if (!child) {
		if (!strcmp(how, "execv")) execv("/bin/sh", arguments);
		else if (!strcmp(how, "execvp")) execvp("sh", arguments);
		else if (!strcmp(how, "execve")) execve("/bin/sh", arguments, none);
		else if (!strcmp(how, "execve-null")) execve("/bin/sh", arguments, 0);
		else if (!strcmp(how, "execve-few")) execve("/bin/sh", arguments, few);
		else if (!strcmp(how, "execl")) execl("/bin/sh", "sh", "-c", SHOW, (char *)0);
		else if (!strcmp(how, "execlp")) execlp("sh", "sh", "-c", SHOW, (char *)0);
		else if (!strcmp(how, "execle")) execle("/bin/sh", "sh", "-c", SHOW, (char *)0, none);
		else if (!strcmp(how, "vfork")) execv("/bin/sh", arguments);
		else if (!strcmp(how, "vfork-execve")) execve("/bin/sh", arguments, none);
#ifdef __GLIBC__
		else if (!strcmp(how, "fexecve")) fexecve(open("/bin/sh", O_RDONLY), arguments, none);
		else if (!strcmp(how, "execveat")) execveat(AT_FDCWD, "/bin/sh", arguments, none, 0);
		else if (!strcmp(how, "execvpe")) execvpe("sh", arguments, none);
#endif
		_exit(3);
	}
	waited(child);
}

int main(int argc, char **argv) {
	must(argc == 3);
	char how[64];
	snprintf(how, sizeof how, "%s", argv[2]);
	empty(argv[1], argv);
	start(how);
}
