/* A library that unloadable.c loads: it has a name that its libc lacks. */
int __open_2(const char *path, int flags) {
	(void)path, (void)flags;
	return 4711;
}
