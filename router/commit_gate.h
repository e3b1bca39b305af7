/* When content may leave: the gate between workers and the journal thread's commits.
 *
 * With durability strict each intent waits for a commit that covers it. With group none does while
 * commits keep up; once an outcome has been stored for longer than queue.commit_lag without being
 * durable, intents wait as with strict, so that what a power cut could take stays bounded. With
 * none nothing waits.
 *
 * A wait travels worker -> journal thread -> worker, and comes back after each try of a commit with
 * its result. It may outlive its connection, so it is a thing of its own. */
#ifndef SLUICE_ROUTER_COMMIT_GATE_H
#define SLUICE_ROUTER_COMMIT_GATE_H

#include "base/mailbox.h"
#include "router/config.h"

struct connection;

enum { WORKER_COMMITTED = 51 };

struct commit_gate {
    enum durability durability;
    int64_t lag_ms_max;
    /* Monotonic; 0: none. The oldest outcome that the next commit will cover, and the oldest that
     * the commit under way, or to be tried again, covers. */
    _Atomic int64_t waiting_since_ms;
    _Atomic int64_t committing_since_ms;
    _Atomic bool is_lagging;    /* said so */
    _Atomic uint64_t num_waits; /* intents that waited, in all */
};

struct commit_wait {
    struct mailbox_item item;      /* COMMIT_WAIT to the journal thread, WORKER_COMMITTED back */
    struct commit_wait *next;      /* in the journal thread's list */
    struct mailbox *worker;        /* borrowed: where it goes back to */
    struct connection *connection; /* the worker's alone; NULL: closed meanwhile */
    int error;                     /* the journal thread's answer: 0 or an errno */
};

void commit_gate_init(struct commit_gate *gate, const struct config *config);
/* Worker: whether an intent that was just stored has to wait for a commit. */
bool commit_gate_is_closed(struct commit_gate *gate, int64_t now_ms);
/* Worker: an outcome was stored. */
void commit_gate_stored(struct commit_gate *gate, int64_t now_ms);
/* Journal thread: from here on what is stored belongs to the next commit. */
void commit_gate_begin(struct commit_gate *gate);
/* Journal thread: the commit worked. */
void commit_gate_end(struct commit_gate *gate, int64_t now_ms);

#endif
