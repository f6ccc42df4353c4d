// A preloaded library with a small fault, to test the test: its lseek64 sets no errno when it fails.
#include "regression.h"
#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

long lseek64(int fd, long offset, int whence) {
  long result = syscall(SYS_lseek, fd, offset, whence);
  if (result < 0) errno = 0;
  return result;
}
