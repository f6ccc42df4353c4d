/* A daemon closes all descriptors. The library keeps none open, so it loses none. */
#include "regression.h"

int main(void) {
	long kb = number_of("MEM_KB"), cpus = number_of("CPUS");
	read_all(kb, cpus);
	for (int i = 0; i < 5; i++) {
		for (int fd = 3; fd < 1024; fd++) close(fd);
		read_all(kb, cpus);
		must(open("/proc/meminfo", O_RDONLY) == 3);
	}
	/* Also the first three, with a copy of standard error kept elsewhere. */
	int kept = fcntl(2, F_DUPFD_CLOEXEC, 900);
	close(0), close(1), close(2);
	int fd = open("/proc/meminfo", O_RDONLY);
	if (fd != 0) dup2(kept, 2), fail("open gave %d", fd);
	char text[16384];
	slurp(fd, text, sizeof text);
	dup2(kept, 2);
	says(text, kb, "as descriptor 0");
}
