/* memfd_create refused by seccomp, with the errno of the argument (EPERM, ENOSYS): a file in
 * /dev/shm or another directory takes its place and leaves no name behind. With `none` as second argument no such
 * directory exists: the program reads the whole kernel's file. With `long` the directory has a long path. */
#include "regression.h"
#include <dirent.h>
#include <sys/prctl.h>
#include <sys/stat.h>

/* linux/filter.h and linux/seccomp.h, which musl-gcc does not find. */
struct instruction { unsigned short code; unsigned char yes, no; unsigned k; };
struct program { unsigned short length; struct instruction *code; };
enum { LOAD = 0x20, JUMP_IF_EQUAL = 0x15, RETURN = 0x06, ERRNO = 0x50000, ALLOW = 0x7fff0000, FILTER = 2 };

static void empty(const char *path) {
	DIR *directory = opendir(path);
	struct dirent *entry;
	while (directory && (entry = readdir(directory))) {
		/* Another program may be about to remove its own. */
		for (int i = 0; strstr(entry->d_name, "proclens:") && !faccessat(dirfd(directory), entry->d_name, F_OK, 0); i++) {
			if (i == 500) fail("%s has %s", path, entry->d_name);
			usleep(10000);
		}
	}
	if (directory) closedir(directory);
}

int main(int argc, char **argv) {
	must(argc > 1);
	if (argc > 2 && !strcmp(argv[2], "long")) {
		char path[300];
		memset(path, 'd', sizeof path);
		memcpy(path, "/dev/shm/", 9);
		path[209] = 0;
		must(!mkdir(path, 0755) || errno == EEXIST);
		must(!setenv("PROCLENS_STATE", path, 1));
		execl("/proc/self/exe", argv[0], argv[1], (char *)0);
		fail("exec");
	}
	struct instruction filter[] = {
		{LOAD, 0, 0, 0}, /* the number of the system call */
		{JUMP_IF_EQUAL, 0, 1, SYS_memfd_create},
		{RETURN, 0, 0, ERRNO | atoi(argv[1])},
		{RETURN, 0, 0, ALLOW},
	};
	struct program program = {4, filter};
	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (prctl(PR_SET_SECCOMP, FILTER, &program)) cannot("no seccomp filters here");
	must(raw(SYS_memfd_create, (long)"x", 0, 0, 0, 0, 0) == -atoi(argv[1]));
	if (argc > 2) {
		static char text[16384];
		int fd = open("/proc/meminfo", O_RDONLY);
		must(fd >= 0);
		slurp(fd, text, sizeof text);
		says(text, field(text, "MemTotal:"), "without a place for a file");
		must(field(text, "MemTotal:") != number_of("MEM_KB"));
		/* Calls that need no descriptor return the container's values. */
		must(sysconf(_SC_PHYS_PAGES) == number_of("MEM_KB") / (sysconf(_SC_PAGESIZE) / 1024));
		return 0;
	}
	read_all(number_of("MEM_KB"), number_of("CPUS"));
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0 && (fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDONLY && write(fd, "x", 1) == -1 && errno == EBADF);
	reads_ours(fd, "without memfd_create");
	set_memory(300 << 10);
	static char text[16384];
	must(lseek(fd, 0, SEEK_SET) == 0);
	says(slurp(fd, text, sizeof text), 300 << 10, "without memfd_create, anew");
	empty("/dev/shm");
	empty("/run");
	empty("/tmp");
}
