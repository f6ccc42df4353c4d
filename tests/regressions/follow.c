/* Keeps descriptors open and, for each line on stdin, rewinds and prints MemTotal (by lseek, by
 * rewind) and the number of CPUs (by lseek, by sysconf). */
#include "regression.h"

int main(void) {
	static char text[64 << 10];
	int fd = open("/proc/meminfo", O_RDONLY), online = open("/proc/cpuinfo", O_RDONLY);
	FILE *file = fopen("/proc/meminfo", "r");
	char line[64];
	must(fd >= 0 && file && online >= 0);
	while (fgets(line, sizeof line, stdin)) {
		must(lseek(fd, 0, SEEK_SET) == 0);
		long by_lseek = field(slurp(fd, text, sizeof text), "MemTotal:");
		rewind(file);
		text[fread(text, 1, sizeof text - 1, file)] = 0;
		long by_rewind = field(text, "MemTotal:");
		must(lseek(online, 0, SEEK_SET) == 0);
		int cpus = count_lines(slurp(online, text, sizeof text), "processor");
		printf("%ld %ld %d %ld\n", by_lseek, by_rewind, cpus, sysconf(_SC_NPROCESSORS_ONLN));
		fflush(stdout);
	}
}
