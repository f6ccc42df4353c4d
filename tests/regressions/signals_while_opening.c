/* While the library opens a descriptor or maps memory, no signal is delivered: a handler that leaves with siglongjmp
 * would leak it. A tracer looks at each such system call that comes from the library. */
#include "regression.h"
#include <dirent.h>
#include <glob.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

/* struct ptrace_syscall_info at the entry of a call, which not every libc declares. */
struct entry {
	uint8_t op, pad[3];
	uint32_t arch;
	uint64_t instruction, stack, number, arguments[6], rest[4];
};
enum { GET_SYSCALL_INFO = 0x420e, AT_ENTRY = 1 };

static void calls(int first) {
	char text[8192];
	struct stat status;
	struct dirent **list = 0;
	glob_t found = {0};
	cpu_set_t mask;
	struct sysinfo info;
	double averages[3];
	must(!chdir("/sys/devices/system"));
	/* What a process calls first also reads the settings and maps the caches. */
	for (int i = 0; i < 9; i++) switch ((first + i) % 9) {
	case 0: stat("cpu/cpu1", &status); break;
	case 1: access("cpu/cpu1", F_OK); break;
	case 2: close(open("cpu/cpu1/uevent", O_RDONLY)); break;
	case 3: {
		DIR *directory = opendir("cpu");
		must(directory);
		while (readdir(directory)) {}
		closedir(directory);
		directory = opendir("/sys/bus/event_source/devices");
		if (directory) closedir(directory);
		break;
	}
	case 4: {
		int count = scandir("cpu", &list, 0, 0);
		while (count > 0) free(list[--count]);
		free(list);
		if (!glob("cpu/cpu[0-9]", 0, 0, &found)) globfree(&found);
		break;
	}
	case 5: sysconf(_SC_PHYS_PAGES); sysconf(_SC_AVPHYS_PAGES); sysconf(_SC_NPROCESSORS_ONLN); break;
	case 6: sched_getaffinity(0, sizeof mask, &mask); sched_setaffinity(0, sizeof mask, &mask); break;
	case 7: getloadavg(averages, 3); sysinfo(&info); break;
	case 8:
		for (int k = 0; k <= FILES; k++) {
			int fd = open(k < FILES ? files[k] : "/proc/self/stat", O_RDONLY);
			must(fd >= 0);
			while (read(fd, text, sizeof text) > 0) {}
			lseek(fd, 0, SEEK_SET);
			if (pread(fd, text, sizeof text, 0)) {}
			lseek(fd, 0, SEEK_END);
			mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
			fstat(fd, &status);
			snprintf(text, sizeof text, "/proc/self/fd/%d", fd);
			stat(text, &status);
			close(fd);
		}
	}
}

static int opens_or_maps(uint64_t number) {
	switch (number) {
#ifdef SYS_open
	case SYS_open:
#endif
	case SYS_openat: case SYS_openat2: case SYS_memfd_create: case SYS_mmap: case SYS_dup3: return 1;
	}
	return 0;
}

static int is_of_the_library(pid_t child, uint64_t address) {
	static unsigned long start, end;
	char path[64], line[512];
	snprintf(path, sizeof path, "/proc/%d/maps", child);
	FILE *maps = start ? 0 : fopen(path, "r");
	while (maps && fgets(line, sizeof line, maps)) {
		unsigned long from, to;
		if (!strstr(line, "libproclens.so") || sscanf(line, "%lx-%lx", &from, &to) != 2) continue;
		if (!start) start = from;
		end = to;
	}
	if (maps) fclose(maps);
	return start <= address && address < end;
}

/* All but SIGKILL and SIGSTOP, which nobody can block, and SIGSYS, which the library leaves to the program. */
static int blocks_all(pid_t child) {
	char path[64], line[256];
	unsigned long long blocked = 0;
	snprintf(path, sizeof path, "/proc/%d/status", child);
	FILE *file = fopen(path, "r");
	must(file);
	while (fgets(line, sizeof line, file)) sscanf(line, "SigBlk: %llx", &blocked);
	fclose(file);
	return !(~blocked & ~(1ull << (SIGKILL - 1) | 1ull << (SIGSTOP - 1) | 1ull << (SIGSYS - 1)));
}

int main(void) {
	for (int first = 0; first < 9; first++) {
		int status;
		pid_t child = fork();
		must(child >= 0);
		if (!child) {
			must(!ptrace(PTRACE_TRACEME, 0, 0, 0));
			raise(SIGSTOP);
			calls(first);
			_exit(0);
		}
		must(waitpid(child, &status, 0) == child && WIFSTOPPED(status));
		must(!ptrace(PTRACE_SETOPTIONS, child, 0, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL));
		for (;;) {
			must(!ptrace(PTRACE_SYSCALL, child, 0, 0));
			must(waitpid(child, &status, 0) == child);
			if (!WIFSTOPPED(status)) break;
			struct entry call;
			if (WSTOPSIG(status) != (SIGTRAP | 0x80)) continue;
			if (ptrace(GET_SYSCALL_INFO, child, (void *)sizeof call, &call) < 0) cannot("Linux before 5.3");
			if (call.op == AT_ENTRY && opens_or_maps(call.number) && is_of_the_library(child, call.instruction) &&
				!blocks_all(child))
				fail("first %d: signals are not blocked during system call %d", first, (int)call.number);
		}
		must(WIFEXITED(status) && !WEXITSTATUS(status));
	}
}
