/* flat_cost LIBRARY PROCESSES THREADS FILE...: makes PROCESSES sleeping processes of THREADS threads each, and
 * counts the system calls of a preloaded reader of each FILE. One result a line: the file, the calls of the first
 * and of the third reading in a process, and the text of the third.
 * FILE may also be getloadavg or sysinfo. The reader is a thread with a stack of 16 KiB.
 *
 * Build: cc -O2 -pthread -o flat_cost flat_cost.c */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/sysinfo.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <linux/elf.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void *sleeper(void *unused) {
    for (;;) pause();
    return unused;
}

static void threads(int n) {
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 32768);
    pthread_t thread;
    while (--n > 0)
        if (pthread_create(&thread, &small, sleeper, NULL)) fail("pthread_create");
}

/* Reads one file, or makes one call, and prints nothing. */
static char text[1 << 20];
static void once(const char *what) {
    memset(text, 0, 200);
    if (!strcmp(what, "sysinfo")) {
        struct sysinfo info;
        if (sysinfo(&info)) fail(what);
        snprintf(text, sizeof text, "%d", info.procs);
        return;
    }
    if (!strcmp(what, "getloadavg")) {
        double load[3];
        if (getloadavg(load, 3) != 3) fail(what);
        return;
    }
    int fd = open(what, O_RDONLY), length = 0;
    if (fd < 0) fail(what);
    for (ssize_t n; (n = read(fd, text + length, sizeof text - 1 - length)) > 0;) length += n;
    text[length] = 0;
    close(fd);
}

/* Three readings, with a getppid before each and after the last. */
static void *readings(void *what) {
    for (int i = 0; i < 3; i++) {
        syscall(SYS_getppid);
        once(what);
    }
    syscall(SYS_getppid);
    return NULL;
}

/* On a stack of 16 KiB with a guard below. */
static int reader(char *what) {
    enum { SIZE = 16 << 10, PAGE = 4096 };
    char *stack = mmap(0, SIZE + PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (stack == MAP_FAILED || mprotect(stack, PAGE, PROT_NONE)) fail("stack");
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    if (pthread_attr_setstack(&attributes, stack + PAGE, SIZE)) fail("pthread_attr_setstack");
    if (pthread_create(&thread, &attributes, readings, what)) fail("pthread_create");
    pthread_join(thread, NULL);
    FILE *out = fdopen(3, "w");
    if (out) {
        for (char *c = text; *c; c++) putc(*c == '\n' ? ';' : *c, out);
        fclose(out);
    }
    return 0;
}

static long number_of(pid_t pid) {
#if defined __x86_64__
    return ptrace(PTRACE_PEEKUSER, pid, 8 * 15 /* orig_rax */, NULL);
#else
    int number = -1;
    struct iovec into = {&number, sizeof number};
    ptrace(PTRACE_GETREGSET, pid, (void *)0x404 /* NT_ARM_SYSTEM_CALL */, &into);
    return number;
#endif
}

static void count(char *self, const char *library, char *what) {
    int out[2];
    if (pipe(out)) fail("pipe");
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 3);
        setenv("LD_PRELOAD", library, 1);
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) fail("ptrace");
        execl(self, self, "--read", what, NULL);
        fail(self);
    }
    close(out[1]);
    int status, marks = 0, calls[5] = {0};
    if (waitpid(pid, &status, 0) != pid) fail("waitpid");
    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL | PTRACE_O_TRACECLONE);
    /* One thread waits for the other, so that only the reader's calls lie between the marks. */
    pid_t stopped = pid;
    int entry_of[2] = {1, 1};
    for (;;) {
        ptrace(PTRACE_SYSCALL, stopped, NULL, NULL);
        stopped = waitpid(-1, &status, __WALL);
        if (stopped < 0) fail("waitpid");
        if (WIFEXITED(status) || WIFSIGNALED(status)) {
            if (stopped == pid) break;
            continue;
        }
        if (!WIFSTOPPED(status) || WSTOPSIG(status) != (SIGTRAP | 0x80)) continue;
        int *entry = &entry_of[stopped != pid];
        if (*entry) {
            if (number_of(stopped) == SYS_getppid) marks++;
            else if (marks < 5 && stopped != pid) calls[marks]++;
        }
        *entry = !*entry;
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        fprintf(stderr, "the reader of %s ended with status %x\n", what, status);
        exit(1);
    }
    static char said[1 << 20];
    ssize_t length = 0;
    for (ssize_t n; (n = read(out[0], said + length, sizeof said - 1 - length)) > 0;) length += n;
    said[length] = 0;
    close(out[0]);
    printf("%s %d %d %s\n", what, calls[1], calls[3], said);
}

int main(int argc, char **argv) {
    if (argc == 3 && !strcmp(argv[1], "--read")) return reader(argv[2]);
    if (argc < 5) return 64;
    int processes = atoi(argv[2]), each = atoi(argv[3]);
    int ready[2];
    if (pipe(ready)) fail("pipe");
    for (int i = 0; i < processes; i++) {
        pid_t pid = fork();
        if (pid < 0) fail("fork");
        if (pid) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        threads(each);
        if (write(ready[1], "", 1) != 1) fail("write");
        for (;;) pause();
    }
    for (int i = 0; i < processes; i++)
        if (read(ready[0], text, 1) != 1) fail("read");
    close(ready[0]);
    close(ready[1]);
    /* The sampler starts with the first reader, and reads every thread once. */
    if (argc > 5) {
        count(argv[0], argv[1], argv[4]);
        fflush(stdout);
        usleep(getenv("SETTLE_MS") ? atoi(getenv("SETTLE_MS")) * 1000 : 1500000);
    }
    for (int i = 4; i < argc; i++) count(argv[0], argv[1], argv[i]);
    return 0;
}
