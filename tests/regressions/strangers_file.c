/* A memory file that another user made, with the name of a virtual file, is never shown as the kernel's
 * file. A program of root that checks owner, mode and device with fstat must see the memory file. */
#include "regression.h"
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

static const char text[] = "root::0:0::/:/bin/sh\n";
static const char *const names[] = {"proclens:meminfo", "proclens:process-stat", "proclens:cpu-online"};

static int is_shown_as_it_is(int fd, const char *how) {
	struct stat by_number, by_path;
	char path[64];
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (fstat(fd, &by_number) || stat(path, &by_path)) fail("%s: stat, errno %d", how, errno);
	if (by_number.st_uid != 12345 || by_number.st_size != sizeof text - 1 || by_number.st_nlink != 0)
		fail("%s: fstat shows uid %d, mode %o, size %ld", how, by_number.st_uid, by_number.st_mode, (long)by_number.st_size);
	if (by_path.st_uid != 12345 || by_path.st_ino != by_number.st_ino)
		fail("%s: stat shows uid %d, mode %o", how, by_path.st_uid, by_path.st_mode);
	return 1;
}

/* A rewind does not refresh another user's file. */
static void keeps_its_text(int fd, const char *how) {
	char now[256] = "";
	must(lseek(fd, 0, SEEK_SET) == 0);
	int n = read(fd, now, sizeof now - 1);
	if (n != sizeof text - 1 || memcmp(now, text, n)) fail("%s: %d bytes, %.40s", how, n, now);
	must(pread(fd, now, sizeof now, 0) == n && !memcmp(now, text, n));
	char *mapped = mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	must(mapped != MAP_FAILED && !memcmp(mapped, text, n));
}

static int made(const char *name, int mode, int directory) {
	int fd;
	if (directory) {
		char path[128];
		snprintf(path, sizeof path, "/dev/shm/%s.1.2", name);
		fd = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
		must(fd >= 0 && !unlink(path));
	} else {
		fd = raw(SYS_memfd_create, (long)name, 2, 0, 0, 0, 0);
		must(fd >= 0);
	}
	if (mode) must(!fchmod(fd, mode));
	must(write(fd, text, sizeof text - 1) == sizeof text - 1);
	return fd;
}

union control { struct cmsghdr header; char space[CMSG_SPACE(sizeof(int))]; };

static int received(int socket) {
	char byte;
	union control control;
	struct iovec part = {&byte, 1};
	struct msghdr message = {0};
	message.msg_iov = &part;
	message.msg_iovlen = 1;
	message.msg_control = &control;
	message.msg_controllen = sizeof control;
	must(recvmsg(socket, &message, 0) == 1 && CMSG_FIRSTHDR(&message));
	int fd;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
	return fd;
}

static void sent(int socket, int fd) {
	char byte = 0;
	union control control = {0};
	struct iovec part = {&byte, 1};
	struct msghdr message = {0};
	message.msg_iov = &part;
	message.msg_iovlen = 1;
	message.msg_control = &control;
	message.msg_controllen = sizeof control;
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	control.header.cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
	must(sendmsg(socket, &message, 0) == 1);
}

int main(void) {
	if (getuid()) cannot("needs root");
	/* Read the mode of the library's own files instead of repeating it here. */
	struct stat own = {0};
	int held = open("/proc/meminfo", O_RDONLY);
	must(held >= 0 && !raw(SYS_fstat, held, (long)&own, 0, 0, 0, 0));
	const int modes[] = {0, 0777, 0666, 0700, 0600, 0444, own.st_mode & 07777};
	for (unsigned directory = 0; directory < 2; directory++)
		for (unsigned m = 0; m < sizeof modes / sizeof *modes; m++)
			for (unsigned n = 0; n < sizeof names / sizeof *names; n++) {
				int ends[2], status;
				char how[128];
				must(!socketpair(AF_UNIX, SOCK_STREAM, 0, ends));
				pid_t child = fork();
				if (!child) {
					if (setgid(12345) || setuid(12345)) fail("setuid, errno %d", errno);
					sent(ends[1], made(names[n], modes[m], directory));
					pause();
				}
				int fd = received(ends[0]);
				snprintf(how, sizeof how, "%s of mode %o in %s", names[n], modes[m], directory ? "a directory" : "memory");
				is_shown_as_it_is(fd, how);
				keeps_its_text(fd, how);
				must(!kill(child, SIGKILL) && waitpid(child, &status, 0) == child);
				close(fd);
				close(ends[0]);
				close(ends[1]);
			}
}
