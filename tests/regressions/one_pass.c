/* The library renders the content once per open or rewind, never in the middle of a sequence of reads: one pass
 * over the file has the values of one moment. */
#include "regression.h"

int main(void) {
	static char text[64 << 10];
	long kb = number_of("MEM_KB");
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0 && read(fd, text, 3) == 3);
	set_memory(300 << 10);
	size_t have = 3;
	ssize_t n;
	while ((n = read(fd, text + have, 333)) > 0) {
		have += n;
		if (have < 700) set_memory(200 << 10);
	}
	text[have] = 0;
	says(text, kb, "a pass in which the limit changed");
	must(field(text, "CommitLimit:") >= kb);
	/* The same for CPU time: the first line is the sum of the others. */
	fd = open("/proc/stat", O_RDONLY);
	must(fd >= 0 && read(fd, text, 40) == 40);
	volatile unsigned long spin = 0;
	for (int i = 0; i < 200000000; i++) spin += i;
	slurp(fd, text + 40, sizeof text - 40);
	long all[4] = {0}, sum[4] = {0}, v[4];
	char *line = strtok(text, "\n");
	must(sscanf(line, "cpu %ld %ld %ld %ld", all, all + 1, all + 2, all + 3) == 4);
	int cpus = 0;
	while ((line = strtok(0, "\n")) && sscanf(line, "cpu%*d %ld %ld %ld %ld", v, v + 1, v + 2, v + 3) == 4) {
		cpus++;
		for (int i = 0; i < 4; i++) sum[i] += v[i];
	}
	must(cpus == number_of("CPUS"));
	for (int i = 0; i < 4; i++) if (sum[i] != all[i]) fail("/proc/stat: column %d: %ld is not %ld", i, sum[i], all[i]);
}
