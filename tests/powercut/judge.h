/* Recovery of one disk with the router's own code, and the account of it. */
#ifndef SLUICE_TESTS_POWERCUT_JUDGE_H
#define SLUICE_TESTS_POWERCUT_JUDGE_H

#include "tests/powercut/ledger.h"
#include "tests/powercut/record.h"

enum { JUDGE_WHY_MAX = 400 };

/* Opens spool and journal, recovers, and looks at what would be sent, what is kept and what would
 * be told; twice, because the second start must find the same. The disk is changed as recovery
 * changes it. false with a line in why: something is lost, doubled against the promise, or recovery
 * refuses. */
bool judge_recovery(struct disk *disk, const struct ledger *ledger,
                    const struct run_options *options, char why[JUDGE_WHY_MAX]);
/* Lets the whole router drain the disk and counts what the receiver gets. */
bool judge_drain(struct disk *disk, const struct ledger *ledger, const struct run_options *options,
                 char why[JUDGE_WHY_MAX]);

#endif
