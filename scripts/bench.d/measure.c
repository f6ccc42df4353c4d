/* measure: makes the calls that scripts/bench times and counts. One program makes all of them, so that the same
 * code runs with the library, without it and on lxcfs's files. Times are nanoseconds; one result a line.
 *
 *   measure warm|lseek|pread N FILE...  medians of N readings: open, read, close; or read again
 *   measure first FILE                  the first reading of this process, and the pages that it
 *                                       touched for the first time
 *   measure marked N FILE|sysconf       N readings (or calls for the number of CPUs), a getppid
 *                                       before each and at the end (for strace)
 *   measure page                        touching a page of new memory for the first time
 *   measure rate THREADS MS FILE        readings in a second by THREADS threads together
 *   measure values                      sysconf, sysinfo, getloadavg, sched_getaffinity, sched_setaffinity
 *   measure pass N                      calls that do not concern the library, the fastest of N
 *                                       batches: name, nanoseconds; a getppid before and after (for
 *                                       strace)
 *   measure mounts N DIRECTORY          mounts N file systems there
 *   measure cycles                      time stamp counter ticks in a microsecond
 *   measure exec RUNS PROGRAM PRELOAD...   fork, exec and wait, interleaved: with the first preload,
 *                                       and the additional time with each other preload
 *   measure many RUNS COUNT PROGRAM PRELOAD...  the same with COUNT processes at once
 *   measure idle PRELOAD                private dirty KiB that the library adds to an idle process
 *
 * Build: cc -O2 -pthread -o measure measure.c */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static char room[1 << 20];

static long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000L + t.tv_nsec;
}

static int order(const void *a, const void *b) {
    return (*(const long *)a > *(const long *)b) - (*(const long *)a < *(const long *)b);
}

static long middle(long *times, int n) {
    qsort(times, n, sizeof *times, order);
    return times[n / 2];
}

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void to_end(int fd, char *into) {
    ssize_t n;
    while ((n = read(fd, into, sizeof room)) > 0) {}
    if (n < 0) fail("read");
}

static void once(const char *path, char *into) {
    int fd = open(path, O_RDONLY);
    if (fd < 0) fail(path);
    to_end(fd, into);
    close(fd);
}

static void readings(const char *how, int n, const char *path) {
    long *times = calloc(n, sizeof *times);
    int fd = -1;
    if (*how != 'w' && (fd = open(path, O_RDONLY)) < 0) fail(path);
    for (int i = 0; i < n; i++) {
        long start = now();
        if (*how == 'w') {
            once(path, room);
        } else if (*how == 'l') {
            lseek(fd, 0, SEEK_SET);
            to_end(fd, room);
        } else {
            ssize_t got, at = 0;
            while ((got = pread(fd, room, sizeof room, at)) > 0) at += got;
        }
        times[i] = now() - start;
    }
    if (fd >= 0) close(fd);
    printf("%s %ld\n", path, middle(times, n));
    free(times);
}

static volatile int stop;

static void *reader(void *path) {
    char *into = malloc(sizeof room);
    long n = 0;
    while (!stop) {
        once(path, into);
        n++;
    }
    free(into);
    return (void *)n;
}

static void rate(int threads, int ms, char *path) {
    pthread_t all[64];
    long sum = 0, start = now();
    for (int i = 0; i < threads; i++) pthread_create(&all[i], NULL, reader, path);
    usleep(ms * 1000);
    stop = 1;
    for (int i = 0; i < threads; i++) {
        void *n;
        pthread_join(all[i], &n);
        sum += (long)n;
    }
    printf("%ld\n", (long)(sum / ((now() - start) / 1e9)));
}

/* One batch of each call, which is made `n` times. */
static const char *file;
static int descriptor;

static void open_close(int n) { while (n--) close(open(file, O_RDONLY)); }
static void fopen_fclose(int n) { while (n--) fclose(fopen(file, "r")); }
static void read_(int n) { while (n--) if (read(descriptor, room, 1) < 0) fail("read"); }
static void lseek_(int n) { while (n--) lseek(descriptor, 0, SEEK_SET); }
static void lseek_1(int n) { while (n--) lseek(descriptor, 1, SEEK_SET); }
static void pread_0(int n) { while (n--) if (pread(descriptor, room, 1, 0) < 0) fail("pread"); }
static void fstat_(int n) { struct stat s; while (n--) fstat(descriptor, &s); }
static void stat_(int n) { struct stat s; while (n--) stat(file, &s); }
static void access_(int n) { while (n--) access(file, R_OK); }
static void readdir_(int n) {
    while (n--) {
        DIR *d = opendir("/usr/lib");
        if (!d) fail("/usr/lib");
        while (readdir(d)) {}
        closedir(d);
    }
}
static void gettid_(int n) { while (n--) syscall(SYS_gettid); }
static void dup2_(int n) { while (n--) dup2(descriptor, 99); }
static void sysconf_(int n) { while (n--) sysconf(_SC_PAGESIZE); }
/* Fails in the kernel at once, so only the way to the kernel is measured. */
static void execve_(int n) {
    char *argv[] = {"none", NULL};
    while (n--) execve("/nonexistent/none", argv, environ);
}
static void spawn_(int n) {
    char *argv[] = {"true", NULL};
    while (n--) {
        pid_t pid;
        if (posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ)) fail("posix_spawn");
        waitpid(pid, NULL, 0);
    }
}

static const struct {
    const char *name;
    void (*batch)(int);
    int n;
} passed[] = {
    {"open+close", open_close, 500}, {"fopen+fclose", fopen_fclose, 300}, {"read", read_, 2000},
    {"lseek", lseek_1, 3000},        {"lseek-to-0", lseek_, 3000},        {"pread-at-0", pread_0, 2000},
    {"fstat", fstat_, 1000},         {"stat", stat_, 500},                {"access", access_, 500},
    {"readdir", readdir_, 5},        {"syscall", gettid_, 3000},          {"dup2", dup2_, 2000},
    {"sysconf", sysconf_, 10000},    {"execve", execve_, 500},            {"posix_spawn", spawn_, 1},
};

static void pass(int batches) {
    /* The last letter of /proc/stat: the hook checks more than for most paths. */
    char name[] = "/tmp/proclens-bench-XXXXXX-t";
    double nanos[sizeof passed / sizeof *passed];
    descriptor = mkstemps(name, 2);
    if (descriptor < 0 || write(descriptor, room, 4096) != 4096) fail(name);
    file = name;
    /* The library's only check of the descriptors that a program was started with. */
    lseek_(1);
    fstat_(1);
    syscall(SYS_getppid);
    for (size_t k = 0; k < sizeof passed / sizeof *passed; k++) {
        long best = 0;
        for (int i = 0; i < batches; i++) {
            long start = now();
            passed[k].batch(passed[k].n);
            long took = now() - start;
            if (!best || took < best) best = took;
        }
        nanos[k] = (double)best / passed[k].n;
    }
    syscall(SYS_getppid);
    for (size_t k = 0; k < sizeof passed / sizeof *passed; k++) printf("%s %.2f\n", passed[k].name, nanos[k]);
    unlink(name);
}

static void value(const char *name, void (*get)(void)) {
    enum { N = 2000 };
    static long times[N];
    for (int i = 0; i < N; i++) {
        long start = now();
        get();
        times[i] = now() - start;
    }
    printf("%s %ld\n", name, middle(times, N));
}

static void cpus(void) { sysconf(_SC_NPROCESSORS_ONLN); }
static void pages(void) { sysconf(_SC_PHYS_PAGES); }
static void info(void) { struct sysinfo s; sysinfo(&s); }
static void load(void) { double l[3]; getloadavg(l, 3); }
static cpu_set_t mask;
static void affinity(void) { sched_getaffinity(0, sizeof mask, &mask); }
/* The mask that was read before, as in a program that restores its mask. */
static void set_affinity(void) { sched_setaffinity(0, sizeof mask, &mask); }

static pid_t start(char *program, char *preload) {
    char *words[16], *rest = NULL, *copy = strdup(program);
    int n = 0;
    for (char *w = strtok_r(copy, " ", &rest); w && n < 15; w = strtok_r(NULL, " ", &rest)) words[n++] = w;
    words[n] = NULL;
    char *env[] = {preload, "PATH=/usr/bin:/bin", NULL};
    pid_t pid = fork();
    if (!pid) {
        execve(words[0], words, env);
        _exit(127);
    }
    free(copy);
    return pid;
}

/* The mean of the middle half: bursts of other work change it as little as the median, and it varies less. */
static long middle_mean(long *times, int n) {
    long sum = 0;
    int from = n / 4, to = n - n / 4;
    qsort(times, n, sizeof *times, order);
    for (int i = from; i < to; i++) sum += times[i];
    return sum / (to - from);
}

/* The time of the first preload, and the additional time of each other one in the same round: changes that are
 * slower than a round cancel out. Each round has another order, because a run finds the caches as the run before
 * left them. */
static void runs(int n, int together, char *program, char **preloads, int kinds) {
    long *times = calloc((size_t)n * kinds, sizeof *times);
    pid_t *pids = calloc(together, sizeof *pids);
    int *turns = calloc(kinds, sizeof *turns);
    for (int k = 0; k < kinds; k++) turns[k] = k;
    for (int i = 0; i < n; i++)
        for (int turn = 0; turn < kinds; turn++) {
            int other = turn + rand() % (kinds - turn), k = turns[other];
            turns[other] = turns[turn];
            turns[turn] = k;
            long begin = now();
            for (int j = 0; j < together; j++) pids[j] = start(program, preloads[k]);
            for (int j = 0; j < together; j++) {
                int status;
                waitpid(pids[j], &status, 0);
                if (status) fail(program);
            }
            times[(size_t)k * n + i] = now() - begin;
        }
    for (int k = kinds - 1; k > 0; k--)
        for (int i = 0; i < n; i++) times[(size_t)k * n + i] -= times[i];
    for (int k = 0; k < kinds; k++) printf("%ld\n", middle_mean(times + (size_t)k * n, n));
}

/* Private dirty KiB of all mappings of a process, and those of the preloaded file alone. */
static void idle(char *preload) {
    char path[64], line[512], name[256];
    int kib, in_it = 0, all = 0, own = 0;
    unsigned long from, to, end = 0;
    pid_t pid = start("/bin/sleep 5", preload);
    usleep(200000);
    snprintf(path, sizeof path, "/proc/%d/smaps", pid);
    FILE *maps = fopen(path, "r");
    if (!maps) fail(path);
    while (fgets(line, sizeof line, maps)) {
        name[0] = 0;
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %255s", &from, &to, name) >= 2)
        {
            /* The zeroed data of a file is an anonymous mapping right after it. */
            in_it = strstr(name, "libproclens") || (in_it && !name[0] && from == end);
            end = to;
        }
        if (sscanf(line, "Private_Dirty: %d", &kib) == 1) {
            all += kib;
            if (in_it) own += kib;
        }
    }
    fclose(maps);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    printf("%d %d\n", all, own);
}

static void mounts(int n, const char *directory) {
    char path[256];
    for (int i = 0; i < n; i++) {
        snprintf(path, sizeof path, "%s/%d", directory, i);
        if (mkdir(path, 0755) || mount("none", path, "ramfs", 0, NULL)) fail(path);
    }
}

static void page(void) {
    enum { N = 4096 };
    static long times[9];
    for (int i = 0; i < 9; i++) {
        char *pages = mmap(NULL, N * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (pages == MAP_FAILED || madvise(pages, N * 4096, MADV_NOHUGEPAGE)) fail("mmap");
        long begin = now();
        for (int k = 0; k < N; k++) pages[k * 4096] = 1;
        times[i] = (now() - begin) / N;
        munmap(pages, N * 4096);
    }
    printf("page %ld\n", middle(times, 9));
}

static void cycles(void) {
#ifdef __x86_64__
    long begin = now();
    unsigned long ticks = __builtin_ia32_rdtsc();
    while (now() - begin < 50000000) {}
    printf("%.0f\n", (__builtin_ia32_rdtsc() - ticks) * 1000.0 / (now() - begin));
#else
    printf("0\n");
#endif
}

int main(int argc, char **argv) {
    memset(room, 1, sizeof room);
    const char *what = argc > 1 ? argv[1] : "";
    if (!strcmp(what, "first") && argc == 3) {
        struct rusage before, after;
        getrusage(RUSAGE_SELF, &after);
        getrusage(RUSAGE_SELF, &before);
        long begin = now();
        once(argv[2], room);
        long took = now() - begin;
        getrusage(RUSAGE_SELF, &after);
        printf("%s %ld %ld\n", argv[2], took, after.ru_minflt - before.ru_minflt);
    } else if (!strcmp(what, "marked") && argc == 4) {
        for (int i = atoi(argv[2]); i > 0; i--) {
            syscall(SYS_getppid);
            if (strcmp(argv[3], "sysconf")) once(argv[3], room);
            else cpus();
        }
        syscall(SYS_getppid);
    } else if (!strcmp(what, "rate") && argc == 5) {
        rate(atoi(argv[2]), atoi(argv[3]), argv[4]);
    } else if (!strcmp(what, "values")) {
        value("sysconf-CPUs", cpus);
        value("sysconf-pages", pages);
        value("sysinfo", info);
        value("getloadavg", load);
        value("sched_getaffinity", affinity);
        value("sched_setaffinity", set_affinity);
    } else if (!strcmp(what, "pass") && argc >= 3) {
        pass(atoi(argv[2]));
    } else if (!strcmp(what, "mounts") && argc == 4) {
        mounts(atoi(argv[2]), argv[3]);
    } else if (!strcmp(what, "page")) {
        page();
    } else if (!strcmp(what, "cycles")) {
        cycles();
    } else if (!strcmp(what, "exec") && argc > 4) {
        runs(atoi(argv[2]), 1, argv[3], argv + 4, argc - 4);
    } else if (!strcmp(what, "many") && argc > 5) {
        runs(atoi(argv[2]), atoi(argv[3]), argv[4], argv + 5, argc - 5);
    } else if (!strcmp(what, "idle") && argc == 3) {
        idle(argv[2]);
    } else if (argc > 3 && strchr("wlp", *what)) {
        for (int i = 3; i < argc; i++) readings(what, atoi(argv[2]), argv[i]);
    } else {
        fprintf(stderr, "measure: see the top of measure.c\n");
        return 64;
    }
    return 0;
}
