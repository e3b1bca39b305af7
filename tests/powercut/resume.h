/* A recording that goes on from a cut of another one. */
#ifndef SLUICE_TESTS_POWERCUT_RESUME_H
#define SLUICE_TESTS_POWERCUT_RESUME_H

#include "tests/powercut/check.h"

enum { RESUME_DEVICE = 2 /* after a power cut devices may have other numbers */ };

/* Makes the disk as of the cut, and the events that led to it.
 *
 * options->only_subset CHECK_ALL: the process was killed: the kernel still has all that was
 * written, and what was not synced may still be lost at a later cut. Else: the power was cut, that
 * subset is the disk and all of it is durable; of the events before, only what was seen outside is
 * kept. */
void resume_begin(const struct events *events, size_t cut, const struct check_options *options,
                  unsigned num_messages, struct events *out, struct disk *out_disk);

#endif
