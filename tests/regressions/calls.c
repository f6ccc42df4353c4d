// calls.c: a generated series of calls of the functions that the library hooks, most of them with a bad argument.
// One line for each: the call, its result, errno after it, and the state that the program can see. The lines are
// the same with and without the library, unless the library has changed something that it must not change.
//
//   calls SEED COUNT      in an empty directory of its own
//
// Intended differences are left out: the text of virtual files, the CPUs in a mask, the four virtual names of
// sysconf. Before each call errno is 77: a call that succeeds does not change it.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(a) (sizeof(a) / sizeof *(a))
#define PICK(a) ((a)[below(COUNT(a))])
typedef unsigned long ulong_;

static uint64_t state;
static uint64_t next(void) {
  state ^= state >> 12;
  state ^= state << 25;
  state ^= state >> 27;
  return state * 0x2545f4914f6cdd1dull;
}
static unsigned below(unsigned end) { return next() % end; }

// --- arguments ----------------------------------------------------------------

static char long_path[5001], longest_path[4096], long_name[257];
static char *at_page_end, *forbidden;
struct path { const char *name; const char *value; };
static struct path paths[64];
static unsigned path_count;

static void add(const char *name, const char *value) { paths[path_count++] = (struct path){name, value}; }

static void make_file(const char *name, const char *text) {
  FILE *f = fopen(name, "w");
  if (!f || fputs(text, f) < 0 || fclose(f)) { perror(name); exit(2); }
}

static void lay_out(void) {
  memset(long_path, 'a', 5000);
  for (int i = 100; i < 5000; i += 100) long_path[i] = '/';
  for (int i = 0; i < 4095; i++) longest_path[i] = "./"[i % 2];
  memcpy(longest_path + 4095 - 5, "/file", 5);
  memset(long_name, 'b', 256);
  long page = sysconf(_SC_PAGESIZE);
  char *two = mmap(0, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(two, 'm', page);
  memcpy(two + page - 13, "/proc/meminfo", 13);
  mprotect(two + page, page, PROT_NONE);
  at_page_end = two + page - 13;
  forbidden = two + page;

  umask(022);
  make_file("file", "The quick brown fox\njumps over\nthe lazy dog.\n");
  make_file("empty", "");
  // Names of virtual files for files that are not virtual.
  make_file("meminfo", "MemTotal: not really\n");
  make_file("online", "0-1023\n");
  mkdir("dir", 0755);
  mkdir("stat", 0755);
  make_file("dir/loadavg", "1 2 3\n");
  make_file("script", "exit 3\n");
  chmod("script", 0755);
  make_file("binary", "\177ELF but no more than that");
  chmod("binary", 0755);
  symlink("file", "link");
  symlink("nowhere", "dangling");
  symlink("loop", "loop");
  symlink("/proc/meminfo", "uptime");
  mkfifo("fifo", 0644);

  add("null", 0);
  add("one", (char *)1);
  add("forbidden", forbidden);
  add("page-end", at_page_end);
  add("empty-path", "");
  add("5000", long_path);
  add("4095", longest_path);
  add("256", long_name);
  static const char *const plain[] = {
    "/", ".", "..", "file", "empty", "meminfo", "online", "dir", "stat", "dir/loadavg", "script", "binary", "link",
    "dangling", "loop", "uptime", "fifo", "nowhere", "nowhere/file", "file/", "file/x", "dir/", "dir/../file", "//", "./file",
    "link/x", "meminfo/", "/proc", "/proc/", "/proc/nowhere", "/proc/meminfo", "/proc/meminfo/", "/proc/meminfo/x",
    "//proc//./uptime", "/proc/self/root/proc/stat", "/proc/cpuinfo", "/proc/loadavg", "/proc/self/stat", "/proc/self/status", "/proc/version",
    "/sys/devices/system/cpu/online", "/sys/devices/system/cpu/nowhere", "/dev/null", "/dev/full", "/proc/self/fd/99",
    "/proc/self/fd/1/x", "/etc", "/proc/1/nowhere/meminfo",
  };
  for (unsigned i = 0; i < COUNT(plain); i++) add(plain[i], plain[i]);
}

static struct path path(void) { return paths[below(path_count)]; }

static const int odd_numbers[] = {-1, -2, -100, 99, 1023, 1024, 65536, 0x7fffffff, (int)0x80000000, AT_FDCWD};
// Some functions of libc read the path themselves and crash on these, as they should.
static int is_readable(struct path p) { return p.value && p.value != (char *)1 && p.value != forbidden; }

static int closed_number(void) { return PICK(odd_numbers); }
static const long long odd_offsets[] = {0, 1, 5, 19, 20, 45, 46, 4096, -1, -5, 0x7fffffff, 0x80000000ll, 0x7fffffffffffffffll, (-0x7fffffffffffffffll - 1)};
static const int whences[] = {SEEK_SET, SEEK_CUR, SEEK_END, SEEK_DATA, SEEK_HOLE, 5, -1, 99};

// --- output -------------------------------------------------------------------

static unsigned done;
static char line[4096];
static int length;
static void print(const char *format, ...) {
  va_list list;
  va_start(list, format);
  length += vsnprintf(line + length, sizeof line - length, format, list);
  va_end(list);
}
static void end_line(void) {
  line[length++] = '\n';
  for (int at = 0; at < length;) {
    ssize_t n = write(1, line + at, length - at);
    if (n <= 0) _exit(3);
    at += n;
  }
  length = 0;
}
#define CALL(result, ...) (done++, errno = 77, (result) = (__VA_ARGS__), saved = errno)
static int saved;
static void outcome(long result) { print(" = %ld, errno %d", result, saved); }

static unsigned hash(const void *data, size_t size) {
  unsigned h = 2166136261u;
  for (size_t i = 0; i < size; i++) h = (h ^ ((const unsigned char *)data)[i]) * 16777619u;
  return h;
}

// Virtual files differ only in their text and its length.
static int is_virtual(const struct stat *s) {
  struct stat proc, sys;
  return (!stat("/proc", &proc) && s->st_dev == proc.st_dev) || (!stat("/sys", &sys) && s->st_dev == sys.st_dev) || S_ISCHR(s->st_mode);
}
static void describe(int fd) {
  struct stat s;
  int flags = fcntl(fd, F_GETFL), close_flag = fcntl(fd, F_GETFD);
  if (fstat(fd, &s)) { print("; no fstat, errno %d", errno); return; }
  // A memory file cannot show O_NOFOLLOW.
  print("; flags %x %x", is_virtual(&s) ? flags & ~O_NOFOLLOW : flags, close_flag);
  print("; mode %o links %lu", s.st_mode, S_ISDIR(s.st_mode) ? 0 : (ulong_)s.st_nlink); // /proc has one per task
  if (is_virtual(&s)) {
    print(" dev %lx size %ld", (ulong_)s.st_dev, (long)s.st_size);
    return;
  }
  char text[64];
  ssize_t n = S_ISREG(s.st_mode) ? read(fd, text, sizeof text) : 0;
  print(" size %ld text %ld %x", S_ISDIR(s.st_mode) ? 0 : (long)s.st_size, (long)n, n > 0 ? hash(text, n) : 0);
}

// --- the calls ----------------------------------------------------------------

// Not in every musl.
#ifndef STATX_BASIC_STATS
#define STATX_BASIC_STATS 0x7ff
struct statx { uint32_t stx_mask, stx_blksize; uint64_t stx_attributes; uint32_t stx_nlink, stx_uid, stx_gid; uint16_t stx_mode, pad; uint64_t rest[28]; };
static int statx(int dir, const char *path, int flags, unsigned mask, struct statx *into) {
  return syscall(SYS_statx, dir, path, flags, mask, into);
}
#endif
#ifndef __GLIBC__
#define preadv2(fd, pieces, count, offset, flags) preadv(fd, pieces, count, offset)
#endif

struct how { uint64_t flags, mode, resolve; };

static int random_flags(void) {
  static const int bits[] = {O_CREAT, O_EXCL, O_TRUNC, O_APPEND, O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW, O_PATH, O_NOCTTY, O_SYNC, O_DSYNC, O_DIRECT, O_NOATIME, O_LARGEFILE, O_ASYNC, 0x20000000};
  static const int access[] = {O_RDONLY, O_RDONLY, O_RDONLY, O_WRONLY, O_RDWR, 3};
  int flags = PICK(access) | O_NONBLOCK;
  for (unsigned n = below(4); n; n--) flags |= PICK(bits);
  // Every second call is as most programs make it.
  return below(2) ? flags : (flags & (O_ACCMODE | O_CLOEXEC)) | O_NONBLOCK;
}

#ifdef __GLIBC__
int __open_2(const char *, int), __open64_2(const char *, int), __openat_2(int, const char *, int), __openat64_2(int, const char *, int);
#endif

static void call_open(void) {
  struct path p = path();
  int flags = random_flags(), mode = below(01000) | 0600, fd = -9, dir = below(3) ? AT_FDCWD : closed_number();
  unsigned which = below(11);
  const int makes = O_CREAT | (O_TMPFILE & ~O_DIRECTORY);
  if (which >= 4 && which < 8) flags &= ~makes; // without a mode the fortified names abort
  if (which == 2 && !strcmp(p.name, "fifo")) which = 0; // it would wait for a reader
  print("open/%u(%s, %x, %o, dir %d)", which, p.name, flags, mode, dir);
  switch (which) {
    case 0: CALL(fd, open(p.value, flags, mode)); break;
    case 1: CALL(fd, openat(dir, p.value, flags, mode)); break;
    case 2: CALL(fd, creat(p.value, mode)); break;
    case 3: CALL(fd, openat(AT_FDCWD, p.value, flags, mode)); break;
#ifdef __GLIBC__
    case 4: CALL(fd, __open_2(p.value, flags)); break;
    case 5: CALL(fd, __open64_2(p.value, flags)); break;
    case 6: CALL(fd, __openat_2(dir, p.value, flags)); break;
    case 7: CALL(fd, __openat64_2(dir, p.value, flags)); break;
#else
    case 4: case 5: CALL(fd, open(p.value, flags)); break;
    case 6: case 7: CALL(fd, openat(dir, p.value, flags)); break;
#endif
#ifdef SYS_open
    case 8: CALL(fd, syscall(SYS_open, p.value, flags, mode)); break;
#else
    case 8:
#endif
    case 9: CALL(fd, syscall(SYS_openat, dir, p.value, flags, mode)); break;
    case 10: {
      struct how how = {flags, flags & makes ? mode : 0, below(4) ? 0 : below(64)};
      static const size_t sizes[] = {24, 24, 24, 0, 8, 23, 25, 4096, 5000};
      size_t size = PICK(sizes);
      // Bytes after the structure that are not zero make it one that the kernel does not support.
      char memory[5000] = {0};
      memcpy(memory, &how, sizeof how);
      CALL(fd, syscall(SYS_openat2, dir, p.value, below(8) ? (void *)memory : forbidden, size));
      break;
    }
  }
  outcome(fd);
  if (fd >= 0) {
    describe(fd);
    close(fd);
  }
}

static void call_fopen(void) {
  static const char *const modes[] = {"r", "r", "rb", "re", "rm", "r+", "w", "a", "a+", "wx", "rx", "", "z", "er", "r,ccs=UTF-8", "r,ccs=nonsense", "rbeee+", "r ", "R"};
  struct path p = path();
  const char *mode = PICK(modes);
  // Opening a fifo would wait for its other end.
  while (p.value && !strcmp(p.name, "fifo")) p = path();
  FILE *f = 0;
  unsigned which = below(3);
  print("fopen/%u(%s, \"%s\")", which, p.name, mode);
  if (which == 0) {
    CALL(f, fopen(p.value, mode));
  } else {
    FILE *old = fopen("file", "r");
    if (which == 1) CALL(f, freopen(p.value, mode, old));
    else { fclose(old); int fd = open("file", O_RDONLY); CALL(f, fdopen(fd, mode)); if (!f) close(fd); }
  }
  outcome(f != 0);
  if (f) {
    print("; fd %d", fileno(f));
    describe(fileno(f));
    struct stat s;
    if (!fstat(fileno(f), &s) && S_ISREG(s.st_mode) && !is_virtual(&s)) {
      char text[64] = "";
      rewind(f);
      long n = fgets(text, sizeof text, f) ? (long)strlen(text) : -1;
      print(" line %ld %x at %ld error %d", n, hash(text, strlen(text)), ftell(f), ferror(f) != 0);
    }
    fclose(f);
  }
}

// An ordinary descriptor, or an invalid number.
static int number(int *ours) {
  *ours = -1;
  switch (below(6)) {
    case 0: case 1: case 2: return *ours = open("file", O_RDONLY);
    case 3: return *ours = open("dir", O_RDONLY | O_DIRECTORY);
    case 4: return *ours = open("fifo", O_RDONLY | O_NONBLOCK);
    default: return closed_number();
  }
}
static const char *kind(int fd, int ours) {
  static char text[16];
  snprintf(text, sizeof text, ours >= 0 ? "open %d" : "%d", fd);
  return text;
}

static void call_read(void) {
  int ours, fd = number(&ours);
  long long offset = PICK(odd_offsets);
  static const size_t sizes[] = {0, 1, 7, 45, 64, 0x7fffffff, (size_t)-1};
  static char memory[128];
  void *buffers[] = {memory, memory, memory, memory, 0, forbidden};
  unsigned which = below(9), b = below(COUNT(buffers));
  void *buffer = buffers[b];
  size_t size = PICK(sizes);
  if (size > sizeof memory && buffer == memory) size = sizeof memory;
  struct iovec pieces[3] = {{buffer, size / 2}, {memory + 64, 5}, {0, 0}};
  static const int counts[] = {1, 2, 3, 0, -1, 1025};
  int count = PICK(counts), whence = PICK(whences), flags = below(4) ? 0 : below(64);
  if (size / 2 > 64 && buffer == memory) pieces[0].iov_len = 64;
  memset(memory, 0, sizeof memory);
  print("read/%u(%s, buffer %u, %zu, %lld, count %d, whence %d, flags %d)", which, kind(fd, ours), b, size, offset, count, whence, flags);
  long result = -9;
  switch (which) {
    case 0: CALL(result, pread(fd, buffer, size, offset)); break;
    case 1: CALL(result, preadv(fd, below(8) ? pieces : (void *)forbidden, count, offset)); break;
    case 2: CALL(result, preadv2(fd, pieces, count, offset, flags)); break;
    case 3: CALL(result, lseek(fd, offset, whence)); break;
    case 4: CALL(result, lseek64(fd, offset, whence)); break;
    case 5: CALL(result, read(fd, buffer, size)); break;
    case 6: CALL(result, pread64(fd, buffer, size, offset)); break;
    case 7: { int out = open("/dev/null", O_WRONLY); off_t from = offset; CALL(result, sendfile(out, fd, below(2) ? &from : 0, below(100))); close(out); break; }
    case 8: CALL(result, syscall(SYS_lseek, fd, offset, whence)); break;
  }
  outcome(result);
  print("; %x", hash(memory, sizeof memory));
  if (ours >= 0) {
    print(" at %ld", (long)lseek(fd, 0, SEEK_CUR));
    close(ours);
  }
}

static void call_seek(void) {
  FILE *f = fopen(below(4) ? "file" : "empty", below(3) ? "r" : "r+");
  long long offset = PICK(odd_offsets);
  int whence = PICK(whences);
  unsigned which = below(6), steps = below(30);
  if (below(8) == 0) close(fileno(f)); // a stream without a descriptor
  for (unsigned i = 0; i < steps; i++) getc(f);
  print("seek/%u(%lld, %d) after %u", which, offset, whence, steps);
  long result = 0;
  fpos_t position, other;
  fgetpos(f, &position);
  other = position;
  switch (which) {
    case 0: CALL(result, fseek(f, offset, whence)); break;
    case 1: CALL(result, fseeko(f, offset, whence)); break;
    case 2: CALL(result, fseeko64(f, offset, whence)); break;
    case 3: CALL(result, (rewind(f), 0)); break;
    case 4: CALL(result, fsetpos(f, &position)); break;
    case 5: memset(&other, 0, sizeof other); CALL(result, fsetpos(f, &other)); break;
  }
  outcome(result);
  int c = getc(f);
  print("; then %d at %ld eof %d error %d", c, ftell(f), feof(f) != 0, ferror(f) != 0);
  fclose(f);
}

int eaccess(const char *, int);

static void call_stat(void) {
  struct path p = path();
  struct stat s;
  struct statx x;
  memset(&s, 0, sizeof s);
  memset(&x, 0, sizeof x);
  static const int flags_[] = {0, 0, AT_SYMLINK_NOFOLLOW, AT_EMPTY_PATH, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, AT_NO_AUTOMOUNT, 0x40000000, -1};
  static const int modes[] = {F_OK, R_OK, W_OK, X_OK, R_OK | W_OK | X_OK, 8, -1};
  int flags = PICK(flags_), mode = PICK(modes), dir = below(3) ? AT_FDCWD : closed_number(), ours = -1;
  if (below(4) == 0) dir = number(&ours);
  unsigned which = below(9), mask = below(2) ? STATX_BASIC_STATS : next();
  int bad = below(8) == 0;
  print("stat/%u(%s, dir %s, flags %x, mode %d, mask %x, bad %d)", which, p.name, kind(dir, ours), flags, mode, mask, bad);
#ifndef __GLIBC__
  if (which < 3 && !is_readable(p)) { done++; print(" not called"); end_line(); return; }
#endif
  long result = -9;
  struct stat *into = &s;
  // glibc's own fstatat fills the structure itself on some machines: only the kernel's EFAULT is compared.
  switch (which) {
    case 0: CALL(result, stat(p.value, into)); break;
    case 1: CALL(result, lstat(p.value, into)); break;
    case 2: CALL(result, fstatat(dir, p.value, into, flags)); break;
    case 3: CALL(result, statx(dir, p.value, flags, mask, bad ? (void *)forbidden : &x)); break;
    case 4: CALL(result, access(p.value, mode)); break;
    case 5: CALL(result, faccessat(dir, p.value, mode, flags)); break;
    case 6: CALL(result, eaccess(p.value, mode)); break;
    case 7: CALL(result, fstat(dir, into)); break;
    case 8: CALL(result, syscall(SYS_newfstatat, dir, p.value, bad ? (void *)forbidden : into, flags)); break;
  }
  outcome(result);
  if (result == 0) {
    if (s.st_mode) print("; dev %d mode %o size %ld", is_virtual(&s), s.st_mode, is_virtual(&s) || S_ISDIR(s.st_mode) ? 0 : (long)s.st_size);
    if (x.stx_mode) print("; mask %x mode %o links %u", x.stx_mask, x.stx_mode, S_ISDIR(x.stx_mode) ? 0 : x.stx_nlink);
  }
  if (ours >= 0) close(ours);
}

// An executed program prints its arguments and its environment.
static int executed(int argc, char **argv, char **environment) {
  for (int i = 1; i < argc; i++) print("%s ", argv[i]);
  for (char **e = environment; *e; e++)
    if (strncmp(*e, "LD_PRELOAD=", 11) && strncmp(*e, "PROCLENS", 8)) print("[%s]", *e);
  end_line();
  return 5;
}

static void call_exec(void) {
  struct path p = path();
  static char self[] = "/proc/self/exe", name[] = "--executed", one[] = "one", *arguments[] = {name, name, one, 0}, *none[] = {0};
  static char variable[] = "A=1", preload[] = "LD_LIBRARY_PATH=/nowhere", odd[] = "no equals sign", *some[] = {variable, preload, odd, 0};
  int real = below(8) == 0;
  const char *value = real ? self : p.value;
  char **argv = arguments, **environment = below(2) ? some : none;
  unsigned bad = below(16);
  if (bad == 0) argv = (char **)forbidden;
  if (bad == 1) environment = (char **)forbidden;
  if (bad == 2) environment = 0;
  unsigned which = below(10);
  int dir = below(3) ? AT_FDCWD : closed_number(), flags = below(4) ? 0 : AT_EMPTY_PATH;
  // A fixed search path, in this process's own environment.
  setenv("PATH", below(2) ? "/nowhere:dir:." : "", 1);
  print("exec/%u(%s, bad %u, environment %d, dir %d, flags %x)", which, real ? "self" : p.name, bad, environment == some, dir, flags);
  // libc itself reads these arguments, and crashes on bad ones as it should.
  int dies = (bad < 2 && which != 0 && which != 5) || (!value || value == (char *)1 || value == forbidden || value == at_page_end);
  if (dies && which != 0 && which != 1 && which != 5) { done++; print(" not called"); end_line(); return; }
  if (bad < 2 && which == 1) { done++; print(" not called"); end_line(); return; }
  int result = -9;
  if (which >= 8) {
    pid_t child = 0;
    if (which == 8) CALL(result, posix_spawn(&child, value, 0, 0, argv, environment ? environment : none));
    else CALL(result, posix_spawnp(&child, value, 0, 0, argv, environment ? environment : none));
    outcome(result);
    int status = 0;
    if (result == 0) { waitpid(child, &status, 0); print("; ended %x", status); }
    return;
  }
  done++;
  end_line();
  pid_t child = below(2) ? fork() : vfork();
  if (child == 0) {
    errno = 77;
    switch (which) {
      case 0: result = execve(value, argv, environment); break;
      case 1: result = execv(value, argv); break;
      case 2: result = execvp(value, argv); break;
      case 3: result = execvpe(value, argv, environment ? environment : none); break;
      case 4: result = execl(value, name, name, one, (char *)0); break;
#ifdef __GLIBC__
      case 5: result = execveat(dir, value, argv, environment, flags); break;
#else
      case 5: result = execlp(value, name, name, one, (char *)0); break;
#endif
      case 6: result = execle(value, name, name, one, (char *)0, environment ? environment : none); break;
      case 7: { int fd = value && *value ? open(value, O_RDONLY | O_NONBLOCK | O_CLOEXEC) : dir; result = fexecve(fd, argv, environment ? environment : none); break; }
    }
    saved = errno;
    char text[64];
    int n = snprintf(text, sizeof text, "exec: = %d, errno %d\n", result, saved);
    if (write(1, text, n) != n) _exit(3);
    _exit(4);
  }
  int status = 0;
  waitpid(child, &status, 0);
  print("exec: ended %x", status);
  end_line();
}

static void call_affinity(void) {
  static const size_t sizes[] = {0, 1, 4, 7, 8, 9, 12, 16, 24, 64, 120, 127, 128, 129, 136, 256, 1024, 8192};
  static const int pids[] = {0, 0, 0, -1, 0x7fffffff, -5};
  static unsigned char mask[8192];
  size_t size = PICK(sizes);
  int pid = PICK(pids);
  unsigned which = below(4), bad = below(8);
  memset(mask, 0xa5, sizeof mask);
  cpu_set_t *into = bad == 0 ? 0 : bad == 1 ? (cpu_set_t *)forbidden : (cpu_set_t *)mask;
  print("affinity/%u(%d, %zu, bad %u)", which, pid, size, bad);
  if (bad < 2 && (which == 1 || size > 128)) { done++; print(" not called"); end_line(); return; } // libc clears what the kernel left
  long result = -9;
  switch (which) {
    case 0: case 2: CALL(result, sched_getaffinity(pid, size, into)); break;
    case 1: CALL(result, pthread_getaffinity_np(pthread_self(), size, into)); break;
    case 3: CALL(result, syscall(SYS_sched_getaffinity, pid, size, into)); break;
  }
  outcome(result);
  // The CPUs themselves differ; the end of the mask does not.
  size_t end = sizeof mask;
  while (end && mask[end - 1] == 0xa5) end--;
  size_t high = end;
  while (high && mask[high - 1] == 0) high--;
  print("; written %zu, CPUs in the first 64 %d", end, high <= 8);
}

static void call_sysconf(void) {
  int name = below(4) ? (int)below(320) : (int)next();
  static const int virtual[] = {_SC_NPROCESSORS_ONLN, _SC_NPROCESSORS_CONF, _SC_PHYS_PAGES, _SC_AVPHYS_PAGES};
  for (unsigned i = 0; i < COUNT(virtual); i++)
    if (name == virtual[i]) name = -1;
  long result;
  print("sysconf(%d)", name);
  CALL(result, sysconf(name));
  outcome(result);
}

static void call_syscall(void) {
  static const long numbers[] = {SYS_lseek, SYS_close, SYS_fstat, SYS_read, SYS_readv, SYS_pread64, SYS_dup, SYS_fcntl, SYS_sysinfo, SYS_getdents64, SYS_ftruncate, -1, 9999, 0x7fffffff, 0x40000000 + 39, SYS_readlinkat, SYS_faccessat, 511, 1023};
  long number = PICK(numbers), a = below(2) ? closed_number() : (long)next() | (long)0x8000000000000000ull, result;
  // None of these numbers is an open descriptor, and all memory that is read is invalid.
  if ((int)a >= 0 && (int)a < 64) a = -1;
  if (number == SYS_sysinfo) a = (long)forbidden;
  print("syscall(%ld, %lx)", number, number == SYS_sysinfo ? 0 : a);
  CALL(result, syscall(number, a, (long)forbidden, 7l, 0l, 0l, 0l));
  outcome(result);
}

static void call_values(void) {
  double averages[5] = {-1, -1, -1, -1, -1};
  long result;
  unsigned which = below(3);
  int count = (int)below(9) - 3;
  if (count > 5) count = 5;
  print("values/%u(%d)", which, count);
  switch (which) {
    case 0: CALL(result, getloadavg(averages, count)); outcome(result); print("; set %d%d%d%d%d", averages[0] >= 0, averages[1] >= 0, averages[2] >= 0, averages[3] >= 0, averages[4] >= 0); break;
    case 1: { struct sysinfo info; memset(&info, 0xff, sizeof info); CALL(result, sysinfo(&info)); outcome(result); print("; unit %d high %ld", info.mem_unit, (long)info.freehigh); break; }
    case 2: CALL(result, sysinfo((struct sysinfo *)forbidden)); outcome(result); break;
  }
}

static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void call_directory(void) {
  // libc itself reads the first byte; /proc and files outside of the directory change by themselves.
  struct path p;
  int readable, changes;
  do {
    p = path();
    readable = is_readable(p);
    changes = readable && p.value != at_page_end && (!strncmp(p.value, "/proc", 5) || !strncmp(p.value, "//", 2) || !strcmp(p.value, "/") || !strcmp(p.value, ".."));
  } while (!readable || changes);
  unsigned which = p.value == at_page_end ? 0 : below(3);
  char names[128][256];
  char *list[128];
  unsigned n = 0;
  long result;
  print("directory/%u(%s)", which, p.name);
  if (which == 0) {
    DIR *d;
    CALL(d, opendir(p.value));
    outcome(d != 0);
    if (d) {
      struct dirent *e;
      errno = 77;
      while ((e = readdir(d)) && n < COUNT(list)) { snprintf(names[n], 256, "%s", e->d_name); list[n] = names[n]; n++; }
      print("; end errno %d", errno);
      closedir(d);
    }
  } else if (which == 1) {
    struct dirent **found = 0;
    CALL(result, scandir(p.value, &found, 0, alphasort));
    outcome(result);
    for (long i = 0; i < result; i++) {
      if (n < COUNT(list)) { snprintf(names[n], 256, "%s", found[i]->d_name); list[n] = names[n]; n++; }
      free(found[i]);
    }
    free(found);
  } else {
    glob_t found;
    char pattern[6000];
    snprintf(pattern, sizeof pattern, "%s%s", p.value, below(2) ? "/*" : "*");
    memset(&found, 0, sizeof found);
    CALL(result, glob(pattern, below(2) ? GLOB_MARK : GLOB_ERR, 0, &found));
    outcome(result);
    for (size_t i = 0; i < found.gl_pathc && n < COUNT(list); i++) { snprintf(names[n], 256, "%s", found.gl_pathv[i]); list[n] = names[n]; n++; }
    globfree(&found);
  }
  qsort(list, n, sizeof *list, by_name);
  unsigned h = 0;
  for (unsigned i = 0; i < n; i++) h = h * 31 + hash(list[i], strlen(list[i]));
  print("; %u entries %x", n, h);
}

int main(int argc, char **argv, char **environment) {
  if (argc > 1 && !strcmp(argv[1], "--executed")) return executed(argc, argv, environment);
  if (argc != 3) return 2;
  state = strtoull(argv[1], 0, 10);
  unsigned count = strtoul(argv[2], 0, 10);
  signal(SIGPIPE, SIG_IGN);
  alarm(120); // nothing here waits for anything
  lay_out();
  void (*const calls[])(void) = {call_open, call_open, call_open, call_open, call_fopen, call_fopen, call_read, call_read, call_seek, call_stat, call_stat, call_stat, call_exec, call_affinity, call_sysconf, call_syscall, call_values, call_directory};
  while (done < count) {
    unsigned before = done;
    PICK(calls)();
    if (length) end_line();
    if (done == before) done++;
    // Remove the files that a call made, and undo its changes to the others.
    unlink("nowhere");
    unlink(long_name);
    if (truncate("file", 45) || truncate("empty", 0)) return 2;
  }
  print("made %u calls", done);
  end_line();
  return 0;
}
