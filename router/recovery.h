/* What a restart does before any thread runs: the journal's live messages and the files of the
 * spool brought together.
 *
 *   journal says              file is                then
 *   deferred/xx/ID            there                  waits with its schedule
 *   deferred/xx/ID            still in new/          moved now (the crash came between record and
 * rename) new/NAME                  there, same identity   waits, due now; pickup has a claim on it
 *   anything                  nowhere                found out when it is due: cancelled, with a
 * word in the log nothing                   in deferred/           a new message, due now: a double
 * is better than a loss nothing                   in new/                pickup finds it */
#ifndef SLUICE_ROUTER_RECOVERY_H
#define SLUICE_ROUTER_RECOVERY_H

#include "queue/table.h"

struct recovery {
    struct waiting **items; /* owned array; its entries until recovery_finish() */
    size_t num;
    size_t cap;
};

void recovery_init(struct recovery *recovery);
/* For journal_open(): ctx is the recovery. */
void recovery_on_live(void *ctx, const struct journal_message *message);
/* Looks at the files, calls on_claim for each that stays in new/, then moves all entries into
 * table. */
void recovery_finish(struct recovery *recovery, const struct spool *spool, struct table *table,
                     void (*on_claim)(void *ctx, const struct file_identity *identity), void *ctx);

#endif
