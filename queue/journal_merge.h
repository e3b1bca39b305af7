/* From the records of one message to its state. Pure. Private to the journal.
 *
 * Fed in the order in which they were first stored. A `deferred` replaces all before it, and so
 * does any record of another file (size or modification time): its recipients begin anew. An
 * outcome of an attempt answers the intent of that attempt and of earlier ones; an intent that
 * stays unanswered leaves its recipients in doubt. A recipient that was delivered stays delivered.
 */
#ifndef SLUICE_QUEUE_JOURNAL_MERGE_H
#define SLUICE_QUEUE_JOURNAL_MERGE_H

#include "queue/journal_format.h"

/* Beside a recipient's state: which attempts began and ended. */
struct journal_merge_mark {
    uint32_t open;     /* attempt of an intent that no outcome has answered; 0: none */
    uint32_t answered; /* highest attempt with an outcome */
    bool returned;     /* that one was not counted, so its number may come again */
};

struct journal_merge {
    struct recipient_state *recipients; /* owned */
    struct journal_merge_mark *marks;   /* owned */
    uint32_t cap;
    char path[SPOOL_PATH_MAX];
    struct journal_message message;
};

void journal_merge_begin(struct journal_merge *merge, uint64_t id);
void journal_merge_add(struct journal_merge *merge, const struct journal_record *record);
/* The result, borrowed until the next begin. */
const struct journal_message *journal_merge_end(struct journal_merge *merge);
void journal_merge_fini(struct journal_merge *merge);

#endif
