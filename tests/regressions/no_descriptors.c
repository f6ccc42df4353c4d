/* RLIMIT_NOFILE with no, one or two spare descriptors: open returns the same as without the library, and the
 * program reads a whole file. */
#include "regression.h"
#include <sys/resource.h>

int main(void) {
	static char text[256 << 10];
	for (int spare = 0; spare < 6; spare++) {
		for (int i = 0; i < FILES; i++) {
			int first = open("/dev/null", O_RDONLY);
			close(first);
			struct rlimit limit, tight;
			must(!getrlimit(RLIMIT_NOFILE, &limit));
			tight = limit;
			tight.rlim_cur = first + 1 + spare;
			must(!setrlimit(RLIMIT_NOFILE, &tight));
			int fd = open(files[i], O_RDONLY);
			if (fd != first) fail("%s with %d to spare: %d, errno %d", files[i], spare, fd, errno);
			must(*slurp(fd, text, sizeof text));
			must(text[strlen(text) - 1] == '\n');
			must(lseek(fd, 0, SEEK_SET) == 0 && read(fd, text, 10) > 0);
			if ((fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY) fail("%s with %d to spare can be written", files[i], spare);
			/* No descriptor is left: the next open fails as without the library. */
			if (!spare) must(open(files[i], O_RDONLY) == -1 && errno == EMFILE);
			must(sysconf(_SC_NPROCESSORS_ONLN) > 0);
			must(!setrlimit(RLIMIT_NOFILE, &limit));
			close(fd);
		}
	}
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	reads_ours(fd, "with enough again");
}
