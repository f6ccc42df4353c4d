/* libgomp divides the CPUs of the affinity mask into places, by what sysfs says about each of them. */
#include <omp.h>
#include <stdio.h>

int main(void) { printf("%d places", omp_get_num_places()); }
