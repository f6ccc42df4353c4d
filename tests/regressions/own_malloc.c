/* scandir in a program that defines malloc and free itself: libc allocates with these, so the library must free
 * with them and not with libc's free. */
#include "regression.h"
#include <dirent.h>

static char pool[1 << 24];
static size_t used;

void *malloc(size_t size) {
	char *place = pool + used;
	size = (size + 31) & ~15ul;
	used += size + 16;
	if (used > sizeof pool) return 0;
	*(size_t *)place = size;
	return place + 16;
}

void free(void *place) {
	char *start = place;
	if (place && (start < pool || start >= pool + sizeof pool)) fail("free of what is not the pool's");
}

void *calloc(size_t count, size_t size) { return malloc(count * size); }

void *realloc(void *old, size_t size) {
	char *new = malloc(size);
	size_t had = old ? ((size_t *)old)[-2] : 0;
	if (new && old) memcpy(new, old, had < size ? had : size);
	return new;
}

int main(void) {
	struct dirent **list;
	int count = scandir("/sys/devices/system/cpu", &list, 0, alphasort), cpus = 0;
	must(count > 0);
	for (int i = 0; i < count; i++) {
		char *end;
		cpus += !strncmp(list[i]->d_name, "cpu", 3) && (strtol(list[i]->d_name + 3, &end, 10), end > list[i]->d_name + 3 && !*end);
		free(list[i]);
	}
	free(list);
	must(cpus >= 1);
}
