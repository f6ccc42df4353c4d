/* A signal handler reads a virtual file while it interrupts another read: no call waits for a lock, and no text is
 * incomplete. */
#include "regression.h"
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <time.h>

static volatile long handled;
static long kb, cpus;

static void handler(int number) {
	(void)number;
	static char text[64 << 10];
	int saved = errno, i = handled % FILES;
	int fd = open(files[i], O_RDONLY);
	must(fd >= 0);
	is_ours(i, slurp(fd, text, sizeof text), kb, cpus);
	must(lseek(fd, 0, SEEK_SET) == 0);
	is_ours(i, slurp(fd, text, sizeof text), kb, cpus);
	close(fd);
	struct sysinfo info;
	must(!sysinfo(&info) && info.totalram / 1024 * info.mem_unit == (unsigned long)kb);
	must(sysconf(_SC_NPROCESSORS_ONLN) == cpus);
	handled++;
	errno = saved;
}

int main(void) {
	kb = number_of("MEM_KB"), cpus = number_of("CPUS");
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
	struct itimerval often = {{0, 1500}, {0, 1500}};
	must(!sigaction(SIGALRM, &action, 0) && !setitimer(ITIMER_REAL, &often, 0));
	time_t end = time(0) + 2;
	while (time(0) < end) read_all(kb, cpus);
	memset(&often, 0, sizeof often);
	setitimer(ITIMER_REAL, &often, 0);
	must(handled > 20);
}
