// Prints the limits of C's types for a shell, as the program of this name does that coreutils builds for its tests.
#include <float.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>

// The decimal number beyond `number`, away from 0.
static const char *beyond(const char *number) {
    static char text[64];
    char *p;
    // Room for one more digit, behind the sign.
    snprintf(text, sizeof text, "%s0%s", *number == '-' ? "-" : "", number + (*number == '-'));
    for (p = text + strlen(text) - 1; *p == '9'; p--) *p = '0';
    ++*p;
    p = text + (*text == '-');
    if (*p == '0') memmove(p, p + 1, strlen(p));
    return text;
}

static void integer(const char *name, uintmax_t max, intmax_t min) {
    char text[64];
    snprintf(text, sizeof text, "%ju", max);
    printf("%s_MAX=%s\n%s_OFLOW=%s\n", name, text, name, beyond(text));
    if (!min) return;
    snprintf(text, sizeof text, "%jd", min);
    printf("%s_MIN=%s\n%s_UFLOW=%s\n", name, text, name, beyond(text));
}

int main(void) {
    integer("CHAR", CHAR_MAX, CHAR_MIN);
    integer("SCHAR", SCHAR_MAX, SCHAR_MIN);
    integer("UCHAR", UCHAR_MAX, 0);
    integer("SHRT", SHRT_MAX, SHRT_MIN);
    integer("INT", INT_MAX, INT_MIN);
    integer("UINT", UINT_MAX, 0);
    integer("LONG", LONG_MAX, LONG_MIN);
    integer("ULONG", ULONG_MAX, 0);
    integer("SIZE", SIZE_MAX, 0);
    integer("SSIZE", SSIZE_MAX, -SSIZE_MAX - 1);
    integer("TIME_T", LONG_MAX, LONG_MIN);
    integer("UID_T", UINT_MAX, 0);
    integer("GID_T", UINT_MAX, 0);
    integer("PID_T", INT_MAX, INT_MIN);
    integer("OFF_T", LONG_MAX, LONG_MIN);
    integer("INTMAX", INTMAX_MAX, INTMAX_MIN);
    integer("UINTMAX", UINTMAX_MAX, 0);
    printf("FLT_MIN=%.9g\nFLT_MAX=%.9g\n", FLT_MIN, FLT_MAX);
    printf("DBL_MIN=%.17g\nDBL_MAX=%.17g\n", DBL_MIN, DBL_MAX);
    printf("LDBL_MIN=%.21Lg\nLDBL_MAX=%.21Lg\n", LDBL_MIN, LDBL_MAX);
    return 0;
}
