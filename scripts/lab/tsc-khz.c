/* tsc-khz: how often the processor's time stamp counter ticks in a millisecond. A VM whose processor is
 * emulated has the same counter, and measures it badly while the machine is busy: its clock then runs
 * several times too fast. x86-64 only. */
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

/* A moment on both clocks: the shortest of many tries. */
static void moment(long long *ns, long long *ticks) {
    long long least = -1;
    for (int i = 0; i < 1000; i++) {
        struct timespec t;
        long long before = __rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &t);
        long long took = __rdtsc() - before;
        if (least >= 0 && took >= least) continue;
        least = took;
        *ns = t.tv_sec * 1000000000LL + t.tv_nsec;
        *ticks = before + took / 2;
    }
}

int main(void) {
    long long ns[2], ticks[2];
    moment(&ns[0], &ticks[0]);
    nanosleep(&(struct timespec){0, 100000000}, NULL);
    moment(&ns[1], &ticks[1]);
    printf("%lld\n", (ticks[1] - ticks[0]) * 1000000 / (ns[1] - ns[0]));
    return 0;
}
