/* One run of the router over a simulated disk, with its writers and its receiver in the same
 * process. */
#ifndef SLUICE_TESTS_POWERCUT_RECORD_H
#define SLUICE_TESTS_POWERCUT_RECORD_H

#include "tests/powercut/events.h"

enum { RECORD_DEVICE = 1 /* st_dev of a script's files */ };

struct run_options {
    const char *durability; /* values of the router's options */
    const char *in_doubt;
    unsigned num_messages;
};

/* Once per process: the receiver. */
void record_init(void);
/* Drops the script's messages, some before the router runs, some meanwhile, the last between two
 * runs; ends when the spool is drained. false: a run failed. */
bool record_script(const struct run_options *options, struct disk *disk, struct events *events);
/* Lets the router drain what is on the disk; with hold, what is in doubt stays. */
bool record_drain(const struct run_options *options, struct disk *disk, struct events *events,
                  uint32_t device);

#endif
