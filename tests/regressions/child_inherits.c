/* A child that inherits the descriptor, with an environment without the preload: the shells' `<`. */
#include "regression.h"

int main(int argc, char **argv) {
	if (argc > 1) {
		char memory[64];
		snprintf(memory, sizeof memory, "MEM_KB=%s", argv[2]);
		putenv(memory);
		reads_ours(atoi(argv[1]), "the inherited descriptor");
		return 0;
	}
	int fd = open("/proc/meminfo", O_RDONLY), status;
	must(fd >= 0);
	char number[16], *arguments[] = {argv[0], number, getenv("MEM_KB"), 0}, *nothing[] = {0};
	snprintf(number, sizeof number, "%d", fd);
	pid_t child = fork();
	if (!child) {
		execve("/proc/self/exe", arguments, nothing);
		_exit(99);
	}
	must(waitpid(child, &status, 0) == child);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}
