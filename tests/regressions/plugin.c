/* A program without threads loads a plugin that uses them. Before glibc 2.34 some hooked functions come only with the
 * plugin: the hooks find them there. The argument is the plugin, which ends the program when it is loaded.
 * tests/libcs.rs runs this on a libc without the names. */
#include <dlfcn.h>
#include <stdio.h>

int main(int argc, char **argv) {
	if (argc > 1) dlopen(argv[1], RTLD_NOW);
	fprintf(stderr, "%s\n", argc > 1 ? dlerror() : "no plugin");
	return 1;
}
