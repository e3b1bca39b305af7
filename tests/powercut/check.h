/* Every cut of a recording, in as many processes as wanted. */
#ifndef SLUICE_TESTS_POWERCUT_CHECK_H
#define SLUICE_TESTS_POWERCUT_CHECK_H

#include "tests/powercut/model.h"
#include "tests/powercut/record.h"

enum { CHECK_ALL = -1 };

struct check_options {
    enum model_order order;
    unsigned num_singles; /* subsets at each cut that lack a single page; 0: one for each page */
    unsigned num_random;  /* and random ones */
    unsigned drain_every; /* one state in so many is drained by the whole router; 0: none */
    unsigned num_processes;
    uint64_t seed;
    long only_cut, only_subset; /* CHECK_ALL: all */
    const char *keep;           /* a folder to which the disk of that one state is written; NULL */
};

/* Prints each failure with the command that shows it again, and a summary. */
bool check_recording(const struct events *events, const struct run_options *run,
                     const struct check_options *options, const char *path);

#endif
