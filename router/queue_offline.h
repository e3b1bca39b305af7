/* Operations on messages while no router runs: by the same rules, under the spool's lock, through
 * the journal. Opening brings journal and files together exactly as a start of the router does.
 *
 * One thread. Nothing is answered before it would survive a power cut. */
#ifndef SLUICE_ROUTER_QUEUE_OFFLINE_H
#define SLUICE_ROUTER_QUEUE_OFFLINE_H

#include "router/dispatcher.h"

struct queue_offline {
    const struct config *config; /* borrowed */
    struct spool spool;
    struct journal *journal;
    struct table table;
};

/* False with a line in why: then nothing is open. */
bool queue_offline_open(struct queue_offline *offline, const struct config *config,
                        char why[SPOOL_WHY_MAX]) __attribute__((warn_unused_result));
void queue_offline_close(struct queue_offline *offline);
/* One answer per id; the reason of QUEUE_FAILED is in the log. */
void queue_offline_operate(struct queue_offline *offline, enum queue_operation operation,
                           const uint64_t *ids, size_t num, enum queue_answer *out_answers);

/* Records a message as it is: its file (which may be another than was recorded before) at its
 * entry's path, the states that fit it. Durable with the next journal_commit(). False with the
 * reason in the log. */
bool queue_offline_record(struct queue_offline *offline, struct waiting *waiting)
    __attribute__((warn_unused_result));

#endif
