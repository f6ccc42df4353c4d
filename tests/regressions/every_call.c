/* Every hooked function, by its name, returns the container's value. The arguments are the names; a name that this
 * libc does not have is skipped. */
#include "regression.h"
#include <sched.h>
#include <pthread.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <dlfcn.h>

#define PATH "/proc/meminfo"
static long kb, cpus, page;
static char text[16384];

static void file_says(int fd, const char *how) {
	if (fd < 0) fail("%s: errno %d", how, errno);
	says(slurp(fd, text, sizeof text), kb, how);
	close(fd);
}

static void stream_says(FILE *file, const char *how) {
	if (!file) fail("%s: errno %d", how, errno);
	text[fread(text, 1, sizeof text - 1, file)] = 0;
	says(text, kb, how);
}

static void number_is(long got, long want, const char *how) {
	if (got != want) fail("%s: %ld, not %ld", how, got, want);
}

static void load_is(double got, double want, const char *how) {
	if (got < want - .2 || got > want + .2) fail("%s: %f, not %f", how, got, want);
}

int main(int argc, char **argv) {
	kb = number_of("MEM_KB"), cpus = number_of("CPUS"), page = sysconf(_SC_PAGESIZE) / 1024;
	for (int i = 1; i < argc; i++) {
		const char *name = argv[i];
		void *function = dlsym(RTLD_DEFAULT, name);
		if (!function) continue;
#ifndef __GLIBC__
		/* The library has it, but musl 1.2.3 does not: no program calls it there. */
		if (!strncmp(name, "__", 2) || strstr(name, "v2")) continue;
#endif
#define is(x) (!strcmp(name, x))
#define as(type) ((type)function)
		if (is("open") || is("open64")) file_says(as(int (*)(const char *, int, ...))(PATH, O_RDONLY), name);
		else if (is("openat") || is("openat64")) file_says(as(int (*)(int, const char *, int, ...))(AT_FDCWD, PATH, O_RDONLY), name);
		else if (is("__open_2") || is("__open64_2")) file_says(as(int (*)(const char *, int))(PATH, O_RDONLY), name);
		else if (is("__openat_2") || is("__openat64_2")) file_says(as(int (*)(int, const char *, int))(AT_FDCWD, PATH, O_RDONLY), name);
		else if (is("fopen") || is("fopen64")) stream_says(as(FILE *(*)(const char *, const char *))(PATH, "r"), name);
		else if (is("freopen") || is("freopen64")) stream_says(as(FILE *(*)(const char *, const char *, FILE *))(PATH, "r", fopen("/dev/null", "r")), name);
		else if (is("sysconf") || is("__sysconf")) {
			long (*call)(int) = as(long (*)(int));
			number_is(call(_SC_NPROCESSORS_ONLN), cpus, name);
			number_is(call(_SC_PHYS_PAGES), kb / page, name);
			number_is(call(_SC_AVPHYS_PAGES) < kb / page, 1, name);
		} else if (is("get_nprocs")) number_is(as(int (*)(void))(), cpus, name);
		else if (is("get_phys_pages")) number_is(as(long (*)(void))(), kb / page, name);
		else if (is("get_avphys_pages")) number_is(as(long (*)(void))() < kb / page, 1, name);
		else if (is("getloadavg")) {
			double got[3] = {-1}, want;
			FILE *file = fopen("/proc/loadavg", "r");
			must(file && fscanf(file, "%lf", &want) == 1);
			number_is(as(int (*)(double *, int))(got, 3), 3, name);
			load_is(got[0], want, name);
		} else if (is("sysinfo")) {
			struct sysinfo info = {0};
			number_is(as(int (*)(struct sysinfo *))(&info), 0, name);
			number_is(info.totalram * info.mem_unit, kb * 1024, name);
		} else if (is("sched_getaffinity")) {
			cpu_set_t set;
			number_is(as(int (*)(pid_t, size_t, cpu_set_t *))(0, sizeof set, &set), 0, name);
			number_is(CPU_COUNT(&set), cpus, name);
		} else if (is("pthread_getaffinity_np")) {
			cpu_set_t set;
			number_is(as(int (*)(pthread_t, size_t, cpu_set_t *))(pthread_self(), sizeof set, &set), 0, name);
			number_is(CPU_COUNT(&set), cpus, name);
		} else if (is("pthread_attr_getaffinity_np")) {
#ifdef __GLIBC__
			pthread_attr_t attributes;
			cpu_set_t set;
			must(!pthread_getattr_np(pthread_self(), &attributes));
			number_is(as(int (*)(pthread_attr_t *, size_t, cpu_set_t *))(&attributes, sizeof set, &set), 0, name);
			number_is(CPU_COUNT(&set), cpus, name);
#endif
		} else if (is("syscall")) {
			long (*call)(long, ...) = as(long (*)(long, ...));
			cpu_set_t set;
			struct sysinfo info = {0};
			unsigned long long how[3] = {O_RDONLY};
#ifdef SYS_open
			file_says(call(SYS_open, PATH, O_RDONLY), "SYS_open");
#endif
			file_says(call(SYS_openat, AT_FDCWD, PATH, O_RDONLY), "SYS_openat");
			file_says(call(SYS_openat2, AT_FDCWD, PATH, how, sizeof how), "SYS_openat2");
			memset(&set, 0, sizeof set);
			must(call(SYS_sched_getaffinity, 0, sizeof set, &set) > 0);
			number_is(CPU_COUNT(&set), cpus, "SYS_sched_getaffinity");
			must(!call(SYS_sysinfo, &info));
			number_is(info.totalram * info.mem_unit, kb * 1024, "SYS_sysinfo");
			/* The kernel may not have io_uring_setup. */
			must(call(425, 1, 0) == -1 && errno == -raw(425, 1, 0, 0, 0, 0, 0));
		} else if (is("lseek") || is("lseek64") || strstr(name, "pread")) {
			struct iovec part = {text, sizeof text - 1};
			int fd = open(PATH, O_RDONLY);
			must(fd >= 0);
			slurp(fd, text, sizeof text);
			set_memory(kb -= 4096);
			ssize_t n = 0;
			if (is("lseek") || is("lseek64")) {
				number_is(as(off_t (*)(int, off_t, int))(fd, 0, SEEK_SET), 0, name);
				n = read(fd, text, sizeof text - 1);
			} else if (is("pread") || is("pread64")) n = as(ssize_t (*)(int, void *, size_t, off_t))(fd, text, sizeof text - 1, 0);
			else if (is("__pread_chk") || is("__pread64_chk")) n = as(ssize_t (*)(int, void *, size_t, off_t, size_t))(fd, text, sizeof text - 1, 0, sizeof text);
			else if (is("preadv") || is("preadv64")) n = as(ssize_t (*)(int, const struct iovec *, int, off_t))(fd, &part, 1, 0);
			else if (is("preadv2") || is("preadv64v2")) n = as(ssize_t (*)(int, const struct iovec *, int, off_t, int))(fd, &part, 1, 0, 0);
			else fail("%s is not called here yet", name);
			must(n > 0);
			text[n] = 0;
			says(text, kb, name);
		} else if (is("rewind") || is("fseek") || is("fseeko") || is("fseeko64") || is("fsetpos") || is("fsetpos64")) {
			fpos_t start;
			FILE *file = fopen(PATH, "r");
			must(file && !fgetpos(file, &start));
			stream_says(file, "before");
			set_memory(kb -= 4096);
			if (is("rewind")) as(void (*)(FILE *))(file);
			else if (strstr(name, "fseek")) number_is(as(int (*)(FILE *, long, int))(file, 0, SEEK_SET), 0, name);
			else number_is(as(int (*)(FILE *, const fpos_t *))(file, &start), 0, name);
			stream_says(file, name);
		} else {
			printf("unknown %s\n", name);
			fflush(stdout);
		}
	}
}
