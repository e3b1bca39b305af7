/* The dispatcher's thread: its mailbox, the table's timer, progress, the end.
 * Routes stand in dispatcher_route.c, the fate of messages in dispatcher_message.c. */
#include "router/dispatcher.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "router/control.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum {
    LOADS_MAX = 1024, /* asked of pickup at once */
    SWEEP_MS = 30000,
    UNREADABLE_WAIT_MS = 60000,
    GRACE_SLACK_MS = 500, /* beyond the workers' grace: for the last commits */
    LOG_LINES_MAX = 1024 * 1024,
    TABLE_STEPS = 4096 /* entries looked at per turn of the timer */
};

static void arm_due(struct dispatcher *dispatcher)
{
    struct waiting *first = table_first(&dispatcher->table);
    if (!first || dispatcher->stopping || dispatcher->num_loads >= LOADS_MAX)
        return;
    int64_t wait_ms = first->due_wall_ms - clock_wall_ms();
    if (wait_ms > 60000)
        wait_ms = 60000; /* the wall clock may be set meanwhile */
    loop_arm(&dispatcher->loop, &dispatcher->due_timer, wait_ms > 0 ? wait_ms : 0);
}

void dispatcher_add_waiting(struct dispatcher *dispatcher, struct waiting *waiting)
{
    table_add(&dispatcher->table, waiting);
    arm_due(dispatcher);
}

void dispatcher_wake_waiting(struct dispatcher *dispatcher, struct waiting *waiting)
{
    table_move(&dispatcher->table, waiting, 0);
    arm_due(dispatcher);
}

/* An entry whose site takes nothing now is re-timed in memory, without a look at the disk; at its
 * expiry, or when its sender is to be warned, it is loaded in any case. */
static bool stays_asleep(struct dispatcher *dispatcher, struct waiting *waiting,
                         int64_t now_wall_ms)
{
    int64_t now_ms = dispatcher->loop.now_ms;
    int64_t until_ms =
        site_pool_closed_until(dispatcher->services.site_pool, waiting->site_hash, now_ms);
    if (!until_ms || now_wall_ms >= waiting->attention_wall_ms || waiting->operation)
        return false;
    if (!waiting->is_listed)
        waiting->is_listed =
            site_pool_park(dispatcher->services.site_pool, waiting->site_hash, waiting->id, now_ms);
    if (waiting->is_parked && !waiting->is_listed) {
        /* The site is suspended: it waits for a time now, and a drain does not wait for it. */
        waiting->is_parked = false;
        dispatcher->num_parked--;
    }
    int64_t due = now_wall_ms + (until_ms - now_ms) + (int64_t)(waiting->id % 1000);
    table_move(&dispatcher->table, waiting,
               due < waiting->attention_wall_ms ? due : waiting->attention_wall_ms);
    return true;
}

static void on_due(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    struct dispatcher *dispatcher = container_of(timer, struct dispatcher, due_timer);
    int64_t now_wall_ms = clock_wall_ms();
    struct waiting *first = table_first(&dispatcher->table);
    for (unsigned i = 0; i < TABLE_STEPS && first && first->due_wall_ms <= now_wall_ms &&
                         dispatcher->num_loads < LOADS_MAX && !dispatcher->stopping;
         i++, first = table_first(&dispatcher->table)) {
        if (stays_asleep(dispatcher, first, now_wall_ms))
            continue;
        struct waiting *waiting = table_take_first(&dispatcher->table);
        dispatcher->num_parked -= waiting->is_parked;
        dispatcher->num_loads++;
        waiting->item.kind = PICKUP_LOAD;
        mailbox_put(dispatcher->services.pickup, &waiting->item);
        dispatcher->pickup_waits = true;
    }
    arm_due(dispatcher);
}

static void finish(struct dispatcher *dispatcher)
{
    dispatcher->done = true;
    dispatcher->services.on_done(dispatcher->services.ctx);
}

/* Pickup has nothing and will find nothing: is there anything that could be tried now? */
static void on_quiet(struct dispatcher *dispatcher)
{
    const struct dispatcher_services *services = &dispatcher->services;
    if (dispatcher->num_messages || dispatcher->num_loads || dispatcher->num_parked)
        return;
    struct waiting *first = table_first(&dispatcher->table);
    bool due = first && first->due_wall_ms <= clock_wall_ms();
    if (!first || (services->drain && !services->until_empty && !due))
        finish(dispatcher);
}

void dispatcher_check_done(struct dispatcher *dispatcher)
{
    if (dispatcher->stopping && dispatcher->num_messages == 0)
        loop_stop(&dispatcher->loop);
}

static void on_gone(struct dispatcher *dispatcher, struct waiting *waiting)
{
    char id[QUEUE_ID_LEN + 1];
    queue_id_format(waiting->id, id);
    log_warning("%s: %s is gone, so its delivery is cancelled", id, waiting->path);
    if (!journal_append_removed(dispatcher->services.journal, waiting->id))
        log_error("%s: the journal cannot store that", id);
    dispatcher_operation_ended(dispatcher, waiting->id, true);
    waiting_free(waiting);
}

static void on_unreadable(struct dispatcher *dispatcher, struct waiting *waiting)
{
    waiting->is_parked = false;
    waiting->due_wall_ms = clock_wall_ms() + UNREADABLE_WAIT_MS;
    dispatcher_add_waiting(dispatcher, waiting);
}

static void stop(struct dispatcher *dispatcher)
{
    const struct dispatcher_services *services = &dispatcher->services;
    dispatcher->stopping = true;
    struct delivery *untried = dispatcher_take_unrouted(dispatcher);
    for (unsigned pass = 0; pass < 2; pass++) {
        while (untried) {
            struct delivery *next = untried->next;
            dispatcher_delivery_returned(dispatcher, untried, 0);
            untried = next;
        }
        if (pass == 0)
            untried = site_pool_close(services->site_pool);
    }
    services->stop_workers(services->ctx);
    loop_arm(&dispatcher->loop, &dispatcher->grace_timer,
             services->config->queue.shutdown_grace_ms + GRACE_SLACK_MS);
    dispatcher_check_done(dispatcher);
}

void dispatcher_reload(struct dispatcher *dispatcher, struct config_snapshot *snapshot)
{
    struct config_snapshot *old = dispatcher->snapshot;
    dispatcher->snapshot = snapshot;
    config_snapshot_unref(old);
    if (dispatcher->stopping)
        return;
    dispatcher_renew_destinations(dispatcher);
    struct delivery *untried = site_pool_retire(dispatcher->services.site_pool, snapshot);
    while (untried) {
        struct delivery *next = untried->next;
        untried->message->site_hash = 0; /* it goes to another site */
        dispatcher_delivery_returned(dispatcher, untried, 0);
        untried = next;
    }
}

static void on_grace_over(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    struct dispatcher *dispatcher = container_of(timer, struct dispatcher, grace_timer);
    log_error("%zu messages could not be settled within the grace; they stay in the spool",
              dispatcher->num_messages);
    loop_stop(&dispatcher->loop);
}

/* Returned by a worker: its site was suspended meanwhile, or the router stops. */
static void on_returned(struct dispatcher *dispatcher, struct delivery *delivery)
{
    int64_t now_ms = dispatcher->loop.now_ms;
    int64_t until_ms = 0;
    delivery->message->site_hash = delivery->site ? site_key_hash(delivery->site) : 0;
    if (delivery->message->site_hash)
        until_ms = site_pool_closed_until(dispatcher->services.site_pool,
                                          delivery->message->site_hash, now_ms);
    int64_t until_wall_ms = until_ms ? clock_wall_ms() + until_ms - now_ms : 0;
    dispatcher_delivery_returned(dispatcher, delivery, dispatcher->stopping ? 0 : until_wall_ms);
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct dispatcher *dispatcher = ctx;
    switch (item->kind) {
    case MESSAGE_LOADED: {
        struct message *message = container_of(item, struct message, item);
        dispatcher->num_loads -= message->was_waiting;
        dispatcher_start_message(dispatcher, message);
        site_pool_leave_ahead(dispatcher->services.site_pool, 1);
        break;
    }
    case DELIVERY_ATTEMPTED:
        dispatcher_delivery_attempted(dispatcher, container_of(item, struct delivery, item));
        break;
    case DELIVERY_RETURNED:
        on_returned(dispatcher, container_of(item, struct delivery, item));
        break;
    case MESSAGE_REMOVE:
    case MESSAGE_DEFER:
    case MESSAGE_HOLD:
    case MESSAGE_BAD:
        dispatcher_message_back(dispatcher, container_of(item, struct message, item));
        break;
    case WAITING_GONE:
        dispatcher->num_loads--;
        on_gone(dispatcher, container_of(item, struct waiting, item));
        break;
    case WAITING_UNREADABLE:
        dispatcher->num_loads--;
        on_unreadable(dispatcher, container_of(item, struct waiting, item));
        break;
    case RESOLVER_ANSWER:
        dispatcher_route_answered(dispatcher, container_of(item, struct route_query, item));
        break;
    case STS_ANSWER:
        dispatcher_sts_answered(dispatcher, container_of(item, struct sts_query, item));
        break;
    case PICKUP_QUIET:
        on_quiet(dispatcher);
        break;
    case DISPATCHER_CALL: {
        struct control_call *call = container_of(item, struct control_call, item);
        call->run(dispatcher, call);
        break;
    }
    case DISPATCHER_NEWS: {
        struct dispatcher_news *news = container_of(item, struct dispatcher_news, item);
        dispatcher_reload(dispatcher, news->snapshot);
        news->on_applied(news);
        break;
    }
    default:
        CHECK(item->kind == DISPATCHER_STOP);
        stop(dispatcher);
        break;
    }
}

static void on_batch_end(void *ctx)
{
    struct dispatcher *dispatcher = ctx;
    if (dispatcher->log_lines.len && dispatcher->services.delivery_log)
        log_file_write(dispatcher->services.delivery_log, buffer_bytes(&dispatcher->log_lines));
    buffer_clear(&dispatcher->log_lines);
    if (!timer_is_armed(&dispatcher->due_timer))
        arm_due(dispatcher);
}

static void wake_pickup(struct loop *loop, void *ctx)
{
    (void)loop;
    struct dispatcher *dispatcher = ctx;
    if (dispatcher->pickup_waits)
        mailbox_wake(dispatcher->services.pickup);
    dispatcher->pickup_waits = false;
}

static void on_sweep(struct timer *timer, int64_t now_ms)
{
    struct dispatcher *dispatcher = container_of(timer, struct dispatcher, sweep_timer);
    dispatcher_sweep_destinations(dispatcher);
    site_pool_sweep(dispatcher->services.site_pool, now_ms);
    loop_arm(&dispatcher->loop, timer, SWEEP_MS);
}

static void write_progress(struct buffer *out)
{
    size_t at = 0;
    ssize_t n = 1;
    while (at < out->len && n > 0) {
        n = write(STDERR_FILENO, out->at + at, out->len - at);
        at += n > 0 ? (size_t)n : 0;
    }
    buffer_fini(out);
}

static void on_progress(struct timer *timer, int64_t now_ms)
{
    struct dispatcher *dispatcher = container_of(timer, struct dispatcher, progress_timer);
    struct buffer out;
    buffer_init(&out, LOG_LINES_MAX);
    dispatcher->totals.waiting = dispatcher->num_messages + dispatcher->table.num;
    dispatcher->totals.connections = site_pool_num_connections(dispatcher->services.site_pool);
    progress_update(&dispatcher->progress, &dispatcher->totals, now_ms, &out);
    write_progress(&out);
    loop_arm(&dispatcher->loop, timer, PROGRESS_TERMINAL_INTERVAL_MS);
}

static void show_table(struct dispatcher *dispatcher)
{
    struct progress_site *sites = NULL;
    struct buffer out;
    buffer_init(&out, LOG_LINES_MAX);
    size_t num = site_pool_snapshot(dispatcher->services.site_pool, &sites);
    progress_wipe(&dispatcher->progress, &out);
    progress_table(sites, num, &dispatcher->totals,
                   dispatcher->loop.now_ms - dispatcher->progress.started_ms, &out);
    write_progress(&out);
    free(sites);
}

bool dispatcher_init(struct dispatcher *dispatcher, const struct dispatcher_services *services)
{
    memset(dispatcher, 0, sizeof *dispatcher);
    dispatcher->services = *services;
    dispatcher->snapshot = config_snapshot_ref(services->snapshot);
    table_init(&dispatcher->table);
    buffer_init(&dispatcher->log_lines, SIZE_MAX);
    if (!loop_init(&dispatcher->loop))
        return false;
    if (!mailbox_init(&dispatcher->mailbox, &dispatcher->loop, on_item, dispatcher)) {
        loop_fini(&dispatcher->loop);
        return false;
    }
    dispatcher->mailbox.on_batch_end = on_batch_end;
    dispatcher->loop.before_sleep = wake_pickup;
    dispatcher->loop.before_sleep_ctx = dispatcher;
    timer_init(&dispatcher->due_timer, on_due);
    timer_init(&dispatcher->sweep_timer, on_sweep);
    timer_init(&dispatcher->grace_timer, on_grace_over);
    timer_init(&dispatcher->progress_timer, on_progress);
    timer_init(&dispatcher->operator_timer, dispatcher_look_for_operations);
    progress_init(&dispatcher->progress, STDERR_FILENO, dispatcher->loop.now_ms);
    loop_arm(&dispatcher->loop, &dispatcher->sweep_timer, SWEEP_MS);
    if (services->progress)
        loop_arm(&dispatcher->loop, &dispatcher->progress_timer, 0);
    return true;
}

static void *dispatcher_main(void *ctx)
{
    struct dispatcher *dispatcher = ctx;
    arm_due(dispatcher);
    loop_run(&dispatcher->loop);
    on_batch_end(dispatcher);
    dispatcher_end_waits(dispatcher);
    if (dispatcher->services.progress)
        show_table(dispatcher);
    return NULL;
}

bool dispatcher_start(struct dispatcher *dispatcher)
{
    int rc = pthread_create(&dispatcher->thread, NULL, dispatcher_main, dispatcher);
    if (rc != 0) {
        errno = rc;
        return false;
    }
    pthread_setname_np(dispatcher->thread, "dispatcher");
    return true;
}

void dispatcher_stop(struct dispatcher *dispatcher)
{
    dispatcher->stop_item.kind = DISPATCHER_STOP;
    mailbox_post(&dispatcher->mailbox, &dispatcher->stop_item);
}

void dispatcher_join(struct dispatcher *dispatcher)
{
    pthread_join(dispatcher->thread, NULL);
}

void dispatcher_fini(struct dispatcher *dispatcher)
{
    mailbox_drain(&dispatcher->mailbox);
    dispatcher_end_waits(dispatcher);
    dispatcher_free_destinations(dispatcher);
    config_snapshot_unref(dispatcher->snapshot);
    table_fini(&dispatcher->table);
    buffer_fini(&dispatcher->log_lines);
    mailbox_fini(&dispatcher->mailbox);
    loop_fini(&dispatcher->loop);
}
