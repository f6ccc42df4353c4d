/* redis, postgres and stress-ng write over argv and environ: settings are a copy, and a program
 * without an environment has none. */
#include "regression.h"

extern char **environ;

int main(int argc, char **argv) {
	long kb = number_of("MEM_KB"), cpus = number_of("CPUS");
	read_all(kb, cpus);
	(void)argc;
	for (char **entry = environ; *entry; entry++) memset(*entry, 'x', strlen(*entry));
	memset(argv[0], 'y', strlen(argv[0]));
	read_all(kb, cpus);
	environ = 0;
	read_all(kb, cpus);
}
