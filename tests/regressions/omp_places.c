/* libgomp divides the CPUs of the affinity mask into places, by the files of each CPU in sysfs. */
#include <omp.h>
#include <stdio.h>

int main(void) { printf("%d places", omp_get_num_places()); }
