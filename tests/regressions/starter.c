/* Starts the program in its arguments below a system call filter that kills a process that makes a memory file, as a
 * service manager's list of allowed calls may. */
#include "regression.h"
#include <sys/prctl.h>

/* linux/filter.h and linux/seccomp.h, which musl-gcc does not find. */
struct instruction { unsigned short code; unsigned char yes, no; unsigned k; };
struct program { unsigned short length; struct instruction *code; };
enum { LOAD = 0x20, JUMP_IF_EQUAL = 0x15, RETURN = 0x06, KILL = 0x80000000u, ALLOW = 0x7fff0000, FILTER = 2 };

int main(int argc, char **argv) {
	struct instruction filter[] = {
		{LOAD, 0, 0, 0}, /* the number of the system call */
		{JUMP_IF_EQUAL, 0, 1, SYS_memfd_create},
		{RETURN, 0, 0, KILL},
		{RETURN, 0, 0, ALLOW},
	};
	struct program program = {4, filter};
	must(argc > 1);
	must(!prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
	if (prctl(PR_SET_SECCOMP, FILTER, &program)) cannot("no seccomp filters here");
	execv(argv[1], argv + 1);
	fail("exec");
}
