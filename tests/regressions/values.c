/* Reads files and calls at the same moment and prints NAME VALUE, one a line. Changing values are read before and
 * after the calls. */
#include "regression.h"
#include <pthread.h>
#include <sched.h>
#include <sys/sysinfo.h>

static char text[256 << 10];

static const char *read_file(const char *path) {
	int fd = open(path, O_RDONLY);
	must(fd >= 0);
	slurp(fd, text, sizeof text);
	close(fd);
	return text;
}

static void print(const char *name, double value) { printf("%s %.2f\n", name, value); }

static void report(const char *when) {
	char name[64];
	static const char *const fields[] = {"MemTotal:", "MemFree:", "Shmem:", "Buffers:", "SwapTotal:", "SwapFree:"};
	read_file("/proc/meminfo");
	for (unsigned i = 0; i < sizeof fields / sizeof *fields; i++) {
		snprintf(name, sizeof name, "%s%s", when, fields[i]);
		name[strlen(name) - 1] = 0;
		print(name, field(text, fields[i]));
	}
	snprintf(name, sizeof name, "%suptime", when);
	print(name, atof(read_file("/proc/uptime")));
	double one = 0, five = 0, fifteen = 0;
	long running = 0, total = 0, last = 0;
	must(sscanf(read_file("/proc/loadavg"), "%lf %lf %lf %ld/%ld %ld", &one, &five, &fifteen, &running, &total, &last) == 6);
	snprintf(name, sizeof name, "%sload1", when);
	print(name, one);
	snprintf(name, sizeof name, "%sload15", when);
	print(name, fifteen);
	snprintf(name, sizeof name, "%stasks", when);
	print(name, total);
}

int main(void) {
	struct sysinfo info, raw_info;
	cpu_set_t set, raw_set;
	double load[3];
	report("before.");
	must(!sysinfo(&info));
	print("sysinfo.totalram", info.totalram / 1024. * info.mem_unit);
	print("sysinfo.freeram", info.freeram / 1024. * info.mem_unit);
	print("sysinfo.sharedram", info.sharedram / 1024. * info.mem_unit);
	print("sysinfo.bufferram", info.bufferram / 1024. * info.mem_unit);
	print("sysinfo.totalswap", info.totalswap / 1024. * info.mem_unit);
	print("sysinfo.freeswap", info.freeswap / 1024. * info.mem_unit);
	print("sysinfo.procs", info.procs);
	print("sysinfo.uptime", info.uptime);
	print("sysinfo.load1", info.loads[0] / 65536.);
	print("sysinfo.load15", info.loads[2] / 65536.);
	must(!syscall(SYS_sysinfo, &raw_info));
	print("raw.totalram", raw_info.totalram / 1024. * raw_info.mem_unit);
	print("raw.load15", raw_info.loads[2] / 65536.);
	must(getloadavg(load, 3) == 3);
	print("getloadavg1", load[0]);
	print("getloadavg15", load[2]);
	long page = sysconf(_SC_PAGESIZE) / 1024;
	print("phys_pages", (double)sysconf(_SC_PHYS_PAGES) * page);
	print("get_phys_pages", (double)get_phys_pages() * page);
	print("avphys_pages", (double)sysconf(_SC_AVPHYS_PAGES) * page);
	print("get_avphys_pages", (double)get_avphys_pages() * page);
	print("nprocessors_onln", sysconf(_SC_NPROCESSORS_ONLN));
	print("nprocessors_conf", sysconf(_SC_NPROCESSORS_CONF));
	print("get_nprocs", get_nprocs());
	print("get_nprocs_conf", get_nprocs_conf());
	must(!sched_getaffinity(0, sizeof set, &set));
	print("affinity", CPU_COUNT(&set));
	must(!pthread_getaffinity_np(pthread_self(), sizeof set, &set));
	print("thread_affinity", CPU_COUNT(&set));
	memset(&raw_set, 0, sizeof raw_set);
	must(syscall(SYS_sched_getaffinity, 0, sizeof raw_set, &raw_set) > 0);
	print("raw_affinity", CPU_COUNT(&raw_set));
	/* Every CPU of the mask can be pinned to. */
	int pinned = 0;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, &set)) {
			cpu_set_t one;
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			pinned += !sched_setaffinity(0, sizeof one, &one);
		}
	print("pinned", pinned);
	report("after.");
	print("cpuinfo", count_lines(read_file("/proc/cpuinfo"), "processor"));
	print("stat", count_lines(read_file("/proc/stat"), "cpu") - 1);
	static const char *const lists[] = {"online", "possible", "present"};
	for (int i = 0; i < 3; i++) {
		char path[64];
		int last = 0;
		snprintf(path, sizeof path, "/sys/devices/system/cpu/%s", lists[i]);
		const char *dash = strchr(read_file(path), '-');
		if (dash) last = atoi(dash + 1);
		print(lists[i], last + 1);
	}
}
