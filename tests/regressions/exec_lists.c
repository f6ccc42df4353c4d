/* execl, execlp and execle with lists of any length: the program gets exactly these arguments and this
 * environment. With the argument "check" it compares the arguments that it got. A vfork child that executes with
 * many variables leaves its parent's memory as it was, also after another thread has executed. */
#include "regression.h"
#include <pthread.h>

extern char **environ;

#define TEN(x) x "0", x "1", x "2", x "3", x "4", x "5", x "6", x "7", x "8", x "9"
#define HUNDRED(x) TEN(x "0"), TEN(x "1"), TEN(x "2"), TEN(x "3"), TEN(x "4"), TEN(x "5"), TEN(x "6"), TEN(x "7"), TEN(x "8"), TEN(x "9")
#define THOUSAND(x) HUNDRED(x "0"), HUNDRED(x "1"), HUNDRED(x "2"), HUNDRED(x "3"), HUNDRED(x "4"), HUNDRED(x "5"), HUNDRED(x "6"), HUNDRED(x "7"), HUNDRED(x "8"), HUNDRED(x "9")

static char *variables[3001];
static char path[4096];

/* argv: program, "check", number of arguments behind, number of variables, then the arguments. */
static int check(int argc, char **argv) {
	long arguments = atol(argv[2]), count = atol(argv[3]), found = 0;
	if (argc != 4 + arguments) fail("%d arguments, not %ld", argc - 4, arguments);
	for (int i = 4; i < argc; i++) {
		long number = strtol(argv[i] + 1, 0, 10);
		if (argv[i][0] != 'a' || number != i - 4) fail("argument %d is %s", i - 4, argv[i]);
	}
	for (char **entry = environ; *entry; entry++) {
		char expected[32];
		if ((*entry)[0] != 'V' || (*entry)[1] != '_') continue;
		snprintf(expected, sizeof expected, "V_%ld=%ld", found, found * 7);
		if (strcmp(*entry, expected)) fail("variable %ld is %s", found, *entry);
		found++;
	}
	if (found != count) fail("%ld variables, not %ld", found, count);
	return 0;
}

static void ends_well(pid_t child, const char *what) {
	int status;
	must(waitpid(child, &status, 0) == child);
	if (status) fail("%s: status %#x", what, status);
}

static char **first(int count) {
	variables[count] = 0;
	return variables;
}

static void fill(void) {
	static char texts[3000][20];
	for (int i = 0; i < 3000; i++) {
		snprintf(texts[i], sizeof texts[i], "V_%d=%d", i, i * 7);
		variables[i] = texts[i];
	}
}

static void lists(void) {
	pid_t child;
#define RUN(what, call) do { fill(); if (!(child = fork())) { call; fail("%s: errno %d", what, errno); } ends_well(child, what); } while (0)
	RUN("execle, none", execle(path, path, "check", "0", "0", (char *)0, first(0)));
	RUN("execle, 1 and 230", execle(path, path, "check", "1", "230", "a0", (char *)0, first(230)));
	RUN("execle, 2", execle(path, path, "check", "2", "3", "a0", "a1", (char *)0, first(3)));
	RUN("execle, 3", execle(path, path, "check", "3", "3", "a0", "a1", "a2", (char *)0, first(3)));
	RUN("execle, 10 and 3000", execle(path, path, "check", "10", "3000", TEN("a"), (char *)0, first(3000)));
	RUN("execle, 230 and 230", execle(path, path, "check", "230", "230", HUNDRED("a0"), HUNDRED("a1"), TEN("a20"), TEN("a21"), TEN("a22"), (char *)0, first(230)));
	RUN("execle, 3000 and 3000", execle(path, path, "check", "3000", "3000", THOUSAND("a0"), THOUSAND("a1"), THOUSAND("a2"), (char *)0, first(3000)));
	RUN("execl, none", (environ = first(0), execl(path, path, "check", "0", "0", (char *)0)));
	RUN("execl, 230", (environ = first(230), execl(path, path, "check", "230", "230", HUNDRED("a0"), HUNDRED("a1"), TEN("a20"), TEN("a21"), TEN("a22"), (char *)0)));
	RUN("execl, 3000", (environ = first(3000), execl(path, path, "check", "3000", "3000", THOUSAND("a0"), THOUSAND("a1"), THOUSAND("a2"), (char *)0)));
	RUN("execlp, 3000", (environ = first(3000), execlp(path, path, "check", "3000", "3000", THOUSAND("a0"), THOUSAND("a1"), THOUSAND("a2"), (char *)0)));

	/* Around the lengths of the library's own lists. */
	for (int count = 180; count < 1030; count += count == 196 ? 820 : 1) {
		char text[16];
		snprintf(text, sizeof text, "%d", count);
		RUN(text, execle(path, path, "check", "0", text, (char *)0, first(count)));
		RUN(text, execve(path, (char *[]){path, "check", "0", text, 0}, first(count)));
	}

	/* A failure returns to the caller, with errno set and nothing else changed. */
	long kept = 4711, also = 1147;
	must(execl("/nowhere", "a", "b", "c", "d", "e", "f", "g", "h", (char *)0) == -1 && errno == ENOENT);
	must(execle("/nowhere", "a", (char *)0, first(2)) == -1 && errno == ENOENT);
	must(execlp("no-such-program", "a", "b", "c", (char *)0) == -1 && errno == ENOENT);
	must(kept == 4711 && also == 1147);
}

static void *executes(void *unused) {
	(void)unused;
	fill();
	char *arguments[] = {(char *)"x", 0};
	must(execve("/nowhere", arguments, first(1000)) == -1 && errno == ENOENT);
	return 0;
}

static long pages(void) {
	char text[64];
	int fd = open("/proc/self/statm", O_RDONLY);
	must(fd >= 0);
	long size = atol(slurp(fd, text, sizeof text));
	close(fd);
	return size;
}

static void vforks(int count) {
	char number[16];
	snprintf(number, sizeof number, "%d", count);
	char *arguments[] = {path, (char *)"check", (char *)"0", number, 0};
	char **environment = first(count);
	pid_t child = vfork();
	if (!child) {
		execve(path, arguments, environment);
		_exit(1);
	}
	ends_well(child, "vfork");
	fill();
}

static void leaks(void) {
	pthread_t thread;
	fill();
	must(!pthread_create(&thread, 0, executes, 0) && !pthread_join(thread, 0));
	for (int i = 0; i < 4; i++) vforks(300);
	long before = pages();
	for (int i = 0; i < 40; i++) vforks(i & 1 ? 300 : 1000);
	long more = pages() - before;
	if (more > 4) fail("%ld pages more", more);
}

int main(int argc, char **argv) {
	if (argc > 3 && !strcmp(argv[1], "check")) return check(argc, argv);
	if (argc != 1) fail("%d arguments, the second is %s", argc, argv[1]);
	must(readlink("/proc/self/exe", path, sizeof path - 1) > 0);
	leaks();
	lists();
}
