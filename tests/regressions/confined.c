/* A program that allows itself a few calls and then seeks in, reads or examines ordinary files: the library makes
 * no other call for them, or the program would be killed. */
#include "regression.h"
#include <sys/mman.h>
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
		ALLOWED(SYS_read), ALLOWED(SYS_write), ALLOWED(SYS_lseek), ALLOWED(SYS_pread64), ALLOWED(SYS_fstat),
		ALLOWED(SYS_newfstatat), ALLOWED(SYS_exit), ALLOWED(SYS_exit_group),
		{RETURN, 0, 0, KILL},
	};
	struct program program = {sizeof filter / sizeof *filter, filter};
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, FILTER, &program)) cannot("no seccomp filters here");
}

static void alone(const char *what, int held) {
	struct stat status;
	char text[16];
	int child = fork(), ended;
	if (!child) {
		int file = open("/etc/passwd", O_RDONLY), temporary = open("/tmp", O_TMPFILE | O_RDWR, 0600);
		int ours = held ? open("/proc/meminfo", O_RDONLY) : 0;
		FILE *stream = fopen("/etc/passwd", "r");
		if (file < 0 || ours < 0 || !stream) _exit(1);
		if (temporary < 0) temporary = file;
		confine();
		switch (*what) {
		case 'l': if (lseek(file, 0, SEEK_SET) || lseek(temporary, 0, SEEK_SET)) _exit(1); break;
		case 'p': if (pread(file, text, 1, 0) != 1 || pread(temporary, text, 1, 0) < 0) _exit(1); break;
		case 'f': if (fstat(file, &status) || fstat(temporary, &status)) _exit(1); break;
		case 'r': rewind(stream); break;
		}
		_exit(0);
	}
	must(waitpid(child, &ended, 0) == child);
	if (WIFEXITED(ended) && WEXITSTATUS(ended) == 77) _exit(77);
	if (ended) fail("%s%s: status %#x", what, held ? " beside one of ours" : "", ended);
}

int main(void) {
	static const char *const what[] = {"lseek", "pread", "fstat", "rewind"};
	for (int held = 0; held < 2; held++)
		for (int i = 0; i < 4; i++) alone(what[i], held);
}
