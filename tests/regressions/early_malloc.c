/* An allocator that reads values of the machine while it initialises, at the first malloc of the process, as
 * jemalloc and tcmalloc do. Built as a shared object and preloaded with the library. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static char heap[32 << 20];
static size_t used;
static int state; /* 0: fresh, 1: initialising, 2: ready */
int early_malloc_asked;

static void initialise(void) {
	char text[256];
	state = 1;
	int fd = open("/proc/meminfo", O_RDONLY);
	if (fd >= 0 && read(fd, text, sizeof text) > 0 && !strncmp(text, "MemTotal:", 9)) early_malloc_asked |= 1;
	close(fd);
	fd = syscall(SYS_openat, AT_FDCWD, "/sys/devices/system/cpu/online", O_RDONLY);
	if (fd >= 0 && read(fd, text, sizeof text) > 0) early_malloc_asked |= 2;
	close(fd);
	if (sysconf(_SC_NPROCESSORS_ONLN) > 0) early_malloc_asked |= 4;
	state = 2;
}

void *malloc(size_t size) {
	if (state == 0) initialise();
	size_t at = __atomic_fetch_add(&used, ((size + 15) & ~15ul) + 16, __ATOMIC_RELAXED);
	if (at + size + 16 > sizeof heap) return 0;
	*(size_t *)(heap + at) = size;
	return heap + at + 16;
}
void free(void *p) { (void)p; }
void *calloc(size_t n, size_t size) { return malloc(n * size); }
void *realloc(void *old, size_t size) {
	void *new = malloc(size);
	if (old && new) {
		size_t n = *(size_t *)((char *)old - 16);
		memcpy(new, old, n < size ? n : size);
	}
	return new;
}
void *memalign(size_t align, size_t size) {
	char *p = malloc(size + align + 16);
	if (!p) return p;
	p = (char *)(((size_t)p + align + 15) & ~(align - 1));
	*(size_t *)(p - 16) = size;
	return p;
}
void *aligned_alloc(size_t align, size_t size) { return memalign(align, size); }
int posix_memalign(void **to, size_t align, size_t size) { *to = memalign(align, size); return *to ? 0 : 12; }
size_t malloc_usable_size(void *p) { return p ? *(size_t *)((char *)p - 16) : 0; }
