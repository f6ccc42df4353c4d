/* A rewind refreshes a descriptor that a process got by exec, whatever seeks came before: in other files, and in a
 * vfork child that has closed it. A descriptor that came through a socket is refreshed once the process has opened
 * a virtual file itself, or has called fstat. */
#include "regression.h"
#include <sys/socket.h>
#include <sys/stat.h>

static void seek_elsewhere(void) {
	char byte;
	int fd = open("/etc/passwd", O_RDONLY);
	must(fd >= 0 && lseek(fd, 0, SEEK_SET) == 0 && pread(fd, &byte, 1, 0) == 1);
}

static void reads(int fd, long kb, const char *how) {
	static char text[16384];
	set_memory(kb);
	must(lseek(fd, 0, SEEK_SET) == 0);
	says(slurp(fd, text, sizeof text), kb, how);
}

union control { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; };

static void through_a_socket(void) {
	int ends[2], status, fd;
	char byte = 0;
	union control control = {0};
	struct iovec part = {&byte, 1};
	struct msghdr message = {0};
	message.msg_iov = &part;
	message.msg_iovlen = 1;
	message.msg_control = &control;
	message.msg_controllen = sizeof control;
	must(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
	pid_t child = fork();
	if (!child) {
		seek_elsewhere();
		must(recvmsg(ends[1], &message, 0) == 1 && CMSG_FIRSTHDR(&message));
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
		struct stat status;
		must(!fstat(fd, &status));
		reads(fd, 300 << 10, "from a socket");
		_exit(0);
	}
	must((fd = open("/proc/meminfo", O_RDONLY)) >= 0);
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	must(sendmsg(ends[0], &message, 0) == 1);
	must(waitpid(child, &status, 0) == child);
	if (status) _exit(1);
	close(fd);
}

int main(int argc, char **argv) {
	int status;
	if (argc < 2) {
		through_a_socket();
		int fd = open("/proc/meminfo", O_RDONLY);
		must(fd >= 0 && dup2(fd, 9) == 9);
		execl("/proc/self/exe", argv[0], "again", (char *)0);
		fail("exec");
	}
	pid_t child = vfork();
	if (!child) {
		for (int fd = 3; fd < 20; fd++) close(fd);
		int fd = open("/etc/passwd", O_RDONLY);
		_exit(fd < 0 || lseek(fd, 0, SEEK_SET));
	}
	must(waitpid(child, &status, 0) == child && status == 0);
	reads(9, 200 << 10, "after a vfork child");
}
