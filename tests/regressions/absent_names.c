/* dlsym finds the names that libc has, and no others: programs use it to test for functions. */
#include "regression.h"
#include <dlfcn.h>

int main(int argc, char **argv) {
	int wrong = 0;
	if (argc > 1 && !strcmp(argv[1], "which")) {
		for (int i = 2; i < argc; i++) printf("%s=%d\n", argv[i], dlsym(RTLD_DEFAULT, argv[i]) != 0);
		return 0;
	}
	/* Each argument has the name and whether this libc has it without the library: `name=1`, `name=0`. */
	void *program = dlopen(0, RTLD_NOW);
	for (int i = 1; i < argc; i++) {
		char name[64];
		snprintf(name, sizeof name, "%s", argv[i]);
		char *end = strchr(name, '=');
		must(end);
		*end = 0;
		int there = end[1] == '1';
		dlerror();
		void *found[] = {dlsym(RTLD_DEFAULT, name), dlsym(program, name), dlsym(RTLD_NEXT, name)};
		for (int how = 0; how < 3; how++)
			if (!found[how] != !there) {
				fprintf(stderr, "%s is %s, asked in way %d\n", name, there ? "absent" : "found", how);
				wrong = 1;
			}
		const char *error = dlerror();
		if (!there && (!error || !strstr(error, name))) {
			fprintf(stderr, "%s: dlerror says %s\n", name, error ? error : "nothing");
			wrong = 1;
		}
	}
	return wrong;
}
