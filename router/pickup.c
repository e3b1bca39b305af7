/* Pickup's thread: admission, the order of work, what goes to the dispatcher and comes back.
 * How candidates are found stands in pickup_scan.c, how they are read in pickup_load.c. */
#include "router/pickup.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <string.h>

enum { LOADS_PER_TURN = 64 };

static void on_scan_due(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    struct pickup *pickup = container_of(timer, struct pickup, scan_timer);
    pickup->rescan = true;
    loop_arm(&pickup->loop, timer, pickup->services.config->pickup.scan_interval_ms);
}

static void on_look_due(struct timer *timer, int64_t now_ms)
{
    (void)timer;
    (void)now_ms; /* waking up was the point: work() does the rest before the next sleep */
}

static bool is_far_ahead(const struct pickup *pickup)
{
    return pickup->credit == 0 && atomic_load(pickup->services.num_ahead) >= PICKUP_AHEAD;
}

static bool has_room(const struct pickup *pickup)
{
    const struct config *config = pickup->services.config;
    return pickup->num_loaded < config->queue.active_messages && !is_far_ahead(pickup) &&
           !pauses_any(pickup->services.pauses);
}

static void on_trickle(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    struct pickup *pickup = container_of(timer, struct pickup, trickle_timer);
    if (pickup->num_left < PICKUP_TRICKLE)
        pickup->credit += PICKUP_TRICKLE - pickup->num_left;
    pickup->num_left = 0;
}

static void hand_over(struct pickup *pickup, struct message *message)
{
    pickup->num_loaded++;
    pickup->credit -= pickup->credit > 0;
    atomic_fetch_add(pickup->services.num_ahead, 1);
    pickup->memory_len += message->memory_len;
    message->item.kind = MESSAGE_LOADED;
    message->next = NULL;
    if (pickup->loaded_last)
        pickup->loaded_last->next = message;
    else
        pickup->loaded_first = message;
    pickup->loaded_last = message;
}

/* One wake-up for what a turn has loaded, not one for each. */
static void post_loaded(struct pickup *pickup)
{
    struct message *message = pickup->loaded_first;
    if (!message)
        return;
    pickup->loaded_first = pickup->loaded_last = NULL;
    while (message) {
        struct message *next = message->next;
        mailbox_put(pickup->services.dispatcher, &message->item);
        message = next;
    }
    mailbox_wake(pickup->services.dispatcher);
}

static void settle_later(struct pickup *pickup, struct candidate *candidate, int64_t wait_ms)
{
    candidate->look_ms = pickup->loop.now_ms + wait_ms;
    candidate->next = pickup->settling;
    pickup->settling = candidate;
}

static void look_at(struct pickup *pickup, struct candidate *candidate)
{
    struct message *message = NULL;
    int64_t wait_ms = 0;
    enum load_result result = pickup_load_new(pickup, candidate, &message, &wait_ms);
    if (result == LOAD_LATER) {
        settle_later(pickup, candidate, wait_ms);
        return;
    }
    if (result == LOAD_DONE) {
        pickup_claim(pickup, &message->identity);
        hand_over(pickup, message);
    }
    pickup->num_candidates--;
    free(candidate);
}

static void load(struct pickup *pickup, struct waiting *waiting)
{
    struct message *message = NULL;
    int64_t wait_ms = 0;
    enum load_result result = pickup_load_waiting(pickup, waiting, &message, &wait_ms);
    switch (result) {
    case LOAD_DONE:
        hand_over(pickup, message);
        waiting_free(waiting);
        return;
    case LOAD_LATER:
        waiting->item.kind = WAITING_UNREADABLE;
        break;
    case LOAD_GONE:
    case LOAD_KNOWN:
    case LOAD_BAD:
        pickup_drop_claim(pickup, &waiting->identity);
        waiting->item.kind = WAITING_GONE;
        break;
    }
    mailbox_post(pickup->services.dispatcher, &waiting->item);
}

static bool next_load(struct pickup *pickup)
{
    struct waiting *waiting = pickup->load_first;
    if (!waiting)
        return false;
    pickup->load_first = waiting->next;
    if (!pickup->load_first)
        pickup->load_last = NULL;
    pickup->num_loads--;
    load(pickup, waiting);
    return true;
}

static bool next_look(struct pickup *pickup)
{
    struct candidate *candidate = pickup->ready_first;
    if (!candidate)
        return false;
    pickup->ready_first = candidate->next;
    if (!pickup->ready_first)
        pickup->ready_last = NULL;
    candidate->next = NULL;
    look_at(pickup, candidate);
    return true;
}

/* Nothing loaded, asked for, settling or to be found: the dispatcher wants to know when it drains.
 */
static void report_quiet(struct pickup *pickup)
{
    bool busy = pickup->num_loaded || pickup->num_loads || pickup->num_candidates ||
                pickup->rescan || pickup->scan_folder < pickup->num_folders;
    if (busy || !pickup->services.drain || pickup->quiet_posted)
        return;
    if (!pickup->quiet_scanned) {
        /* Events may be under way that no read has shown yet: one more scan before saying so. */
        pickup->quiet_scanned = true;
        pickup->rescan = true;
        loop_arm(&pickup->loop, &pickup->look_timer, 0);
        return;
    }
    pickup->quiet_posted = true;
    pickup->quiet_item.kind = PICKUP_QUIET;
    mailbox_post(pickup->services.dispatcher, &pickup->quiet_item);
}

/* Before each sleep: some work, old mail and new mail in turn. */
static void work(struct loop *loop, void *ctx)
{
    (void)loop;
    struct pickup *pickup = ctx;
    pickup_wake_candidates(pickup);
    pickup_scan_on(pickup);
    bool any = true;
    for (unsigned i = 0; any && i < LOADS_PER_TURN && has_room(pickup); i++) {
        any = next_look(pickup);
        if (has_room(pickup))
            any |= next_load(pickup);
        if (any)
            pickup->quiet_scanned = false;
    }
    post_loaded(pickup);
    if (is_far_ahead(pickup) && !timer_is_armed(&pickup->trickle_timer))
        loop_arm(&pickup->loop, &pickup->trickle_timer, PICKUP_TRICKLE_MS);
    bool scanning = !pauses_any(pickup->services.pauses) &&
                    (pickup->rescan || pickup->scan_folder < pickup->num_folders);
    bool wants_more = (has_room(pickup) && (pickup->ready_first || pickup->load_first)) ||
                      (scanning && pickup->num_candidates < PICKUP_CANDIDATES_MAX / 2);
    if (wants_more)
        timer_arm(&pickup->loop.timers, &pickup->look_timer, pickup->loop.now_ms);
    report_quiet(pickup);
}

static void take_back(struct pickup *pickup, struct message *message, bool keep_claim)
{
    CHECK(pickup->num_loaded > 0 && pickup->memory_len >= message->memory_len);
    pickup->num_loaded--;
    pickup->num_left++;
    pickup->credit += pickup->credit < PICKUP_AHEAD;
    pickup->memory_len -= message->memory_len;
    if (message->was_new && !keep_claim)
        pickup_drop_claim(pickup, &message->identity);
    message_free(message);
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct pickup *pickup = ctx;
    pickup->quiet_posted = false;
    switch (item->kind) {
    case PICKUP_LOAD: {
        struct waiting *waiting = container_of(item, struct waiting, item);
        waiting->next = NULL;
        if (pickup->load_last)
            pickup->load_last->next = waiting;
        else
            pickup->load_first = waiting;
        pickup->load_last = waiting;
        pickup->num_loads++;
        break;
    }
    case PICKUP_FREE:
    case PICKUP_KEEP_CLAIM:
        take_back(pickup, container_of(item, struct message, item),
                  item->kind == PICKUP_KEEP_CLAIM);
        break;
    default:
        CHECK(item->kind == PICKUP_STOP);
        loop_stop(&pickup->loop);
        break;
    }
}

bool pickup_init(struct pickup *pickup, const struct pickup_services *services)
{
    memset(pickup, 0, sizeof *pickup);
    pickup->services = *services;
    if (!loop_init(&pickup->loop))
        return false;
    if (!mailbox_init(&pickup->mailbox, &pickup->loop, on_item, pickup)) {
        loop_fini(&pickup->loop);
        return false;
    }
    timer_init(&pickup->scan_timer, on_scan_due);
    timer_init(&pickup->look_timer, on_look_due);
    timer_init(&pickup->trickle_timer, on_trickle);
    pickup_watch_init(pickup);
    pickup_pause_init(pickup);
    pickup->loop.before_sleep = work;
    pickup->loop.before_sleep_ctx = pickup;
    pickup->rescan = true;
    loop_arm(&pickup->loop, &pickup->scan_timer, services->config->pickup.scan_interval_ms);
    return true;
}

void pickup_set_highest_id(struct pickup *pickup, uint64_t id)
{
    pickup->ids.last = id;
}

static void *pickup_main(void *ctx)
{
    struct pickup *pickup = ctx;
    loop_run(&pickup->loop);
    return NULL;
}

bool pickup_start(struct pickup *pickup)
{
    int rc = pthread_create(&pickup->thread, NULL, pickup_main, pickup);
    if (rc != 0) {
        errno = rc;
        return false;
    }
    pthread_setname_np(pickup->thread, "pickup");
    return true;
}

void pickup_stop(struct pickup *pickup)
{
    pickup->stop_item.kind = PICKUP_STOP;
    mailbox_post(&pickup->mailbox, &pickup->stop_item);
}

void pickup_join(struct pickup *pickup)
{
    pthread_join(pickup->thread, NULL);
}

void pickup_fini(struct pickup *pickup)
{
    mailbox_drain(&pickup->mailbox);
    while (pickup->load_first) {
        struct waiting *waiting = pickup->load_first;
        pickup->load_first = waiting->next;
        waiting_free(waiting);
    }
    pickup_watch_fini(pickup);
    pickup_drop_all_claims(pickup);
    mailbox_fini(&pickup->mailbox);
    loop_fini(&pickup->loop);
}
