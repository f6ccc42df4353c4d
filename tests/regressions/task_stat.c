/* The file of a task: pread does not change the offset; there is nothing to read after the task has ended and
 * another task has its ID; and a file of another PID namespace never shows this namespace's tasks. */
#include "regression.h"
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

static int opened(const char *directory, int number) {
	char path[128];
	snprintf(path, sizeof path, "%s/%d/stat", directory, number);
	int fd = open(path, O_RDONLY);
	must(fd >= 0);
	return fd;
}

static pid_t sleeper(void) {
	pid_t child = fork();
	if (!child) {
		pause();
		_exit(0);
	}
	must(child > 0);
	return child;
}

static void end(pid_t child) {
	must(!kill(child, SIGKILL) && waitpid(child, 0, 0) == child);
}

static void has_nothing(int fd, const char *how) {
	char text[1024];
	for (int i = 0; i < 2; i++) {
		must(lseek(fd, 0, SEEK_SET) == 0);
		int n = read(fd, text, sizeof text - 1);
		text[n > 0 ? n : 0] = 0;
		if (n > 0) fail("%s reads %.40s", how, text);
	}
}

/* In a PID namespace of its own, as PID 1. */
static void elsewhere(void) {
	char directory[] = "/dev/shm/proclens-regression-XXXXXX", path[64], first[1024], again[1024];
	must(mkdtemp(directory));
	snprintf(path, sizeof path, "%s/proc", directory);
	must(!mkdir(path, 0755));
	pid_t child = fork();
	if (!child) {
		if (unshare(CLONE_NEWNS) || mount(0, "/", 0, MS_REC | MS_PRIVATE, 0) || mount("proc", path, "proc", 0, 0)) _exit(77);
		int fd = opened(path, 1);
		slurp(fd, first, sizeof first);
		must(lseek(fd, 0, SEEK_SET) == 0);
		slurp(fd, again, sizeof again);
		/* Number, name and state. */
		int name = strrchr(first, ')') - first;
		if (strncmp(first, again, name)) fail("elsewhere: %.20s, then %.20s", first, again);
		_exit(0);
	}
	int status;
	must(waitpid(child, &status, 0) == child);
	rmdir(path);
	rmdir(directory);
	if (status && !(WIFEXITED(status) && WEXITSTATUS(status) == 77)) _exit(1);
}

int main(void) {
	char text[1024];
	int fd = opened("/proc", getpid());
	must(read(fd, text, sizeof text) > 0);
	must(!fcntl(fd, F_SETFL, O_NONBLOCK) && !fcntl(fd, F_SETFD, FD_CLOEXEC));
	must(pread(fd, text, 10, 0) == 10);
	/* The renewed text may be longer by a few digits. */
	must(lseek(fd, 0, SEEK_CUR) > 100 && read(fd, text, sizeof text) < 20);
	must(fcntl(fd, F_GETFL) & O_NONBLOCK && fcntl(fd, F_GETFD) == FD_CLOEXEC);

	pid_t child = sleeper();
	fd = opened("/proc", child);
	must(read(fd, text, sizeof text) > 0);
	end(child);
	has_nothing(fd, "a task that has ended");

	/* The next task with the same ID, a few ticks of the clock later. */
	usleep(50000);
	int last = open("/proc/sys/kernel/ns_last_pid", O_WRONLY);
	fd = opened("/proc", child = sleeper());
	end(child);
	usleep(50000);
	int n = snprintf(text, sizeof text, "%d", child - 1);
	if (last >= 0 && write(last, text, n) == n) {
		pid_t next = sleeper();
		if (next == child) has_nothing(fd, "a number that is used again");
		end(next);
	}

	if (!unshare(CLONE_NEWPID)) elsewhere();
}
