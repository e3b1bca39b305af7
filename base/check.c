/* Reports a broken invariant and aborts.
 * It does not try to recover: a core dump of the first wrong state is worth more. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *what)
{
    fprintf(stderr, "sluice: %s:%d: broken invariant: %s\n", file, line, what);
    abort();
}
