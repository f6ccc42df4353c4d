# Turns strace's output for one read into a C program that makes only the same system calls, to measure their cost.
#
# Input: strace -X raw -s 4096 -e raw=!openat,readlinkat,newfstatat,faccessat,memfd_create of
# `measure marked`. -v part=N: the calls after the N-th getppid; -v warm=N: how often they are made
# (0: once, in a new process, as for a first read). Prints `read`, nanoseconds, and for a first read the
# number of pages touched for the first time, as measure.c does.
BEGIN {
  # Which argument the kernel writes to or reads from, counted from 0.
  split("read 1 pread64 1 pwrite64 1 write 1 fstat 1 fstatfs 1 prlimit64 3 clock_gettime 1 getdents64 1 readlinkat 2 newfstatat 2 statx 4", t, " ")
  for (i = 1; i in t; i += 2) memory[t[i]] = t[i + 1]
  print "#define _GNU_SOURCE\n#include <fcntl.h>\n#include <stdio.h>\n#include <stdlib.h>\n#include <sys/resource.h>\n#include <sys/syscall.h>\n#include <time.h>\n#include <unistd.h>"
  print "static char room[1 << 20];\nstatic char own[32];\nstatic long mapped;"
  print "static struct flock lock = {F_WRLCK, SEEK_SET, 1, 1, 0}, unlock = {F_UNLCK, SEEK_SET, 1, 1, 0};"
  print "static inline long call(long n, long a, long b, long c, long d, long e, long f) { return syscall(n, a, b, c, d, e, f); }"
  print "#define K(n, a, b, c, d, e, f) call(n, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)(f))"
  print "static void replay(void) {"
}
/^getppid\(/ { seen++; next }
seen != part || !/\) += / { next }
{
  calls++
  name = $0; sub(/\(.*/, "", name)
  rest = $0; sub(/^[^(]*\(/, "", rest); sub(/\) += .*/, "", rest)
  gsub(/\{[^}]*\}/, "0", rest)
  n = split(rest, a, ", ")
  for (i = n + 1; i <= 6; i++) a[i] = 0
  if (name in memory) a[memory[name] + 1] = "room"
  if (name == "fcntl" && a[3] != 0) a[3] = (locks++ % 2) ? "&unlock" : "&lock"
  # This is another process: replace its own entry of /proc by that of this process, any other by that of PID 1.
  if (a[2] ~ /^"[0-9]+\/stat"$/) { tasks++; a[2] = (a[2] == "\"" pid "/stat\"") ? "own" : "\"1/stat\"" }
  if (name == "madvise" || name == "munmap") a[1] = "mapped"
  printf "  %sK(SYS_%s, %s, %s, %s, %s, %s, %s);\n", (name == "mmap" ? "mapped = " : ""), name, a[1], a[2], a[3], a[4], a[5], a[6]
}
END {
  print "}\nstatic long now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000L + t.tv_nsec; }"
  print "static int order(const void *a, const void *b) { return (*(long *)a > *(long *)b) - (*(long *)a < *(long *)b); }"
  print "int main(void) {\n  enum { N = " (warm ? warm : 1) " };\n  static long times[N];"
  print "  snprintf(own, sizeof own, \"%d/stat\", getpid());\n  for (long i = 0; i < (long)sizeof room; i += 4096) room[i] = 1;"
  print "  struct rusage before, after;\n  getrusage(RUSAGE_SELF, &after);\n  getrusage(RUSAGE_SELF, &before);"
  print "  for (int i = 0; i < N; i++) { long start = now(); replay(); times[i] = now() - start; }"
  print "  getrusage(RUSAGE_SELF, &after);\n  qsort(times, N, sizeof *times, order);"
  print "  printf(\"read %ld\", times[N / 2]);\n  if (N == 1) printf(\" %ld\", after.ru_minflt - before.ru_minflt);\n  puts(\"\");\n}"
  # An open, a read and a close each.
  print "/* " calls - 3 * tasks " calls besides " tasks + 0 " tasks */"
}
