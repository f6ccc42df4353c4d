/* The spellings of a path that programs use or could use: relative after chdir, relative to a directory, symbolic
 * links, /proc/self/root, //, ., .. */
#include "regression.h"

static void check(int fd, const char *how) {
	if (fd < 0) fail("%s: errno %d", how, errno);
	reads_ours(fd, how);
	close(fd);
}

int main(void) {
	static const char *const paths[] = {
		"/proc/meminfo", "//proc//meminfo", "/proc/./meminfo", "/proc/../proc/meminfo", "/proc/self/../meminfo",
		"/proc/self/root/proc/meminfo", "/proc/1/root/proc/meminfo", "/proc/thread-self/../../../meminfo",
		"/sys/../proc/meminfo",
	};
	for (unsigned i = 0; i < sizeof paths / sizeof *paths; i++) check(open(paths[i], O_RDONLY), paths[i]);
	int proc = open("/proc", O_RDONLY | O_DIRECTORY), root = open("/", O_PATH);
	check(openat(proc, "meminfo", O_RDONLY), "openat");
	check(openat(root, "proc/meminfo", O_RDONLY), "openat from an O_PATH");
	check(openat(-1, "/proc/meminfo", O_RDONLY), "openat from nowhere");
	check(syscall(SYS_openat, proc, "meminfo", O_RDONLY), "syscall(SYS_openat)");
	must(!chdir("/proc"));
	check(open("meminfo", O_RDONLY), "relative");
	check(open("./meminfo", O_RDONLY), "relative with a dot");
	check(open("self/../meminfo", O_RDONLY), "relative with two");
	FILE *file = fopen("meminfo", "r");
	must(file);
	check(fileno(file), "fopen, relative");
	char link[] = "/tmp/proclens-regression-XXXXXX", path[64];
	must(mkdtemp(link));
	snprintf(path, sizeof path, "%s/meminfo", link);
	must(!symlink("/proc/meminfo", path));
	int fd = open(path, O_RDONLY);
	unlink(path);
	check(fd, "a link with the name");
	/* A file that only has the name is not virtual. */
	fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	must(fd >= 0 && write(fd, "own\n", 4) == 4);
	close(fd);
	char text[16] = "";
	fd = open(path, O_RDONLY);
	unlink(path);
	rmdir(link);
	must(fd >= 0 && read(fd, text, sizeof text) == 4 && !strcmp(text, "own\n"));
	must(lseek(fd, 0, SEEK_SET) == 0 && read(fd, text, sizeof text) == 4);
	/* Nor are other files of a task. */
	static char stat[4096];
	fd = open("/proc/self/stat", O_RDONLY);
	must(fd >= 0 && atoi(slurp(fd, stat, sizeof stat)) == getpid());
}
