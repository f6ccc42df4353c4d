/* syscall(2) with any other number is unchanged: six arguments arrive, and result and errno come back. */
#include "regression.h"
#include <sys/mman.h>

int main(void) {
	int fd = open("/etc/passwd", O_RDONLY);
	char *text = (char *)syscall(SYS_mmap, 0L, 4096L, (long)PROT_READ, (long)MAP_PRIVATE, (long)fd, 0L);
	must(text != MAP_FAILED && strchr(text, ':'));
	must(syscall(SYS_mmap, 0L, 4096L, (long)PROT_READ, (long)MAP_PRIVATE, (long)fd, 1L) == -1 && errno == EINVAL);
	must(syscall(SYS_getpid) == getpid() && syscall(SYS_getppid) == getppid());
	must(syscall(SYS_gettid) == getpid());
	must(syscall(-1L) == -1 && errno == ENOSYS);
	must(syscall(0x100000000L + SYS_getpid) == raw(0x100000000L + SYS_getpid, 0, 0, 0, 0, 0, 0) || errno == ENOSYS);
	/* fork and vfork by number. */
	int status;
	pid_t child = syscall(SYS_clone, (long)SIGCHLD, 0L, 0L, 0L, 0L);
	if (!child) _exit(7);
	must(child > 0 && waitpid(child, &status, 0) == child && WEXITSTATUS(status) == 7);
}
