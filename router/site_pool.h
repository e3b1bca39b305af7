/* The sites by key; the only file that locks a site.
 *
 * Look-up, creation and expiry belong to the dispatcher. The functions that take a site may be
 * called by the thread that each names; they lock the site's mutex for a few dozen instructions,
 * never over a system call, and post wake-ups after unlocking. Lock order: see router/locks.h. */
#ifndef SLUICE_ROUTER_SITE_POOL_H
#define SLUICE_ROUTER_SITE_POOL_H

#include "router/progress.h"
#include "router/site.h"

struct site_pool;

struct site_pool *site_pool_new(const struct config *config, unsigned num_workers);
/* All sites must be empty and no thread may use them any more. */
void site_pool_free(struct site_pool *pool);
/* Where wake-ups for worker i go; before the threads start. */
void site_pool_set_worker(struct site_pool *pool, unsigned worker, struct mailbox *mailbox);

/* How far loading is ahead of the connections: messages on their way from pickup to the dispatcher,
 * which takes them off again, and deliveries in the sites' backlogs. Any thread. */
atomic_size_t *site_pool_num_ahead(struct site_pool *pool);
void site_pool_leave_ahead(struct site_pool *pool, size_t num);
/* Whom to wake when no more than low_water are ahead; before the threads start. */
void site_pool_set_loader(struct site_pool *pool, struct mailbox *loader, size_t low_water);

/* Dispatcher. Never NULL; borrowed: lives at least while a delivery names it or a connection is
 * open. */
struct site *site_pool_get(struct site_pool *pool, const struct route *route,
                           struct config_snapshot *snapshot,
                           const struct destination_settings *settings);
/* Dispatcher, after a reload: sites whose settings are not in the snapshot hand nothing out any
 * more, and go when their connections have ended. Returns their backlogs as one list. */
struct delivery *site_pool_retire(struct site_pool *pool, const struct config_snapshot *snapshot);
uint64_t site_key_hash(const struct site *site);
/* Dispatcher. When the site of that key hash takes nothing now (suspended, or over its share):
 * until when it is worth no further look (monotonic ms); else 0. One over its share is worth one
 * rarely: who is parked is woken. */
int64_t site_pool_closed_until(struct site_pool *pool, uint64_t key_hash, int64_t now_ms);
/* Dispatcher. ADMITTED: the delivery is the site's from now on. */
enum site_admit site_pool_add(struct site_pool *pool, struct site *site, struct delivery *delivery,
                              int64_t now_ms, int64_t *out_until_ms);
/* Dispatcher. A delivery of that site has come back and is about to be freed. Returns how many
 * entries that wait for room there should be woken (site_unpark()): all when the site has been
 * suspended, since it is a time that they wait for from then on. */
size_t site_pool_forget(struct site_pool *pool, struct site *site, int64_t now_ms);
/* Dispatcher. Notes an entry to be woken when the site of that key hash has room again. False: it
 * does not lack room. */
bool site_pool_park(struct site_pool *pool, uint64_t key_hash, uint64_t id, int64_t now_ms);
/* Dispatcher. Copies the last failure for the text of what was not tried. */
struct outcome site_pool_last_failure(struct site *site);
/* Dispatcher: frees sites that nothing remembers; call it now and then. */
void site_pool_sweep(struct site_pool *pool, int64_t now_ms);
/* Dispatcher: counts recipients by outcome. */
void site_pool_count(struct site *site, const struct outcome *outcome);
/* Shutdown, dispatcher: from now on nothing is handed out; returns all backlogs as one list. */
struct delivery *site_pool_close(struct site_pool *pool);
/* Dispatcher: num sites copied into *out (owned by the caller). */
size_t site_pool_snapshot(struct site_pool *pool, struct progress_site **out);
unsigned site_pool_num_connections(struct site_pool *pool);
/* Dispatcher: deliveries that a connection has taken and that have not come back. */
size_t site_pool_num_in_flight(struct site_pool *pool);

/* Worker w. What a wake-up asks for; resets it. */
void site_pool_read_wake(struct site_wake *wake, unsigned *out_serve_idle, unsigned *out_open);
enum site_taker { SITE_TAKER_NEW, SITE_TAKER_PROMISED, SITE_TAKER_BUSY };
/* Worker w. The next delivery for one of its connections; NULL: none; then a NEW connection must
 * give its credit back with site_pool_close_connection(), another one may go idle with
 * site_pool_idle(). */
struct delivery *site_pool_take(struct site_pool *pool, struct site *site, enum site_taker taker);
/* Worker w: the connection waits for more mail. False: a delivery came meanwhile, take it (as
 * BUSY). */
bool site_pool_idle(struct site *site, unsigned worker);
/* Worker w: an idle connection stops waiting (closes). True: it was already promised a delivery,
 * whose wake-up is under way: the worker will meet it without an idle connection and asks again. */
bool site_pool_leave_idle(struct site *site, unsigned worker);
/* Worker w: a promised idle connection was not there any more. */
void site_pool_break_promise(struct site_pool *pool, struct site *site, int64_t now_ms);
struct site_session {
    bool tls, resumed;
    uint8_t family;
};
void site_pool_session_ready(struct site *site, const struct site_session *session);
uint8_t site_pool_family(struct site *site);
/* Worker w: the connection is gone; was_ready: site_pool_session_ready() had been called for it. */
void site_pool_close_connection(struct site_pool *pool, struct site *site, bool was_ready,
                                int64_t now_ms);
/* Worker w: its session is gone but the connection goes on to another host with the same credit. */
void site_pool_session_lost(struct site *site);
void site_pool_restarted(struct site *site);
void site_pool_succeeded(struct site_pool *pool, struct site *site, int64_t now_ms);
void site_pool_slow_down(struct site *site);
/* Worker w: no host works. Returns the backlog (a list, to be returned to the dispatcher untried)
 * when the site is suspended by it. */
struct delivery *site_pool_failed(struct site_pool *pool, struct site *site,
                                  const struct outcome *failure, int64_t now_ms);

#endif
