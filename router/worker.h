/* A worker: one thread, one event loop, the connections that it opened.
 *
 * Any worker can serve any site: wake-ups from the site pool say for which site to open a
 * connection or to use an idle one. A connection belongs to its worker for life, and no other
 * thread touches it. */
#ifndef SLUICE_ROUTER_WORKER_H
#define SLUICE_ROUTER_WORKER_H

#include "base/log.h"
#include "router/commit_gate.h"
#include "router/pauses.h"
#include "router/site_pool.h"
#include "tls/broken_hosts.h"
#include "tls/context.h"

struct connection;

/* What workers share; all borrowed from the router, none changes while they run. */
struct worker_services {
    const struct config *config; /* of the start: what a reload does not change */
    const struct spool *spool;
    struct journal *journal;
    struct commit_gate *commit_gate;
    struct session_cache *session_cache;
    struct tls_broken_hosts *broken_hosts;
    struct tls_reporter *tls_reporter; /* NULL: nothing is counted for TLS reports */
    struct site_pool *site_pool;
    struct mailbox *journal_thread; /* takes attempted deliveries (DELIVERY_ATTEMPTED) */
    struct mailbox *dispatcher;     /* takes deliveries that were not tried (DELIVERY_RETURNED) */
    struct log_file *transcript;    /* NULL: none is kept */
    struct pauses *pauses;
};

enum delivery_item_kind { DELIVERY_ATTEMPTED = 1, DELIVERY_RETURNED, COMMIT_WAIT };

struct worker {
    const struct worker_services *services;
    unsigned index;
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    struct connection *connections; /* list of all */
    unsigned num_connections;
    unsigned num_waits; /* at the journal thread */
    bool stopping;
    struct timer grace_timer;
    struct mailbox_item stop_item;
    uint32_t *indexes; /* owned scratch, see worker_indexes() */
    uint32_t indexes_cap;
};

/* Prepares loop and mailbox; false with errno set. */
bool worker_init(struct worker *worker, unsigned index, const struct worker_services *services)
    __attribute__((warn_unused_result));
bool worker_start(struct worker *worker) __attribute__((warn_unused_result));
/* Any thread: finish transactions in flight, at most for shutdown_grace, then end. */
void worker_stop(struct worker *worker);
void worker_join(struct worker *worker);
void worker_fini(struct worker *worker);

/* Its own connections only: hand a delivery back without an attempt; journal and pass on one that
 * was attempted. */
void worker_return_delivery(struct worker *worker, struct delivery *delivery,
                            const struct outcome *why);
void worker_finish_delivery(struct worker *worker, struct delivery *delivery);
/* False: its outcome could not be recorded now (pauses.h), so it was handed back. */
bool worker_may_begin(struct worker *worker, struct delivery *delivery)
    __attribute__((warn_unused_result));
/* Sends a wait for the next commit on its way; it comes back to connection_committed(). */
struct commit_wait *worker_wait_for_commit(struct worker *worker, struct connection *connection);
void worker_connection_gone(struct worker *worker);
/* Scratch for num recipient indexes, valid until the next call. */
uint32_t *worker_indexes(struct worker *worker, uint32_t num);

#endif
