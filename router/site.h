/* A site: the domains that share the same MX hosts and settings. Its backlog, its connection
 * window, its back-off.
 *
 * Passive: plain data and pure functions; no lock, no clock, no I/O. site_pool.c is the only file
 * that locks a site and calls these functions while threads run; `_locked` there means: under the
 * site's mutex.
 *
 * The window (connections at once) starts at settings->connections_initial, grows by 1/window with
 * each success up to settings->connections, and halves with each failure. A site is dead only after
 * a whole cohort failed: while one of its sessions works or another attempt is still under way, a
 * failure costs window but does not suspend. */
#ifndef SLUICE_ROUTER_SITE_H
#define SLUICE_ROUTER_SITE_H

#include "base/mailbox.h"
#include "router/delivery.h"

#include <pthread.h>

enum { SITE_CLASSES = 3, SITE_PROBE_WAIT_MS = 30000, SITE_FULL_WAIT_MS = 30000 };

struct site_counters {
    uint64_t delivered, deferred, bounced; /* recipients */
    uint64_t connections;                  /* sessions that became ready */
    uint64_t plaintext, tls_full, tls_resumed;
    uint64_t restarts; /* reused connections that the peer had closed */
};

struct connection;

/* One per worker and site: the wake-up that travels, and what it asks for. */
struct site_wake {
    struct mailbox_item item;
    struct site *site;
    unsigned worker;
    bool posted;         /* under way to the worker */
    unsigned serve_idle; /* idle connections of that worker that should take a delivery */
    unsigned open;       /* credits granted: connections to open */
    unsigned idle;       /* idle connections of that worker, not yet promised */
    struct connection
        *idle_first; /* that worker's alone, not under the mutex: last in, first out */
};

/* Queue ids of entries that wait for room, first in, first out: a ring of the dispatcher's, not
 * under the mutex. An id may have come to nothing meanwhile. */
struct site_parked {
    uint64_t *ids; /* owned */
    size_t first;
    size_t num;
    size_t cap; /* a power of two, or 0 */
};

struct site {
    pthread_mutex_t mutex;                       /* site_pool.c's */
    char *key;                                   /* owned */
    char *name;                                  /* owned; for people */
    struct config_snapshot *snapshot;            /* one reference, site_pool.c's; NULL in tests */
    const struct destination_settings *settings; /* borrowed from it: what has this site's key has
                                                    the same, also after a reload */
    struct site *next_in_bucket;                 /* dispatcher only, like all of the pool's table */
    int64_t last_used_ms;

    struct delivery *first[SITE_CLASSES]; /* backlog, by priority class; [0] goes first */
    struct delivery *last[SITE_CLASSES];
    size_t backlog;
    size_t in_memory; /* deliveries that name this site, wherever they are */

    struct site_parked parked;

    unsigned window_milli; /* connections at once, times 1000 */
    unsigned open;         /* connections that hold a credit */
    unsigned ready;        /* of these, with a session that has become ready */
    unsigned starting;     /* credits granted whose connection has not taken a delivery yet */
    unsigned promised;     /* idle connections told to take one, which have not yet */
    unsigned next_worker;  /* round robin for new connections */

    unsigned failures;          /* in a row */
    int64_t suspended_until_ms; /* monotonic; 0: not suspended */
    bool probing;               /* back from suspension, one probe at a time */
    struct outcome last_failure;
    uint8_t family; /* 4 or 6: what worked last; 0 unknown */
    bool closing;   /* shutdown: nothing is handed out any more */

    struct site_counters counters;
    unsigned num_workers;
    struct site_wake wakes[]; /* num_workers */
};

enum site_admit {
    SITE_ADMITTED,
    SITE_FULL,     /* over its share of memory: come back when some of it has gone */
    SITE_SUSPENDED /* not before *out_until_ms */
};

struct site *site_new(const char *key, const char *name,
                      const struct destination_settings *settings, unsigned num_workers);
void site_free(struct site *site);

/* Whether one more delivery may be handed to the site now. share: most deliveries in memory. */
enum site_admit site_admits(const struct site *site, size_t share, int64_t now_ms,
                            int64_t *out_until_ms);
/* A delivery has gone from memory: how many entries that wait for room should come now. Half a
 * share at once when half of it is free, or all; between the two one for each that goes, should the
 * first have found their way elsewhere. */
size_t site_num_to_wake(const struct site *site, size_t share);
void site_park(struct site *site, uint64_t id);
/* False: none waits. */
bool site_unpark(struct site *site, uint64_t *out_id);
void site_add(struct site *site, struct delivery *delivery);
/* Back to the front of its class: an attempt that did not begin. */
void site_put_back(struct site *site, struct delivery *delivery);
/* NULL: nothing to do, or closing. */
struct delivery *site_take(struct site *site);
/* The whole backlog as a list, emptied. */
struct delivery *site_take_all(struct site *site);

/* What should happen so that the backlog moves: SITE_WAKE_IDLE / SITE_WAKE_OPEN set *out_worker and
 * book the promise. */
enum site_wish { SITE_WISH_NONE, SITE_WISH_SERVE_IDLE, SITE_WISH_OPEN };
enum site_wish site_next_wish(struct site *site, int64_t now_ms, unsigned *out_worker);

void site_succeeded(struct site *site);
/* A delivery found no host that works. True when the site is suspended by it: take the backlog
 * away. */
bool site_failed(struct site *site, const struct outcome *failure,
                 const struct retry_policy *policy, uint32_t random, int64_t now_ms);
/* A receiver asked for less (421, 4xx at connect) although others work. */
void site_slow_down(struct site *site);

#endif
