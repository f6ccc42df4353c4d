/* Reads the load, and checks that this caused no child, signal, thread or descriptor. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static volatile sig_atomic_t signals;
static void count(int signal) { (void)signal, signals++; }

static int entries(const char *path) {
    int n = 0;
    DIR *directory = opendir(path);
    while (directory && readdir(directory)) n++;
    if (directory) closedir(directory);
    return n;
}

static void *other(void *unused) {
    for (;;) pause();
    return unused;
}

int main(void) {
    for (int signal = 1; signal < SIGRTMAX; signal++)
        if (signal != SIGKILL && signal != SIGSTOP) sigaction(signal, &(struct sigaction){.sa_handler = count}, NULL);
    pthread_t thread;
    pthread_create(&thread, NULL, other, NULL);
    sigset_t before, after;
    sigemptyset(&before);
    sigaddset(&before, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    int threads = entries("/proc/self/task"), files = entries("/proc/self/fd");
    double load[3];
    errno = 4711;
    if (getloadavg(load, 3) != 3) return puts("no load"), 1;
    if (errno != 4711) return perror("errno"), 1;
    if (waitpid(-1, NULL, WNOHANG) != -1 || errno != ECHILD) return puts("a child"), 1;
    if (waitpid(-1, NULL, WNOHANG | __WALL) != -1 || errno != ECHILD) return puts("a clone"), 1;
    usleep(200000);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signal = 1; signal < SIGRTMAX; signal++)
        if (sigismember(&before, signal) != sigismember(&after, signal)) return puts("a mask"), 1;
    if (signals) return puts("a signal"), 1;
    if (entries("/proc/self/task") != threads) return puts("a thread"), 1;
    if (entries("/proc/self/fd") != files) return puts("a descriptor"), 1;
    return 0;
}
