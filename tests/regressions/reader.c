/* reader N FILE...: prints the files, N times, and after each the numbers of CPUs and memory from the calls. */
#include "regression.h"

int main(int argc, char **argv) {
	static char text[1 << 20];
	for (int n = atoi(argv[1]); n > 0; n--) {
		for (int i = 2; i < argc; i++) {
			int fd = open(argv[i], O_RDONLY);
			if (fd < 0) fail("%s: errno %d", argv[i], errno);
			fputs(slurp(fd, text, sizeof text), stdout);
			close(fd);
		}
		printf("CPUS %ld\nPAGES %ld\n", sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_PHYS_PAGES));
	}
}
