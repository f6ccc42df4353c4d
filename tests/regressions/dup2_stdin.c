/* dup2 onto standard input, which is then read by stdio: `cmd </proc/meminfo` in a program. */
#include "regression.h"

int main(void) {
	char line[128];
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd > 0 && dup2(fd, 0) == 0 && !close(fd));
	must(fgets(line, sizeof line, stdin));
	if (field(line, "MemTotal:") != number_of("MEM_KB")) fail("fgets: %s", line);
}
