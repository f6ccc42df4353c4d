/* A descriptor that a program was started with gets the number of a former ordinary file: a rewind still refreshes
 * it. */
#include "regression.h"

int main(int argc, char **argv) {
	char text[16384], number[16];
	if (argc == 2) {
		int given = atoi(argv[1]), file = open("/etc/passwd", O_RDONLY);
		must(file >= 0 && lseek(file, 0, SEEK_SET) == 0);
		must(dup2(given, file) == file && !close(given));
		set_memory(300 << 10);
		must(lseek(file, 0, SEEK_SET) == 0);
		says(slurp(file, text, sizeof text), 300 << 10, "a number that was another's");
		return 0;
	}
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	says(slurp(fd, text, sizeof text), number_of("MEM_KB"), "before exec");
	snprintf(number, sizeof number, "%d", fd);
	execl("/proc/self/exe", argv[0], number, (char *)0);
	fail("exec");
}
