/* A program that refers to the names with 64 runs as without the library on a musl that has dropped them
 * (1.2.4 and later): the dynamic linker there gives it the names without 64, and so does the library. */
#include "regression.h"
#include <dirent.h>
#include <glob.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>

#define NAMED(name) __asm__(#name)
int an_open(const char *, int, ...) NAMED(open64);
int an_openat(int, const char *, int, ...) NAMED(openat64);
FILE *an_fopen(const char *, const char *) NAMED(fopen64);
FILE *an_freopen(const char *, const char *, FILE *) NAMED(freopen64);
off_t an_lseek(int, off_t, int) NAMED(lseek64);
ssize_t a_pread(int, void *, size_t, off_t) NAMED(pread64);
ssize_t a_preadv(int, const struct iovec *, int, off_t) NAMED(preadv64);
int an_fseeko(FILE *, off_t, int) NAMED(fseeko64);
int an_fsetpos(FILE *, const fpos_t *) NAMED(fsetpos64);
void *an_mmap(void *, size_t, int, int, int, off_t) NAMED(mmap64);
struct dirent *a_readdir(DIR *) NAMED(readdir64);
int a_scandir(const char *, struct dirent ***, int (*)(const struct dirent *), int (*)(const struct dirent **, const struct dirent **)) NAMED(scandir64);
int a_glob(const char *, int, int (*)(const char *, int), glob_t *) NAMED(glob64);
#ifdef STAT64
int a_stat(const char *, struct stat *) NAMED(stat64);
int an_fstat(int, struct stat *) NAMED(fstat64);
int an_lstat(const char *, struct stat *) NAMED(lstat64);
int an_fstatat(int, const char *, struct stat *, int) NAMED(fstatat64);
#endif

int main(void) {
	char text[64], file[] = "/etc/passwd";
	struct stat status, same;
	struct iovec part = {text, 8};
	struct dirent **list;
	glob_t found;
	fpos_t start;
	int fd = an_open(file, O_RDONLY), other = an_openat(AT_FDCWD, file, O_RDONLY);
	must(fd >= 0 && other >= 0);
	must(read(fd, text, 4) == 4 && an_lseek(fd, 2, SEEK_SET) == 2 && an_lseek(fd, 0, SEEK_SET) == 0);
	must(a_pread(fd, text, 8, 0) == 8 && a_preadv(fd, &part, 1, 0) == 8);
	must(!fstat(fd, &same));
#ifdef STAT64
	must(!a_stat(file, &status) && status.st_ino == same.st_ino);
	must(!an_fstat(fd, &status) && status.st_ino == same.st_ino);
	must(!an_lstat(file, &status) && status.st_ino == same.st_ino);
	must(!an_fstatat(AT_FDCWD, file, &status, 0) && status.st_ino == same.st_ino);
#else
	(void)status;
#endif
	char *mapped = an_mmap(0, 4096, PROT_READ, MAP_PRIVATE, fd, 0);
	must(mapped != MAP_FAILED && !memcmp(mapped, text, 8));
	FILE *stream = an_fopen(file, "r");
	must(stream && !fgetpos(stream, &start) && getc(stream) == text[0]);
	must(!an_fseeko(stream, 0, SEEK_SET) && getc(stream) == text[0]);
	must(!an_fsetpos(stream, &start) && getc(stream) == text[0]);
	must((stream = an_freopen("/proc/version", "r", stream)) && getc(stream) == 'L');
	DIR *directory = opendir("/");
	must(directory && a_readdir(directory));
	must(a_scandir("/", &list, 0, 0) > 5);
	must(!a_glob("/pr*", 0, 0, &found) && found.gl_pathc == 1);
	/* And the numbers are the container's. */
	fd = an_open("/proc/meminfo", O_RDONLY);
	must(fd >= 0);
	reads_ours(fd, "by open64");
	must(an_lseek(fd, 0, SEEK_SET) == 0);
	reads_ours(fd, "by lseek64");
	stream = an_fopen("/proc/meminfo", "r");
	must(stream && fgets(text, sizeof text, stream));
	if (atol(text + 9) != number_of("MEM_KB")) fail("by fopen64: %s", text);
}
