/* A file that is not opened for reading stays the kernel's own: a PSI trigger can be written and polled. */
#include "regression.h"

static void real(int fd, const char *how) {
	char path[64], name[128] = "";
	if (fd < 0) fail("%s: errno %d", how, errno);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	must(readlink(path, name, sizeof name - 1) > 0);
	if (strcmp(name, "/proc/meminfo")) fail("%s: is %s", how, name);
	must(lseek(fd, 0, SEEK_SET) == 0);
	must(readlink(path, name, sizeof name - 1) > 0 && !strcmp(name, "/proc/meminfo"));
	close(fd);
}

int main(void) {
	FILE *file = fopen("/proc/meminfo", "r+");
	real(open("/proc/meminfo", O_RDWR), "O_RDWR");
	real(open("/proc/meminfo", O_WRONLY), "O_WRONLY");
	must(file);
	real(fileno(file), "fopen r+");
	int fd = open("/proc/meminfo", O_PATH);
	must(fd >= 0 && (fcntl(fd, F_GETFL) & O_PATH));
}
