/* The dispatcher: one thread that owns the table of waiting messages, the routes in use and the
 * fate of each message.
 *
 * In:  MESSAGE_LOADED from pickup -> recipients grouped by domain into deliveries -> route (asked
 * for once per domain) -> site. DELIVERY_ATTEMPTED from the journal thread (durable),
 * DELIVERY_RETURNED from workers (not tried) -> recipients' states; when the last delivery of a
 * message is back, the message is decided: removed, deferred, held, bad, or unloaded to wait for
 * its site. MESSAGE_REMOVE, _DEFER, _HOLD, _BAD back from the journal thread -> freed by pickup, or
 * an entry of the table. RESOLVER_ANSWER and STS_ANSWER -> deliveries that waited for that route
 * and policy. */
#ifndef SLUICE_ROUTER_DISPATCHER_H
#define SLUICE_ROUTER_DISPATCHER_H

#include "dns/resolver.h"
#include "queue/table.h"
#include "router/journal_thread.h"
#include "router/pickup.h"
#include "router/progress.h"
#include "router/site_pool.h"
#include "tls/sts_service.h"

/* DISPATCHER_CALL: struct control_call, of which run() is called with the dispatcher. */
enum { DISPATCHER_STOP = 70, DISPATCHER_CALL, DISPATCHER_NEWS, DESTINATION_BUCKETS = 16384 };

/* DISPATCHER_NEWS: another configuration. */
struct dispatcher_news {
    struct mailbox_item item;
    struct config_snapshot *snapshot; /* one reference, the dispatcher's from then on */
    /* In the dispatcher's thread, when it is in force; frees the news. */
    void (*on_applied)(struct dispatcher_news *news);
};

struct dispatcher_services {
    const struct config *config;      /* of the start: what a reload does not change */
    struct config_snapshot *snapshot; /* in force at the start; borrowed until dispatcher_init() */
    struct journal *journal;
    struct resolver *resolver;
    struct sts_service *sts; /* NULL: MTA-STS is off */
    struct site_pool *site_pool;
    struct mailbox *pickup;
    struct mailbox *journal_thread;
    struct log_file *delivery_log; /* NULL: none */
    bool drain;                    /* end when nothing is left that could be tried now */
    bool until_empty;              /* end when nothing is left at all */
    bool progress;
    /* Called in the dispatcher's thread when it ends by itself; wakes the main thread. */
    void (*on_done)(void *ctx);
    /* Called when stopping: ends the workers. */
    void (*stop_workers)(void *ctx);
    void *ctx;
};

/* A recipient domain in use: its settings, its route while it is fresh, and what waits for it. */
struct destination {
    struct destination *next;                    /* in its bucket */
    char *domain;                                /* owned */
    struct config_snapshot *snapshot;            /* one reference */
    const struct destination_settings *settings; /* borrowed from it */
    struct route *route;                         /* one reference; NULL: not known yet */
    struct sts_policy *sts; /* one reference; NULL: the domain has none, or it is not asked for */
    bool sts_is_uncertain;  /* none for a reason that may pass */
    int64_t sts_expires_ms;
    unsigned num_asked; /* answers that are to come: the route, the policy */
    struct route_query query;
    struct sts_query sts_query;
    struct delivery *first; /* wait for them */
    struct delivery *last;
};

struct dispatcher {
    struct dispatcher_services services;
    struct config_snapshot *snapshot; /* one reference: what is in force */
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    uint64_t num_sts_refused; /* attempts that an MTA-STS policy ended */
    struct mailbox_item stop_item;
    struct table table;
    struct timer due_timer;
    struct timer sweep_timer;
    struct timer grace_timer;
    struct timer progress_timer;
    struct progress progress;
    struct progress_totals totals;
    struct destination *destinations[DESTINATION_BUCKETS];
    size_t num_destinations;
    struct message *loaded;
    size_t num_messages;         /* loaded */
    size_t num_loads;            /* asked of pickup */
    size_t num_parked;           /* entries that wait for room at their site */
    struct operator_wait *waits; /* operations whose end somebody awaits */
    struct timer operator_timer; /* looks again for those that could not be found */
    struct buffer log_lines;
    bool pickup_waits; /* something was put for it since it was woken */
    bool stopping;
    bool done; /* ended by itself (drain) */
};

bool dispatcher_init(struct dispatcher *dispatcher, const struct dispatcher_services *services)
    __attribute__((warn_unused_result));
bool dispatcher_start(struct dispatcher *dispatcher) __attribute__((warn_unused_result));
void dispatcher_stop(struct dispatcher *dispatcher); /* any thread */
void dispatcher_join(struct dispatcher *dispatcher);
void dispatcher_fini(struct dispatcher *dispatcher);

/* Whose settings and route the mail for a domain takes: X-Sluice-Via names another one. */
static inline const char *dispatcher_route_domain(const struct message *message, const char *domain)
{
    return message->envelope.via ? message->envelope.via : domain;
}

enum queue_answer {
    QUEUE_DONE,         /* or under way: nothing is left to do for the operator */
    QUEUE_UNKNOWN,      /* no message has that id (any more) */
    QUEUE_BUSY,         /* it is being loaded, or the router stops: ask again in a moment */
    QUEUE_HELD_ALREADY, /* HOLD, RETRY: it is in hold/ */
    QUEUE_NOT_HELD,     /* RELEASE */
    QUEUE_ENDED,        /* what was under way ended the message before */
    QUEUE_REPLACED,     /* another operation on it came before this one was carried out */
    QUEUE_FAILED        /* without a router: the disk or the file refuses, the log says why */
};

/* One operation on one message and whoever awaits its end. */
struct operator_wait {
    struct operator_wait *next;
    uint64_t id;
    enum queue_operation operation;
    bool is_accepted;   /* on its way; else the message cannot be got at yet */
    int64_t give_up_ms; /* monotonic: QUEUE_BUSY when it still cannot be got at by then */
    void (*on_end)(struct operator_wait *wait, enum queue_answer answer); /* may free it */
};

/* Dispatcher thread only. What a message has under way is not cut short: HOLD and REMOVE take
 * effect when its transactions have ended, and come too late if they ended the message. A file that
 * was not picked up yet has no id. */
enum queue_answer dispatcher_operate(struct dispatcher *dispatcher, enum queue_operation operation,
                                     uint64_t id);
/* Dispatcher thread only. The same, and on_end is called once (perhaps before this returns) when it
 * has been carried out and survives a crash, or cannot be. A RETRY has ended when the message is
 * due. id, operation and on_end are set; the rest is the dispatcher's until on_end. */
void dispatcher_operate_and_wait(struct dispatcher *dispatcher, struct operator_wait *wait);

/* Dispatcher thread only. Takes over the snapshot's reference: from now on it is in force. What
 * waits for other settings than it has goes back and comes again. */
void dispatcher_reload(struct dispatcher *dispatcher, struct config_snapshot *snapshot);

/* Between the files of this room. dispatcher_route.c: */
/* Domains in use get their settings anew. */
void dispatcher_renew_destinations(struct dispatcher *dispatcher);
void dispatcher_dispatch(struct dispatcher *dispatcher, struct delivery *delivery);
void dispatcher_route_answered(struct dispatcher *dispatcher, struct route_query *query);
void dispatcher_sts_answered(struct dispatcher *dispatcher, struct sts_query *query);
void dispatcher_sweep_destinations(struct dispatcher *dispatcher);
/* All deliveries that wait for a route, as a list. */
struct delivery *dispatcher_take_unrouted(struct dispatcher *dispatcher);
void dispatcher_free_destinations(struct dispatcher *dispatcher);
/* dispatcher_message.c: */
void dispatcher_start_message(struct dispatcher *dispatcher, struct message *message);
void dispatcher_delivery_attempted(struct dispatcher *dispatcher, struct delivery *delivery);
/* until_wall_ms 0: at once, when the site has room again (it is full). */
void dispatcher_delivery_returned(struct dispatcher *dispatcher, struct delivery *delivery,
                                  int64_t until_wall_ms);
void dispatcher_message_back(struct dispatcher *dispatcher, struct message *message);
/* dispatcher_operator.c: */
/* A message was loaded: whether its recipients may be tried, whatever an operator asked for. */
bool dispatcher_begin_operation(struct message *message);
/* Back into the table, held or not; carries out what was asked for meanwhile. */
void dispatcher_add_entry(struct dispatcher *dispatcher, struct waiting *waiting, bool held);
/* The message has come to its end and is about to be freed; is_removed: by an operator, before all
 * its recipients had a final outcome. */
void dispatcher_operation_ended(struct dispatcher *dispatcher, uint64_t id, bool is_removed);
/* The dispatcher ends: whoever waits is told so. */
void dispatcher_end_waits(struct dispatcher *dispatcher);
void dispatcher_look_for_operations(struct timer *timer, int64_t now_ms);
/* dispatcher.c: */
void dispatcher_add_waiting(struct dispatcher *dispatcher, struct waiting *waiting);
/* An entry of the table, held or not, is loaded now. */
void dispatcher_wake_waiting(struct dispatcher *dispatcher, struct waiting *waiting);
void dispatcher_check_done(struct dispatcher *dispatcher);

#endif
