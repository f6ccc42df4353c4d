/* sendfile: the kernel copies the container's content (busybox cat). */
#include "regression.h"
#include <sys/sendfile.h>

int main(void) {
	int fd = open("/proc/meminfo", O_RDONLY), ends[2];
	must(fd >= 0 && !pipe(ends));
	must(sendfile(ends[1], fd, 0, 16384) > 1000);
	close(ends[1]);
	reads_ours(ends[0], "sendfile");
}
