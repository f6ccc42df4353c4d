/* observe: reads the values of the machine from libc and from the kernel's files, as any dynamic program does.
 *
 *   observe cat FILE            the file, byte for byte
 *   observe stat                /proc/stat, with the CLOCK_BOOTTIME before and after the read
 *   observe values              the results of the calls: NAME VALUE, one a line, and the values of the files
 *                             before and after: NAME LEAST MOST
 *   observe follow N MS         N times, MS apart: MemTotal of a descriptor that stays open, totalram, CPUs
 *
 * Built for glibc without its start code (which would need the glibc that it was built on), so main has no
 * arguments and reads them from /proc/self/cmdline.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <time.h>
#include <unistd.h>

static char text[1 << 20];

static long slurp(int fd) {
	long n, have = 0;
	while ((n = read(fd, text + have, sizeof text - 1 - have)) > 0) have += n;
	text[have] = 0;
	return n < 0 ? -1 : have;
}

static long load(const char *path) {
	int fd = open(path, O_RDONLY);
	long n = fd < 0 ? -1 : slurp(fd);
	if (fd >= 0) close(fd);
	if (n < 0) perror(path);
	return n;
}

static double now(void) {
	struct timespec t;
	clock_gettime(CLOCK_BOOTTIME, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

/* The number after a line's name in `text`; -1 without such a line. */
static long long field(const char *name) {
	char *at = text;
	size_t n = strlen(name);
	while (at && strncmp(at, name, n)) {
		at = strchr(at, '\n');
		if (at) at++;
	}
	return at ? atoll(at + n) : -1;
}

static int count(const char *prefix) {
	int found = 0;
	for (char *at = text; at; at = strchr(at, '\n'), at = at ? at + 1 : 0)
		if (!strncmp(at, prefix, strlen(prefix))) found++;
	return found;
}

static int cat(const char *path) {
	long n = load(path);
	if (n < 0) return 1;
	for (long done = 0, k; done < n; done += k)
		if ((k = write(1, text + done, n - done)) < 0) return 1;
	return 0;
}

static int stat_at(void) {
	double before = now();
	if (load("/proc/stat") < 0) return 1;
	double after = now();
	printf("boottime %.6f %.6f\n%s", before, after, text);
	return 0;
}

/* The values that change by themselves, from the files at one moment. */
struct moment {
	long long free, shmem, swap;
	double uptime, loads[3];
	int tasks;
};

static int look(struct moment *m) {
	if (load("/proc/meminfo") < 0) return -1;
	m->free = field("MemFree:") << 10;
	m->shmem = field("Shmem:") << 10;
	m->swap = field("SwapFree:") << 10;
	if (load("/proc/loadavg") < 0) return -1;
	if (sscanf(text, "%lf %lf %lf %*d/%d", m->loads, m->loads + 1, m->loads + 2, &m->tasks) != 4) return -1;
	if (load("/proc/uptime") < 0) return -1;
	return sscanf(text, "%lf", &m->uptime) == 1 ? 0 : -1;
}

static double min(double a, double b) { return a < b ? a : b; }
static double max(double a, double b) { return a < b ? b : a; }

/* The difference of two moments, in bytes; a sample of the load between them counts as a large one. */
static double apart(const struct moment *a, const struct moment *b) {
	double bytes = max(a->free, b->free) - min(a->free, b->free) + max(a->shmem, b->shmem) - min(a->shmem, b->shmem) +
	               max(a->swap, b->swap) - min(a->swap, b->swap);
	for (int i = 0; i < 3; i++)
		if (a->loads[i] != b->loads[i]) bytes += 1 << 20;
	return bytes;
}

/* The results of the calls, between two moments. */
struct results {
	struct moment before, after;
	struct sysinfo s;
	double loads[3];
	long avphys, get_avphys;
};

static int read_calls(struct results *a) {
	if (look(&a->before)) return -1;
	a->avphys = sysconf(_SC_AVPHYS_PAGES);
	a->get_avphys = get_avphys_pages();
	if (sysinfo(&a->s) || getloadavg(a->loads, 3) != 3) return -1;
	return look(&a->after);
}

static void range(const char *name, double a, double b) { printf("%s %.2f %.2f\n", name, min(a, b), max(a, b)); }

static int values(void) {
	struct timespec nap = {0, 20000000};
	struct results a, best;
	struct sysinfo s;
	cpu_set_t set;
	unsigned long raw[128] = {0};
	long bytes, cpus = 0;

	printf("onln %ld\nconf %ld\n", sysconf(_SC_NPROCESSORS_ONLN), sysconf(_SC_NPROCESSORS_CONF));
	printf("nprocs %d\nnprocs_conf %d\n", get_nprocs(), get_nprocs_conf());
	CPU_ZERO(&set);
	printf("affinity %d\n", sched_getaffinity(0, sizeof set, &set) ? -1 : CPU_COUNT(&set));
	bytes = syscall(SYS_sched_getaffinity, 0, sizeof raw, raw);
	for (int i = 0; i < bytes / (long)sizeof *raw; i++) cpus += __builtin_popcountl(raw[i]);
	printf("affinity_raw %ld\n", cpus);
	printf("phys_pages %ld\nget_phys_pages %ld\n", sysconf(_SC_PHYS_PAGES), get_phys_pages());
	printf("page %ld\n", sysconf(_SC_PAGESIZE));

	/* Other processes of the container start and end: wait for a quiet moment, or else use the quietest one. */
	for (int i = 0; i < 100; i++) {
		if (read_calls(&a)) return 1;
		if (!i || apart(&a.before, &a.after) < apart(&best.before, &best.after)) best = a;
		if (apart(&best.before, &best.after) <= 65536) break;
		nanosleep(&nap, 0);
	}
	printf("avphys_pages %ld\nget_avphys_pages %ld\n", best.avphys, best.get_avphys);
	s = best.s;
	printf("totalram %llu\nfreeram %llu\nsharedram %llu\nbufferram %llu\ntotalswap %llu\nfreeswap %llu\n",
	       (unsigned long long)s.totalram * s.mem_unit, (unsigned long long)s.freeram * s.mem_unit,
	       (unsigned long long)s.sharedram * s.mem_unit, (unsigned long long)s.bufferram * s.mem_unit,
	       (unsigned long long)s.totalswap * s.mem_unit, (unsigned long long)s.freeswap * s.mem_unit);
	printf("procs %d\nuptime %ld\n", s.procs, s.uptime);
	for (int i = 0; i < 3; i++) printf("loads%d %.2f\ngetloadavg%d %.2f\n", i, s.loads[i] / 65536., i, best.loads[i]);
	range("file_MemFree", best.before.free, best.after.free);
	range("file_Shmem", best.before.shmem, best.after.shmem);
	range("file_SwapFree", best.before.swap, best.after.swap);
	range("file_uptime", best.before.uptime, best.after.uptime);
	range("file_tasks", best.before.tasks, best.after.tasks);
	for (int i = 0; i < 3; i++) {
		char name[] = "file_load0";
		name[9] += i;
		range(name, best.before.loads[i], best.after.loads[i]);
	}
	if (syscall(SYS_sysinfo, &s)) return 1;
	printf("totalram_raw %llu\n", (unsigned long long)s.totalram * s.mem_unit);

	if (load("/proc/meminfo") < 0) return 1;
	printf("file_MemTotal %lld\nfile_Buffers %lld\nfile_SwapTotal %lld\n", field("MemTotal:") << 10,
	       field("Buffers:") << 10, field("SwapTotal:") << 10);
	if (load("/proc/cpuinfo") < 0) return 1;
	printf("file_cpuinfo %d\n", count("processor"));
	if (load("/proc/stat") < 0) return 1;
	printf("file_stat %d\n", count("cpu") - 1);
	return 0;
}

static int follow(int times, int ms) {
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
	struct sysinfo s;
	int fd = open("/proc/meminfo", O_RDONLY);
	if (fd < 0) return 1;
	for (int i = 0; i < times; i++) {
		if (lseek(fd, 0, SEEK_SET) || slurp(fd) < 0 || sysinfo(&s)) return 1;
		printf("%lld %llu %ld\n", field("MemTotal:") << 10, (unsigned long long)s.totalram * s.mem_unit,
		       sysconf(_SC_NPROCESSORS_ONLN));
		fflush(stdout);
		nanosleep(&t, 0);
	}
	return 0;
}

static int run(void) {
	static char args[4096];
	char *arg[4] = {"", "", "", ""};
	int fd = open("/proc/self/cmdline", O_RDONLY);
	long n = fd < 0 ? -1 : read(fd, args, sizeof args - 1);
	char *at = args;
	for (int i = 0; i < 4 && at < args + n; i++, at += strlen(at) + 1) arg[i] = at;
	close(fd);
	if (!strcmp(arg[1], "cat")) return cat(arg[2]);
	if (!strcmp(arg[1], "stat")) return stat_at();
	if (!strcmp(arg[1], "values")) return values();
	if (!strcmp(arg[1], "follow")) return follow(atoi(arg[2]), atoi(arg[3]));
	fprintf(stderr, "observe cat FILE | stat | values | follow N MS\n");
	return 2;
}

#ifdef MUSL
int main(void) { return run(); }
#else
__attribute__((force_align_arg_pointer, noreturn)) void _start(void) { exit(run()); }
#endif
