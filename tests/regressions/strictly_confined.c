/* A program that allows itself the calls that its own libc makes and no other: the library adds none. Its
 * parent may have installed the filter before exec, so this holds for the start too. */
#include "regression.h"
#include <sys/prctl.h>
#include <sys/stat.h>

/* linux/filter.h and linux/seccomp.h, which musl-gcc does not find. */
struct instruction { unsigned short code; unsigned char yes, no; unsigned k; };
struct program { unsigned short length; struct instruction *code; };
enum { LOAD = 0x20, JUMP_IF_EQUAL = 0x15, RETURN = 0x06, KILL = 0, ALLOW = 0x7fff0000, FILTER = 2 };
#define ALLOWED(n) {JUMP_IF_EQUAL, 0, 1, n}, {RETURN, 0, 0, ALLOW}

static void confine(void) {
	struct instruction filter[] = {
		{LOAD, 0, 0, 0}, /* the number of the system call */
		ALLOWED(SYS_read), ALLOWED(SYS_write), ALLOWED(SYS_lseek), ALLOWED(SYS_pread64), ALLOWED(SYS_preadv),
		ALLOWED(SYS_exit_group),
		{RETURN, 0, 0, KILL},
	};
	struct program program = {sizeof filter / sizeof *filter, filter};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, FILTER, &program)) cannot("no seccomp filters here");
}

static void survives(const char *what, int fd, FILE *stream) {
	char text[16];
	int child = fork(), ended;
	if (!child) {
		confine();
		switch (*what) {
		case 'l': if (lseek(fd, 0, SEEK_SET)) _exit(1); break;
		case 'c': if (lseek(fd, 0, SEEK_CUR) < 0) _exit(1); break;
		case 'e': if (lseek(fd, 0, SEEK_END) < 0) _exit(1); break;
		case 'p': if (pread(fd, text, 1, 0) < 0) _exit(1); break;
		case 'r': rewind(stream); break;
		case 'f': if (fseek(stream, 0, SEEK_SET)) _exit(1); break;
		}
		_exit(0);
	}
	must(waitpid(child, &ended, 0) == child);
	if (WIFEXITED(ended) && WEXITSTATUS(ended) == 77) _exit(77);
	if (ended) fail("%s: status %#x", what, ended);
}

/* Whether a child that may make every call but `fstat(2)` survives libc's fstat and, with `again`, an exec. */
static int survives_without_fstat(char *again) {
	struct instruction filter[] = {
		{LOAD, 0, 0, 0},
		{JUMP_IF_EQUAL, 0, 1, SYS_fstat}, {RETURN, 0, 0, KILL},
		{RETURN, 0, 0, ALLOW},
	};
	struct program program = {sizeof filter / sizeof *filter, filter};
	struct stat status;
	int child = fork(), ended;
	if (!child) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, FILTER, &program)) _exit(77);
		if (fstat(0, &status)) _exit(1);
		if (again) execl("/proc/self/exe", again, "again", (char *)0);
		_exit(again != 0);
	}
	must(waitpid(child, &ended, 0) == child);
	return !ended;
}

int main(int argc, char **argv) {
	if (argc > 1) return 0;
	/* Most versions of glibc make newfstatat instead. */
	if (survives_without_fstat(0)) must(survives_without_fstat(argv[0]));
	static const char *const what[] = {"lseek", "current", "end", "pread", "rewind", "fseek"};
	int file = open("/etc/passwd", O_RDONLY), temporary = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	FILE *stream = fopen("/etc/passwd", "r");
	int memory = syscall(SYS_memfd_create, "own", 0);
	/* Before the first read, libc calls fstat for the size of its buffer. */
	must(file >= 0 && stream && memory >= 0 && getc(stream) != EOF);
	for (unsigned i = 0; i < sizeof what / sizeof *what; i++) {
		survives(what[i], file, stream);
		survives(what[i], memory, stream);
		if (temporary >= 0) survives(what[i], temporary, stream);
	}
}
