/* descriptor_model SEED STEPS: a random sequence of operations on a few descriptors in this process, in its
 * children and in the programs that it executes. One line for each: the operation, its result, errno, and the
 * descriptor's offset afterwards. tests/differential.rs compares the lines without and with
 * the library: a virtual descriptor behaves as the kernel's own. All digits and spaces of a text count as equal,
 * because the numbers should differ. Run it in an empty directory. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
enum { FIRST = 10, SLOTS = 6 };

static uint64_t state;
static int kind[SLOTS]; /* which path a descriptor was opened from, or -1 */

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dull >> 16;
}
static int below(int end)
{
	return next() % end;
}

/* Virtual files whose length does not depend on the numbers in them, and ordinary files. */
static const char *const paths[] = { "/proc/meminfo", "/sys/devices/system/node/node0/meminfo",
	"/proc/self/comm", "file", "/proc/sys/kernel/ostype" };

static unsigned hash(const char *text, long length)
{
	unsigned h = 2166136261u;
	for (long i = 0; i < length; i++) {
		char c = text[i];
		h = (h ^ (unsigned char)(c == ' ' || (c >= '0' && c <= '9') ? '#' : c)) * 16777619u;
	}
	return h;
}

static void report(const char *what, int slot, long result, const char *text)
{
	int code = errno;
	long at = kind[slot] < 0 ? -1 : lseek(FIRST + slot, 0, SEEK_CUR);
	printf("%s %d: %ld %d", what, slot, result, code);
	if (text && result > 0)
		printf(" %08x", hash(text, result));
	printf(" at %ld\n", at);
}

static void step(void)
{
	static char text[1 << 16];
	int slot = below(SLOTS), other = below(SLOTS), fd = FIRST + slot;
	long result, size = 1 + below(below(3) ? 100 : 8000);
	struct stat st;
	errno = 77;
	switch (below(16)) {
	case 0:
	case 1:
	case 2: {
		int which = below(COUNT(paths));
		int got = open(paths[which], O_RDONLY | (below(2) ? O_CLOEXEC : 0));
		if (got >= 0) {
			int saved = errno;
			dup3(got, fd, below(4) ? 0 : O_CLOEXEC);
			close(got);
			errno = saved;
			kind[slot] = which;
		}
		printf("%s ", paths[which]);
		report("open", slot, got < 0 ? -1 : 0, NULL);
		break;
	}
	case 3:
	case 4:
	case 5:
		result = read(fd, text, size);
		report("read", slot, result, text);
		break;
	case 6:
		result = pread(fd, text, size, below(3000));
		report("pread", slot, result, text);
		break;
	case 7: {
		static const int whence[] = { SEEK_SET, SEEK_SET, SEEK_CUR };
		long to = below(3) ? below(3000) : below(2) ? 0 : -below(3000);
		result = lseek(fd, to, whence[below(3)]);
		report("lseek", slot, result, NULL);
		break;
	}
	case 8:
		result = fstat(fd, &st);
		printf("mode %o uid %d size %ld ", result ? 0 : st.st_mode, result ? 0 : (int)st.st_uid,
		       result ? 0L : (long)st.st_size);
		report("fstat", slot, result, NULL);
		break;
	case 9:
		result = dup2(fd, FIRST + other);
		if (result >= 0)
			kind[other] = kind[slot];
		report("dup2", other, result, NULL);
		break;
	case 10:
		result = close(fd);
		kind[slot] = -1;
		report("close", slot, result, NULL);
		break;
	case 11: {
		/* A child shares the offset. */
		fflush(stdout);
		pid_t child = fork();
		if (child == 0) {
			read(fd, text, size);
			if (below(2))
				lseek(fd, 0, SEEK_SET);
			_exit(0);
		}
		waitpid(child, NULL, 0);
		errno = 77;
		report("fork", slot, child > 0, NULL);
		break;
	}
	case 12: {
		struct iovec parts[2] = { { text, size / 2 }, { text + size / 2, size - size / 2 } };
		result = below(2) ? readv(fd, parts, 2) : preadv(fd, parts, 2, below(500));
		report("readv", slot, result, text);
		break;
	}
	case 13:
		result = fcntl(fd, below(2) ? F_GETFD : F_GETFL);
		report("fcntl", slot, result, NULL);
		break;
	case 14: {
		int copy = dup(fd);
		if (copy >= 0) {
			int saved = errno;
			read(copy, text, 10);
			close(copy);
			errno = saved;
		}
		report("dup", slot, copy < 0 ? -1 : 0, NULL);
		break;
	}
	default: {
		struct pollfd poll_one = { fd, POLLIN, 0 };
		result = poll(&poll_one, 1, 0);
		printf("%x ", poll_one.revents & ~(POLLERR | POLLPRI));
		report("poll", slot, result, NULL);
		break;
	}
	}
}

int main(int count, char **arguments)
{
	if (count < 3)
		return 2;
	state = strtoull(arguments[1], NULL, 10) * 0x9e3779b97f4a7c15ull + 1;
	long steps = atol(arguments[2]);
	if (count == 3) {
		int file = open("file", O_CREAT | O_RDWR | O_TRUNC, 0644);
		for (int i = 0; i < 400; i++)
			dprintf(file, "line %d\n", i);
		close(file);
	}
	for (int slot = 0; slot < SLOTS; slot++)
		kind[slot] = fcntl(FIRST + slot, F_GETFD) >= 0 ? 0 : -1;
	for (long i = 0; i < steps; i++) {
		step();
		/* Sometimes another program continues with the inherited descriptors. */
		if (steps - i > 1 && !below(200)) {
			char seed[32], rest[32];
			snprintf(seed, sizeof seed, "%llu", (unsigned long long)next());
			snprintf(rest, sizeof rest, "%ld", steps - i - 1);
			fflush(stdout);
			execl("/proc/self/exe", arguments[0], seed, rest, "again", NULL);
			return 3;
		}
	}
	printf("made all steps\n");
	return 0;
}
