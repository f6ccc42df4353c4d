/* tasks BUSY BLOCKED IDLE [ON OFF]: BUSY threads compute, BLOCKED threads wait in uninterruptible sleep
 * (each is the parent of a vfork child that never executes), and IDLE threads sleep, until a signal comes. With ON
 * and OFF the busy ones compute for ON seconds and sleep for OFF seconds, in turns.
 *
 * Build: cc -O2 -pthread -o tasks tasks.c */
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

static double on, off;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void *busy(void *unused) {
    double start = now();
    for (;;) {
        for (volatile int i = 0; i < 1000000; i++) {}
        if (on > 0 && now() - start >= on) {
            struct timespec rest = {off, (off - (long)off) * 1e9};
            nanosleep(&rest, NULL);
            start += on + off;
        }
    }
    return unused;
}

static void *idle(void *unused) {
    for (;;) pause();
    return unused;
}

int main(int argc, char **argv) {
    if (argc != 4 && argc != 6) {
        fprintf(stderr, "usage: tasks BUSY BLOCKED IDLE [ON OFF]\n");
        return 64;
    }
    if (argc == 6) on = atof(argv[4]), off = atof(argv[5]);
    setpgid(0, 0);
    for (int i = atoi(argv[2]); i > 0; i--) {
        if (fork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            if (vfork() == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                for (;;) pause();
            }
            _exit(0);
        }
    }
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 32768);
    pthread_t thread;
    int failed = 0;
    for (int i = atoi(argv[1]); i > 0; i--) failed |= pthread_create(&thread, &small, busy, NULL);
    for (int i = atoi(argv[3]); i > 0; i--) failed |= pthread_create(&thread, &small, idle, NULL);
    if (failed) return 1;
    for (;;) pause();
}
