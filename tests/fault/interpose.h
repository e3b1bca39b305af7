/* Fallible libc calls under the test's control: counted, and made to fail as planned.
 *
 * The functions of interpose.c take the place of libc's in a program that links it. Which they are
 * stands in one table (fault_functions), and imports.sh checks that the rooms under test import no
 * fallible call that is missing there. */
#ifndef SLUICE_TESTS_FAULT_INTERPOSE_H
#define SLUICE_TESTS_FAULT_INTERPOSE_H

#include <stdbool.h>
#include <stdint.h>

enum fault_function {
#define X(name) FAULT_##name,
#include "tests/fault/functions.inc"
#undef X
    FAULT_NUM
};

enum { FAULT_ERRORS_MAX = 8, FAULT_SHORT = -1 /* not an errno: half of the octets */ };

struct fault_row {
    const char *name;
    int errors[FAULT_ERRORS_MAX]; /* plausible ones, 0 at the end */
    bool opens, writes;           /* needs a descriptor; changes the disk */
};
extern const struct fault_row fault_functions[FAULT_NUM];

enum fault_kind {
    FAULT_NONE,
    FAULT_ONCE, /* call number `index` of `function` fails with `error` */
    FAULT_FROM, /* from call number `index` of all on, all calls that can fail so do, until healed
                 */
};

/* In memory that forked processes share, so that the parent can read the counts. */
struct fault_state {
    bool armed; /* else nothing is counted and nothing fails */
    enum fault_kind kind;
    enum fault_function function;
    uint64_t index; /* from 1 */
    int error;
    bool fired;
    uint64_t counts[FAULT_NUM];
    uint64_t total;
};
extern struct fault_state *fault_state; /* NULL: never armed */

#endif
