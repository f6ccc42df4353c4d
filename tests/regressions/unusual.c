// Programs that do unusual things with processes, descriptors and seccomp, and then read /proc/meminfo.
// unusual one | close | filter | vfork | files | execveat | user | private | traced | threads N | processes N
// unusual refuse MODE CMD...: runs CMD with the calls of MODE refused.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int see(void)
{
	char text[64] = "";
	int fd = open("/proc/meminfo", O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof text - 1) < 0) return printf("errno %d\n", errno), 1;
	close(fd);
	printf("%s\n", strtok(text, "\n"));
	fflush(stdout);
	return 0;
}

static long failed, differ;
static void *open_some(void *unused)
{
	static char first[28];
	char text[4096];
	for (int i = 0; i < 20; i++) {
		int fd = open(i % 4 ? "/etc/hostname" : "/proc/meminfo", O_RDONLY);
		if (fd < 0 || read(fd, text, sizeof text) <= 0) __sync_fetch_and_add(&failed, 1);
		else if (i % 4 == 0 && !first[0]) memcpy(first, text, 27);
		else if (i % 4 == 0 && memcmp(first, text, 27)) __sync_fetch_and_add(&differ, 1);
		close(fd);
	}
	return unused;
}

static int threads(int count)
{
	pthread_t all[4096];
	pthread_attr_t small;
	int made = 0;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	while (made < count && made < 4096 && !pthread_create(&all[made], &small, open_some, 0)) made++;
	for (int i = 0; i < made; i++) pthread_join(all[i], 0);
	printf("failed %ld differ %ld\n", failed, differ);
	return failed != 0;
}

// As many processes as the limit allows; each of them opens.
static int processes(int count)
{
	int status, bad = 0;
	for (int i = 0; i < count; i++) {
		if (fork()) continue;
		for (int k = 0; k < 5; k++) {
			int fd = open("/proc/meminfo", O_RDONLY);
			if (fd < 0) _exit(1);
			close(fd);
		}
		usleep(300000);
		_exit(0);
	}
	while (wait(&status) > 0) bad += status != 0;
	printf("bad %d\n", bad);
	return bad != 0;
}

static int open_in_table(void *fd)
{
	*(int *)fd = open("/proc/meminfo", O_RDONLY);
	return 0;
}

static long filter(unsigned flags, struct sock_filter *code, int length)
{
	struct sock_fprog program = {length, code};
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
}

// The call NUMBER fails with ERROR if argument 1 has one of these bits.
static int refuse(const char *mode, char **command)
{
	unsigned number = SYS_seccomp, bits = ~0u, error = EINVAL;
	if (!strcmp(mode, "seccomp")) error = ENOSYS;
	if (!strcmp(mode, "profile")) error = EPERM;
	if (!strcmp(mode, "listener")) bits = SECCOMP_FILTER_FLAG_NEW_LISTENER;
	if (!strcmp(mode, "killable")) bits = 1 << 5;
	if (!strcmp(mode, "readv")) number = SYS_process_vm_readv, error = EPERM;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 24),
		BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	if (filter(0, code, 6)) return 3;
	execvp(command[0], command);
	return 4;
}

int main(int count, char **words)
{
	const char *what = words[1];
	int status, fd = -1;
	if (!strcmp(what, "refuse")) return refuse(words[2], words + 3);
	if (!strcmp(what, "threads")) return threads(atoi(words[2]));
	if (!strcmp(what, "processes")) return processes(atoi(words[2]));
	if (!strcmp(what, "close")) for (fd = 0; fd < 1024; fd++) if (fd != 1) close(fd);
	if (!strcmp(what, "filter")) {
		// The kernel allows one listener: the command's own one is refused.
		struct sock_filter allow[] = {BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
		if (filter(0, allow, 1)) return 3;
		if (filter(SECCOMP_FILTER_FLAG_NEW_LISTENER, allow, 1) != -1 || errno != EBUSY) return 4;
	}
	if (!strcmp(what, "vfork")) {
		if (!vfork()) _exit(see());
		wait(&status);
		return status;
	}
	if (!strcmp(what, "files")) {
		// Two processes share the table that gets the descriptor.
		static char stack[65536], text[28];
		waitpid(clone(open_in_table, stack + sizeof stack, CLONE_VM | CLONE_FILES | SIGCHLD, &fd), 0, 0);
		if (read(fd, text, 27) < 0) return 1;
		puts(strtok(text, "\n"));
		return 0;
	}
	if (!strcmp(what, "execveat")) {
		char *again[] = {words[0], "one", 0};
		syscall(SYS_execveat, open("/proc/self/exe", O_RDONLY), "", again, environ, AT_EMPTY_PATH);
		return 1;
	}
	if (!strcmp(what, "user") && (setgid(1000) || setuid(1000))) return 2;
	if (!strcmp(what, "private")) prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	if (!strcmp(what, "traced")) {
		int child = fork();
		if (!child) {
			ptrace(PTRACE_TRACEME, 0, 0, 0);
			raise(SIGSTOP);
			exit(see());
		}
		while (waitpid(child, &status, 0) > 0 && !WIFEXITED(status)) ptrace(PTRACE_SYSCALL, child, 0, 0);
		return WEXITSTATUS(status);
	}
	return see();
}
