/* The journal thread: makes outcomes durable in groups, and only then unlinks and moves files.
 *
 * Deliveries (DELIVERY_ATTEMPTED) come from workers, which have stored their outcomes, and from the
 * dispatcher for what had no route; outcomes that are not stored yet are stored here. After the
 * commit they go on to the dispatcher with the same kind.
 *
 * Messages with a decision (MESSAGE_REMOVE, _DEFER, _HOLD, _BAD) come from the dispatcher. Order
 * for each: a report to the sender written to tmp/ and synced -> the snapshot appended, for DEFER
 * and HOLD and wherever there is a report, and committed -> the report renamed into new/ -> the
 * file unlinked or moved -> its folders synced -> `removed` appended. Then it goes back to the
 * dispatcher with the same kind and result_errno. A crash between two of these steps neither loses
 * nor doubles the report: recovery publishes a draft that the journal knows and drops one that it
 * does not.
 *
 * Waits (COMMIT_WAIT) come from workers whose intents must be durable before content leaves; they
 * go back after each try of a commit, with its result.
 *
 * An error of the disk (pause_error_is_of_the_system()) keeps here what it concerns, tries again
 * each second and pauses the router meanwhile (pauses.h): nothing is forgotten. Any other error
 * goes back with the message. */
#ifndef SLUICE_ROUTER_JOURNAL_THREAD_H
#define SLUICE_ROUTER_JOURNAL_THREAD_H

#include "router/pauses.h"
#include "router/worker.h"

enum message_item_kind { MESSAGE_REMOVE = 10, MESSAGE_DEFER, MESSAGE_HOLD, MESSAGE_BAD };

struct journal_thread_services {
    const struct config *config;
    const struct spool *spool;
    struct journal *journal;
    struct mailbox *dispatcher;
    struct commit_gate *commit_gate;
    struct pauses *pauses;
};

struct journal_thread {
    struct journal_thread_services services;
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    struct timer commit_timer;
    int64_t last_commit_ms;
    struct delivery *first_delivery; /* attempted, in order */
    struct delivery *last_delivery;
    struct commit_wait *first_wait; /* to go back after the next try of a commit */
    struct message *first_message;  /* decided, in order */
    struct message *last_message;
    bool wants_room; /* of the journal: no further segment could be made */
    int files_error; /* of this commit: why files could not be moved, removed, written or synced */
    _Atomic int64_t pending_since_ms; /* monotonic: of the oldest item no commit covers; 0: none */
    _Atomic int64_t commit_us;        /* how long the last commit took */
    bool new_is_dirty; /* reports were renamed into new/, which was not synced since */
    struct mailbox_item stop_item;
    bool committing; /* draining the mailbox for the commit that follows */
    bool stopping;
};

bool journal_thread_init(struct journal_thread *thread,
                         const struct journal_thread_services *services)
    __attribute__((warn_unused_result));
bool journal_thread_start(struct journal_thread *thread) __attribute__((warn_unused_result));
/* Any thread, when nothing more will be posted: finishes what it has, one try each, and ends. */
void journal_thread_stop(struct journal_thread *thread);
void journal_thread_join(struct journal_thread *thread);
/* Frees what could not be brought to its end: the journal and the spool know it. */
void journal_thread_fini(struct journal_thread *thread);

#endif
