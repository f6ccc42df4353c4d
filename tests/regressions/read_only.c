/* The program gets a descriptor for reading. Writing fails as on the kernel's file. */
#include "regression.h"

int main(void) {
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	must((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	must(write(fd, "x", 1) == -1 && errno == EBADF);
	must(pwrite(fd, "x", 1, 0) == -1 && errno == EBADF);
	must(ftruncate(fd, 0) == -1 && errno == EINVAL);
	FILE *file = fopen("/proc/meminfo", "r");
	must(file && (fcntl(fileno(file), F_GETFL) & O_ACCMODE) == O_RDONLY);
	must(fputs("x", file) == EOF || fflush(file) == EOF);
	reads_ours(fd, "after all that");
	/* Also after a refresh. */
	must(lseek(fd, 0, SEEK_SET) == 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY);
	must(write(fd, "x", 1) == -1 && errno == EBADF);
}
