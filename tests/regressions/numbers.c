/* Descriptor numbers: open returns the lowest free one, as POSIX promises; the library leaves none open; numbers
 * above 1024 work. */
#include "regression.h"
#include <dirent.h>
#include <sys/resource.h>

static int open_now(void) {
	int n = 0;
	DIR *directory = opendir("/proc/self/fd");
	must(directory);
	while (readdir(directory)) n++;
	closedir(directory);
	return n;
}

int main(void) {
	int a = open("/dev/null", O_RDONLY), b = open("/dev/null", O_RDONLY), c = open("/dev/null", O_RDONLY);
	must(a >= 0 && b == a + 1 && c == b + 1);
	close(b);
	int before = open_now();
	for (int round = 0; round < 20; round++)
		for (int i = 0; i < FILES; i++) {
			int fd = open(files[i], O_RDONLY);
			if (fd != b) fail("%s is %d, not %d", files[i], fd, b);
			char text[64];
			must(read(fd, text, sizeof text) > 0 && lseek(fd, 0, SEEK_SET) == 0 && read(fd, text, sizeof text) > 0);
			close(fd);
			FILE *file = fopen(files[i], "r");
			must(file && fileno(file) == b);
			rewind(file);
			fclose(file);
			sysconf(_SC_NPROCESSORS_ONLN);
			sysconf(_SC_PHYS_PAGES);
		}
	if (open_now() != before) fail("%d descriptors are open, before it were %d", open_now(), before);
	struct rlimit limit;
	must(!getrlimit(RLIMIT_NOFILE, &limit));
	limit.rlim_cur = limit.rlim_max < 5000 ? limit.rlim_max : 5000;
	must(!setrlimit(RLIMIT_NOFILE, &limit));
	int fd;
	while ((fd = open("/dev/null", O_RDONLY)) >= 0 && fd < (int)limit.rlim_cur - 8) {}
	must(fd >= 500);
	fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 500);
	reads_ours(fd, "a high number");
	set_memory(300 << 10);
	must(lseek(fd, 0, SEEK_SET) == 0);
	char text[16384];
	says(slurp(fd, text, sizeof text), 300 << 10, "a high number, anew");
}
