/* A daemon that gave up root without exec cannot read its own /proc/self/fd: it gets the container's numbers,
 * through a descriptor for reading, and a rewind refreshes them. */
#include "regression.h"
#include <sys/prctl.h>

int main(void) {
	static char text[16384];
	if (setgid(65534) || setuid(65534)) cannot("needs root");
	must(!prctl(PR_SET_DUMPABLE, 0));
	read_all(number_of("MEM_KB"), number_of("CPUS"));
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	reads_ours(fd, "not dumpable");
	if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) fail("the descriptor can be written");
	must(write(fd, "x", 1) == -1 && errno == EBADF);
	set_memory(300 << 10);
	must(lseek(fd, 0, SEEK_SET) == 0);
	says(slurp(fd, text, sizeof text), 300 << 10, "not dumpable, anew");
}
