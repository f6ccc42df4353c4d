/* A library that sometimes loses an offset: tests/differential.rs must detect it. */
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <unistd.h>

off_t lseek(int fd, off_t offset, int whence)
{
	static int calls;
	return syscall(SYS_lseek, fd, whence == SEEK_SET && ++calls % 10 == 0 ? 0 : offset, whence);
}
