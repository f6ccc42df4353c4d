/* Compares each routine of src/sys/arch/PROCESSOR_memory.s with a naive one, which works a byte at a time.
 * tests/memory_routines.rs gives the routines the prefix own_. Build with -fno-builtin and without
 * loop idioms, or the compiler would turn the naive loops into calls of libc's routines. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

void *own_memcpy(void *, const void *, size_t), *own_memmove(void *, const void *, size_t);
void *own_memset(void *, int, size_t);
int own_memcmp(const void *, const void *, size_t), own_bcmp(const void *, const void *, size_t);

typedef unsigned char byte;
enum { SIZES = 300, ALIGNMENTS = 16, SIZE = 1024 };

static void naive_copy(byte *to, const byte *from, size_t n) {
	byte copy[SIZE];
	for (size_t i = 0; i < n; i++) copy[i] = from[i];
	for (size_t i = 0; i < n; i++) to[i] = copy[i];
}
static void naive_set(byte *to, int value, size_t n) {
	for (size_t i = 0; i < n; i++) to[i] = (byte)value;
}
static int naive_compare(const byte *a, const byte *b, size_t n) {
	for (size_t i = 0; i < n; i++)
		if (a[i] != b[i]) return a[i] < b[i] ? -1 : 1;
	return 0;
}

/* SIZE bytes. An access before the first byte or after the last one kills the program. */
static byte *fenced(void) {
	size_t page = sysconf(_SC_PAGESIZE);
	byte *p = mmap(0, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED || mprotect(p + page, page, PROT_READ | PROT_WRITE)) exit(2);
	return p + page;
}
static byte *first_a, *first_b, *last_a, *last_b; /* the first and the last SIZE bytes of two such pages */
static byte before[SIZE + 1], expected[SIZE];

static void fail(const char *what, size_t n, long to, long from) {
	printf("%s of %zu bytes to %ld from %ld\n", what, n, to, from);
	exit(1);
}

static void copies(const char *what, void *(*routine)(void *, const void *, size_t), byte *to_buffer, byte *from_buffer,
                   size_t n, size_t to, size_t from) {
	memcpy(to_buffer, before, SIZE);
	memcpy(from_buffer, before + 1, SIZE);
	memcpy(expected, before, SIZE);
	naive_copy(expected + to, from_buffer + from, n);
	if (routine(to_buffer + to, from_buffer + from, n) != to_buffer + to) fail("the result of a copy", n, to, from);
	if (memcmp(to_buffer, expected, SIZE)) fail(what, n, to, from);
}

static void moves(byte *buffer, size_t n, size_t to, size_t from) {
	memcpy(buffer, before, SIZE);
	memcpy(expected, before, SIZE);
	naive_copy(expected + to, before + from, n);
	if (own_memmove(buffer + to, buffer + from, n) != buffer + to) fail("the result of memmove", n, to, from);
	if (memcmp(buffer, expected, SIZE)) fail("memmove", n, to, from);
}

static void sets(byte *buffer, size_t n, size_t to, int value) {
	memcpy(buffer, before, SIZE);
	memcpy(expected, before, SIZE);
	naive_set(expected + to, value, n);
	if (own_memset(buffer + to, value, n) != buffer + to) fail("the result of memset", n, to, value);
	if (memcmp(buffer, expected, SIZE)) fail("memset", n, to, value);
}

static void compares(const byte *a, const byte *b, size_t n, long at) {
	int want = naive_compare(a, b, n), got = own_memcmp(a, b, n), back = own_memcmp(b, a, n);
	if ((got > 0) - (got < 0) != want || (back > 0) - (back < 0) != -want) fail("memcmp", n, at, want);
	if (!own_bcmp(a, b, n) != !want) fail("bcmp", n, at, want);
}

/* Differences at one position, both ways and in the lowest and the highest bit. After it all bytes differ the other
 * way: only the first difference counts. */
static void differences(byte *a, byte *b, size_t n, size_t at) {
	static const byte pairs[][2] = {{0, 1}, {0x7f, 0x80}, {0xff, 0}, {0x10, 0x0f}};
	for (size_t pair = 0; pair < sizeof pairs / sizeof *pairs; pair++) {
		memcpy(a, before, n);
		memcpy(b, before, n);
		a[at] = pairs[pair][0];
		b[at] = pairs[pair][1];
		for (size_t i = at + 1; i < n; i++) a[i] = b[at], b[i] = a[at];
		compares(a, b, n, at);
	}
}

int main(void) {
	size_t page = sysconf(_SC_PAGESIZE);
	first_a = fenced(), first_b = fenced();
	last_a = fenced() + page - SIZE, last_b = fenced() + page - SIZE;
	for (int i = 0; i <= SIZE; i++) before[i] = (byte)(i * 7 + i / 256 * 3 + 1);
	for (size_t n = 0; n <= SIZES; n++) {
		size_t end = SIZE - n;
		/* Every alignment of both sides, at the first and at the last bytes of a page. */
		for (size_t to = 0; to < ALIGNMENTS; to++) {
			for (size_t from = 0; from < ALIGNMENTS; from++) {
				copies("memcpy", own_memcpy, first_a, first_b, n, to, from);
				copies("memcpy", own_memcpy, last_a, last_b, n, end - to, end - from);
				copies("memmove", own_memmove, first_a, first_b, n, to, from);
				memcpy(first_a + to, before, n);
				memcpy(first_b + from, before, n);
				compares(first_a + to, first_b + from, n, -1);
				memcpy(last_a + end - to, before, n);
				memcpy(last_b + end - from, before, n);
				compares(last_a + end - to, last_b + end - from, n, -1);
				if (!n) continue;
				differences(first_a + to, first_b + from, n, n - 1);
				differences(last_a + end - to, last_b + end - from, n, n / 2);
			}
			sets(first_a, n, to, 0xa7);
			sets(last_a, n, end - to, 0x5ff);
			sets(first_a, n, to, 0);
		}
		for (size_t at = 0; at < n; at++) differences(last_a + end, last_b + end, n, at);
	}
	/* memmove within one buffer: every distance at which the two sides overlap or touch, at both ends. */
	for (size_t n = 0; n <= SIZES; n++)
		for (size_t away = 0; away <= n + 1; away++) {
			moves(first_a, n, away, 0);
			moves(first_a, n, n % ALIGNMENTS, n % ALIGNMENTS + away);
			moves(last_a, n, SIZE - n - away, SIZE - n);
			moves(last_a, n, SIZE - n, SIZE - n - away);
		}
	puts("all of them");
	return 0;
}
