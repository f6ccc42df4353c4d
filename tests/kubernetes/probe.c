/* probe: CPUs and kilobytes of memory as a program with musl sees them. */
#include <stdio.h>
#include <unistd.h>

int main(void) {
    char line[256];
    long kilobytes = 0;
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && !kilobytes && fgets(line, sizeof line, file)) sscanf(line, "MemTotal: %ld", &kilobytes);
    printf("cpus %ld memory %ld\n", sysconf(_SC_NPROCESSORS_ONLN), kilobytes);
    return 0;
}
