/* Programs index arrays by the number of the CPU they run on, and size the arrays by the number of CPUs
 * that the machine can have. With the library both must hold on every allowed CPU. */
#include "regression.h"
#include <dirent.h>
#include <glob.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

static char text[1 << 16];

static const char *read_file(const char *path) {
	int fd = open(path, O_RDONLY);
	if (fd < 0) fail("%s: errno %d", path, errno);
	slurp(fd, text, sizeof text);
	close(fd);
	return text;
}

/* The CPUs of a list as the kernel prints it. */
static cpu_set_t list(const char *path) {
	cpu_set_t set;
	CPU_ZERO(&set);
	for (const char *at = read_file(path); *at && *at != '\n';) {
		char *end;
		long first = strtol(at, &end, 10), last = first;
		if (*end == '-') last = strtol(end + 1, &end, 10);
		for (; first <= last; first++) CPU_SET(first, &set);
		at = *end == ',' ? end + 1 : end;
	}
	return set;
}

static void is_in_directory(const char *directory, const char *prefix, const cpu_set_t *shown) {
	cpu_set_t found;
	CPU_ZERO(&found);
	DIR *open = opendir(directory);
	must(open);
	for (struct dirent *entry; (entry = readdir(open));) {
		int cpu, end = 0;
		if (sscanf(entry->d_name, "cpu%d%n", &cpu, &end) == 1 && !entry->d_name[end]) CPU_SET(cpu, &found);
	}
	closedir(open);
	if (!CPU_EQUAL(&found, shown)) fail("%s lists other CPUs", directory);
	char pattern[128];
	snprintf(pattern, sizeof pattern, "%scpu[0-9]*", prefix);
	glob_t paths;
	must(!glob(pattern, 0, 0, &paths));
	if ((int)paths.gl_pathc != CPU_COUNT(shown)) fail("%s matches %zu paths", pattern, paths.gl_pathc);
	globfree(&paths);
	struct dirent **names;
	int n = scandir(directory, &names, 0, alphasort), cpus = 0;
	for (int i = 0; i < n; i++) {
		cpus += !strncmp(names[i]->d_name, "cpu", 3) && names[i]->d_name[3] >= '0' && names[i]->d_name[3] <= '9';
		free(names[i]);
	}
	free(names);
	if (cpus != CPU_COUNT(shown)) fail("scandir of %s finds %d", directory, cpus);
}

/* The CPUs of the lines that begin with `format` and a number. */
static cpu_set_t lines(const char *path, const char *format) {
	cpu_set_t set;
	CPU_ZERO(&set);
	for (const char *at = read_file(path); at; at = strchr(at, '\n'), at = at ? at + 1 : 0) {
		int cpu;
		if (sscanf(at, format, &cpu) == 1 && at[3] != ' ') CPU_SET(cpu, &set);
	}
	return set;
}

/* For a pinned thread, all lists have the CPUs of its mask, as on every machine. Otherwise hwloc and libgomp find
 * no CPU at all. */
static void shows_own(long number) {
	cpu_set_t mask, shown, online = list("/sys/devices/system/cpu/online");
	must(!sched_getaffinity(0, sizeof mask, &mask));
	CPU_AND(&shown, &mask, &online);
	if (!CPU_EQUAL(&shown, &mask)) fail("the mask is not a part of online");
	if (CPU_COUNT(&online) != number) fail("%d CPUs are online", CPU_COUNT(&online));
	shown = list("/sys/devices/system/cpu/present");
	must(CPU_EQUAL(&shown, &online));
	shown = lines("/proc/cpuinfo", "processor : %d");
	must(CPU_EQUAL(&shown, &online));
	shown = lines("/proc/stat", "cpu%d ");
	must(CPU_EQUAL(&shown, &online));
	is_in_directory("/sys/devices/system/cpu", "/sys/devices/system/cpu/", &online);
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		char path[64];
		snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology", cpu);
		if (CPU_ISSET(cpu, &mask) && access(path, F_OK)) fail("no %s", path);
	}
}

int main(void) {
	long number = number_of("CPUS"), configured = sysconf(_SC_NPROCESSORS_CONF), page = sysconf(_SC_PAGESIZE);
	cpu_set_t online = list("/sys/devices/system/cpu/online"), present = list("/sys/devices/system/cpu/present"),
		possible = list("/sys/devices/system/cpu/possible"), offline = list("/sys/devices/system/cpu/offline"),
		all, real, none;
	CPU_ZERO(&none);
	must(CPU_COUNT(&online) == number && CPU_EQUAL(&online, &present));
	CPU_OR(&all, &online, &offline);
	must(CPU_EQUAL(&all, &possible));
	CPU_AND(&all, &online, &offline);
	must(CPU_EQUAL(&all, &none));
	must(get_nprocs() == number && sysconf(_SC_NPROCESSORS_ONLN) == number);
	must(get_nprocs_conf() == configured);
	if (configured < CPU_COUNT(&possible)) {
#ifdef __GLIBC__
		fail("%ld CPUs are configured of %d that are possible", configured, CPU_COUNT(&possible));
#else
		/* musl counts the CPUs of the real mask. */
		configured = CPU_COUNT(&possible);
#endif
	}

	/* One page for each CPU, and a guard page after the last. Runs on every CPU that the thread can use. */
	CPU_ZERO(&real);
	must(raw(SYS_sched_getaffinity, 0, sizeof real, (long)&real, 0, 0, 0) > 0);
	char *pages = mmap(0, (configured + 1) * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	must(pages != MAP_FAILED && !mprotect(pages + configured * page, page, PROT_NONE));
	cpu_set_t on_nodes;
	CPU_ZERO(&on_nodes);
	for (int node = 0; node < 64; node++) {
		char path[128];
		snprintf(path, sizeof path, "/sys/devices/system/node/node%d/cpulist", node);
		if (access(path, R_OK)) continue;
		cpu_set_t set = list(path);
		CPU_OR(&on_nodes, &on_nodes, &set);
	}
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &real)) continue;
		cpu_set_t one;
		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		must(!raw(SYS_sched_setaffinity, 0, sizeof one, (long)&one, 0, 0, 0));
		int here = sched_getcpu();
		must(here == cpu);
		must(CPU_ISSET(here, &possible));
		pages[here * page] = 1;
		if (CPU_COUNT(&on_nodes) && !CPU_ISSET(here, &on_nodes)) fail("CPU %d is on no node", here);
		shows_own(number);
	}
	must(!raw(SYS_sched_setaffinity, 0, sizeof real, (long)&real, 0, 0, 0));

	/* All files show the first allowed CPUs, under their real numbers. */
	int left = number;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (!CPU_ISSET(cpu, &real)) continue;
		must(!!CPU_ISSET(cpu, &online) == (left > 0));
		left -= left > 0;
	}
	all = lines("/proc/cpuinfo", "processor : %d");
	must(CPU_EQUAL(&all, &online));
	all = lines("/proc/stat", "cpu%d ");
	must(CPU_EQUAL(&all, &online));

	is_in_directory("/sys/devices/system/cpu", "/sys/devices/system/cpu/", &online);
	must(!chdir("/sys/devices/system"));
	is_in_directory("cpu", "cpu/", &online);
	is_in_directory("./cpu/", "./cpu/", &online);
	is_in_directory("/sys/devices/../devices/system//cpu", "/sys/devices/../devices/system//cpu/", &online);
	is_in_directory("/proc/self/cwd/cpu", "/proc/self/cwd/cpu/", &online);
	must(!chdir("cpu"));
	is_in_directory(".", "", &online);
	static const char *const prefixes[] = {"", "./", "../cpu/", "/sys/devices/system/cpu/", "//sys/devices/system/cpu//",
		"/sys/devices/system/./cpu/", "/proc/self/cwd/", "/sys/bus/cpu/devices/", "/sys/bus/../bus/cpu/devices/"};
	for (int cpu = 0; cpu < configured; cpu++)
		for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
			for (int deep = 0; deep < 2; deep++) {
				char path[128];
				struct stat status;
				snprintf(path, sizeof path, "%scpu%d%s", prefixes[i], cpu, deep ? "/topology" : "");
				int shown = CPU_ISSET(cpu, &online) != 0;
				if ((access(path, F_OK) == 0) != shown) fail("access %s", path);
				if ((stat(path, &status) == 0) != shown) fail("stat %s", path);
				if ((fstatat(AT_FDCWD, path, &status, 0) == 0) != shown) fail("fstatat %s", path);
				DIR *open = opendir(path);
				if ((open != 0) != shown) fail("opendir %s", path);
				if (open) closedir(open);
			}
}
