/* A FILE that stays open: after rewind, fseek, fseeko, fsetpos and fflush + rewind (procps 4) the next pass has the
 * current content, although stdio seeks inside libc. */
#include "regression.h"

static FILE *file;
static char text[16384];

static const char *pass(void) {
	text[fread(text, 1, sizeof text - 1, file)] = 0;
	return text;
}

int main(void) {
	fpos_t start;
	long kb = number_of("MEM_KB");
	must((file = fopen("/proc/meminfo", "r")));
	must(!fgetpos(file, &start));
	says(pass(), kb, "fopen");
	for (int way = 0; way < 7; way++) {
		set_memory(kb -= 4096);
		switch (way) {
		case 0: rewind(file); break;
		case 1: must(!fseek(file, 0, SEEK_SET)); break;
		case 2: must(!fseeko(file, 0, SEEK_SET)); break;
		case 3: must(!fsetpos(file, &start)); break;
		case 4: must(!fflush(file)); rewind(file); break;
		/* From the middle of a buffer. */
		case 5: rewind(file); must(fgets(text, 20, file)); rewind(file); break;
		case 6:
			/* Unbuffered. */
			must(!setvbuf(file, 0, _IONBF, 0));
			rewind(file);
		}
		char how[32];
		snprintf(how, sizeof how, "way %d", way);
		says(pass(), kb, how);
	}
}
