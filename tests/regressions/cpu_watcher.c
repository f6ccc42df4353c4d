/* A process that watches CPUs through the kernel opens a ring for each CPU of `online`: the file then lists
 * all CPUs on which the container's threads can run. Runs with a quota of 1 CPU. */
#include "regression.h"
#include <sched.h>

static long count(const char *path) {
	char text[4096];
	int fd = open(path, O_RDONLY);
	must(fd >= 0);
	long n = 0;
	for (char *at = slurp(fd, text, sizeof text); *at && *at != '\n';) {
		long first = strtol(at, &at, 10), last = *at == '-' ? strtol(at + 1, &at, 10) : first;
		n += last - first + 1;
		at += *at == ',';
	}
	close(fd);
	return n;
}

static void reads(long cpus, const char *when) {
	static const char *const lists[] = {"/sys/devices/system/cpu/online", "/sys/devices/system/cpu/present"};
	for (int i = 0; i < 2; i++)
		if (count(lists[i]) != cpus) fail("%s: %s has %ld", when, lists[i], count(lists[i]));
	long directories = 0;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		char path[64];
		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d", cpu);
		directories += !access(path, F_OK);
	}
	if (directories != cpus) fail("%s: %ld directories", when, directories);
	must(count("/sys/devices/system/cpu/offline") == count("/sys/devices/system/cpu/possible") - cpus);
}

int main(int argc, char **argv) {
	cpu_set_t real;
	CPU_ZERO(&real);
	must(raw(SYS_sched_getaffinity, 0, sizeof real, (long)&real, 0, 0, 0) > 0);
	long cpus = number_of("CPUS"), allowed = CPU_COUNT(&real);
	if (allowed < 2) cannot("one CPU only");
	reads(cpus, argc > 1 ? "after exec" : "at first");
	if (argc > 1) return 0;
	int opened = open("/sys/devices/system/cpu/online", O_RDONLY);
	/* No command, no attributes: the kernel refuses both. */
	long number = getenv("PERF") ? SYS_perf_event_open : SYS_bpf;
	must(syscall(number, number == SYS_bpf ? -1 : 0, 0, 0, -1, 0) == -1 && errno != 1234);
	reads(allowed, "after the call");
	char text[64];
	/* A descriptor from before, read again. */
	must(lseek(opened, 0, SEEK_SET) == 0 && atol(strchr(slurp(opened, text, sizeof text), '-') ? "1" : "0") == 1);
	must(sysconf(_SC_NPROCESSORS_ONLN) == cpus);
	pid_t child = fork();
	if (!child) {
		reads(allowed, "in a child");
		execl("/proc/self/exe", argv[0], "again", (char *)0);
		_exit(2);
	}
	int status;
	must(child > 0 && waitpid(child, &status, 0) == child && !status);
}
