/* A FILE that stays open: after rewind, fseek, fseeko, fsetpos, fflush + rewind (procps 4) and, with glibc, freopen
 * without a path the next pass has the current content, although stdio seeks and opens inside libc. */
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
#ifdef __GLIBC__
	const int ways = 8;
#else
	/* musl's freopen without a path keeps the offset. */
	const int ways = 7;
#endif
	for (int way = 0; way < ways; way++) {
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
			break;
		case 7: must(freopen(0, "r", file) == file);
		}
		char how[32];
		snprintf(how, sizeof how, "way %d", way);
		says(pass(), kb, how);
	}
}
