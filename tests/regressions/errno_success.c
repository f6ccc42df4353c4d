/* A hooked call that succeeds does not change errno. */
#include "regression.h"
#include <sched.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <pthread.h>

enum { MARK = 12345 };
static char text[65536];
#define quiet(x) do { \
	errno = MARK; \
	if (!(x)) fail("%s failed, errno %d", #x, errno); \
	if (errno != MARK) fail("%s: errno is %d", #x, errno); \
} while (0)

int main(void) {
	int fd;
	FILE *file;
	fpos_t start;
	for (int i = 0; i < FILES; i++) {
		struct iovec part = {text, sizeof text};
		quiet((fd = open(files[i], O_RDONLY)) >= 0);
		quiet(read(fd, text, sizeof text) > 0);
		quiet(lseek(fd, 0, SEEK_SET) == 0);
		quiet(pread(fd, text, sizeof text, 0) > 0);
		quiet(preadv(fd, &part, 1, 0) > 0);
		close(fd);
		quiet((fd = openat(AT_FDCWD, files[i], O_RDONLY)) >= 0);
		close(fd);
		quiet((fd = syscall(SYS_openat, AT_FDCWD, files[i], O_RDONLY)) >= 0);
		close(fd);
		quiet((file = fopen(files[i], "r")));
		must(!fgetpos(file, &start));
		must(fgets(text, sizeof text, file));
		quiet((rewind(file), 1));
		quiet(!fseek(file, 0, SEEK_SET));
		quiet(!fsetpos(file, &start));
		/* With pushed-back characters that are in no file. */
		must(getc(file) != EOF && ungetc('x', file) == 'x');
		quiet((rewind(file), 1));
		quiet((file = freopen(files[i], "r", file)));
		fclose(file);
	}
	struct sysinfo info;
	cpu_set_t cpus;
	double load[3];
	quiet(sysconf(_SC_NPROCESSORS_ONLN) > 0);
	quiet(sysconf(_SC_NPROCESSORS_CONF) > 0);
	quiet(sysconf(_SC_PHYS_PAGES) > 0);
	quiet(sysconf(_SC_AVPHYS_PAGES) >= 0);
	quiet(sysconf(_SC_PAGESIZE) > 0);
	quiet(get_nprocs() > 0);
	quiet(get_nprocs_conf() > 0);
	quiet(get_phys_pages() > 0);
	quiet(get_avphys_pages() >= 0);
	quiet(getloadavg(load, 3) == 3);
	quiet(!sysinfo(&info));
	quiet(!sched_getaffinity(0, sizeof cpus, &cpus));
	quiet(!pthread_getaffinity_np(pthread_self(), sizeof cpus, &cpus));
	quiet(syscall(SYS_sched_getaffinity, 0, sizeof cpus, &cpus) > 0);
	quiet(!syscall(SYS_sysinfo, &info));
	quiet(syscall(SYS_getpid) == getpid());
	/* Also for ordinary files. */
	quiet((fd = open("/dev/null", O_RDONLY)) >= 0);
	quiet(lseek(fd, 0, SEEK_SET) == 0);
	quiet((file = fopen("/etc/passwd", "r")));
	quiet((rewind(file), 1));
	quiet((file = fmemopen(text, 5, "r")));
	quiet((rewind(file), 1));
	quiet(!fseek(file, 0, SEEK_SET));
}
