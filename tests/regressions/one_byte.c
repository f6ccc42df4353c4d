/* Reads one byte at a time, as a shell's `read` does: one text, without gap or repetition. */
#include "regression.h"

int main(void) {
	char text[16384];
	size_t n = 0;
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	while (n < sizeof text - 1 && read(fd, text + n, 1) == 1) n++;
	text[n] = 0;
	says(text, number_of("MEM_KB"), "one byte at a time");
	must(count_lines(text, "MemTotal:") == 1 && count_lines(text, "MemFree:") == 1);
}
