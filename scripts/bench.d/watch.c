/* watch SECONDS: prints every 5 s a line "seconds, the kernel's 1-minute average, the library's", both of
 * one moment. One process does nothing else, because every other program would be load itself.
 * Its first read starts the sampler; all later reads are half a period apart from the sampler's samples.
 *
 * Run it with the library preloaded. Build: cc -O2 -o watch watch.c -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static void average(int (*open_)(const char *, int, ...), char *into) {
    char text[128];
    int fd = open_("/proc/loadavg", O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0) {
        perror("watch: /proc/loadavg");
        exit(1);
    }
    close(fd);
    text[n] = 0;
    snprintf(into, 16, "%s", strtok(text, " "));
}

int main(int argc, char **argv) {
    void *libc = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    /* libc's own function, without the hook. */
    int (*plain)(const char *, int, ...) = libc ? (int (*)(const char *, int, ...))dlsym(libc, "open") : NULL;
    struct timespec begin, now;
    char kernel[16], ours[16];
    if (argc != 2 || !plain) {
        fprintf(stderr, "watch: SECONDS, on glibc\n");
        return 1;
    }
    clock_gettime(CLOCK_BOOTTIME, &begin);
    for (int i = 0;; i++) {
        struct timespec next = {begin.tv_sec + i * 5 + 3, begin.tv_nsec};
        average(plain, kernel);
        average(open, ours);
        clock_gettime(CLOCK_BOOTTIME, &now);
        printf("%ld %s %s\n", (long)(now.tv_sec - begin.tv_sec), kernel, ours);
        if (now.tv_sec - begin.tv_sec >= atol(argv[1])) return 0;
        fflush(stdout);
        clock_nanosleep(CLOCK_BOOTTIME, TIMER_ABSTIME, &next, NULL);
    }
}
