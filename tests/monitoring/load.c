/* load DIRECTORY: the load that `scripts/lab/agreement` measures. 200 MiB of anonymous memory, 100 MiB of page cache (reads
   DIRECTORY/in), 50 MiB written (DIRECTORY/out, past the cache), one busy thread, three threads in state D. */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

enum { MIB = 1 << 20 };

/* The parent of a vfork waits in D until its child ends or executes. */
static void *waits(void *unused) {
    if (vfork() == 0) {
        for (;;) pause();
    }
    return unused;
}

int main(int argc, char **argv) {
    if (argc != 2 || chdir(argv[1])) err(1, "load DIRECTORY");
    char *memory = mmap(NULL, 200 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) err(1, "mmap");
    memset(memory, 1, 200 * MIB);
    static char buffer[MIB];
    int in = open("in", O_RDONLY);
    if (in < 0) err(1, "in");
    /* Twice: what is read again is kept. */
    for (int round = 0; round < 2; round++) {
        lseek(in, 0, SEEK_SET);
        while (read(in, buffer, MIB) > 0) {}
    }
    int out = open("out", O_WRONLY | O_CREAT | O_DIRECT, 0600);
    if (out < 0) err(1, "out");
    for (int i = 0; i < 50; i++)
        if (write(out, memory + (size_t)i * MIB, MIB) != MIB) err(1, "write");
    if (fsync(out)) err(1, "fsync");
    pthread_t thread;
    for (int i = 0; i < 3; i++)
        if (pthread_create(&thread, NULL, waits, NULL)) errx(1, "pthread_create");
    int ready = open("ready", O_WRONLY | O_CREAT, 0600);
    if (ready < 0) err(1, "ready");
    for (;;) {
        time_t begun = time(NULL);
        while (time(NULL) < begun + 5)
            for (volatile unsigned n = 0; n < MIB; n++) {}
        /* A host may drop page cache that nobody reads. */
        for (off_t at = 0; pread(in, buffer, MIB, at) > 0; at += MIB) {}
    }
}
