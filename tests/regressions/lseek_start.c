/* A descriptor that stays open (top, free -s): any lseek that reaches the start refreshes it; an lseek that only
 * returns the offset does not. */
#include "regression.h"

int main(void) {
	char text[16384];
	long kb = number_of("MEM_KB");
	int fd = open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	says(slurp(fd, text, sizeof text), kb, "open");
	for (int way = 0; way < 5; way++) {
		char how[32];
		off_t at = lseek(fd, 0, SEEK_CUR);
		must(at > 1000);
		set_memory(kb -= 4096);
		switch (way) {
		case 0: must(lseek(fd, 0, SEEK_SET) == 0); break;
		case 1: must(lseek(fd, -at, SEEK_CUR) == 0); break;
		case 2: must(lseek64(fd, 0, SEEK_SET) == 0); break;
		case 3: must(lseek(fd, 10, SEEK_SET) == 10 && lseek(fd, 0, SEEK_SET) == 0); break;
		case 4: must(lseek(fd, 0, SEEK_SET) == 0 && lseek(fd, 0, SEEK_CUR) == 0); break;
		}
		snprintf(how, sizeof how, "way %d", way);
		says(slurp(fd, text, sizeof text), kb, how);
	}
	must(lseek(fd, 10, SEEK_SET) == 10);
	set_memory(kb - 4096);
	must(lseek(fd, 0, SEEK_CUR) == 10 && read(fd, text + 10, sizeof text - 11) > 1000);
	must(field(text, "MemTotal:") == kb);
}
