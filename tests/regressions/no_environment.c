/* A program that clears its environment before its first read of a virtual file. */
#include "regression.h"

extern char **environ;

int main(void) {
	long kb = number_of("MEM_KB"), cpus = number_of("CPUS");
	environ = 0;
	read_all(kb, cpus);
}
