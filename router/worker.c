/* The worker's thread: wake-ups in, connections driven, deliveries out.
 * It holds no policy: site.c says who connects, outcome_table.c what things mean. */
#include "router/worker.h"

#include "base/check.h"
#include "base/memory.h"
#include "router/connection.h"

#include <errno.h>

enum { WORKER_STOP = 50 };

static void on_grace_over(struct timer *timer, int64_t now_ms);

static void serve_idle(struct worker *worker, struct site *site)
{
    struct connection *connection = site->wakes[worker->index].idle_first;
    if (connection && !worker->stopping)
        connection_serve(connection);
    else
        site_pool_break_promise(worker->services->site_pool, site, worker->loop.now_ms);
}

static void on_wake(struct worker *worker, struct site_wake *wake)
{
    unsigned serve = 0;
    unsigned open = 0;
    struct site *site = wake->site;
    site_pool_read_wake(wake, &serve, &open);
    while (serve--)
        serve_idle(worker, site);
    while (open--)
        connection_open(worker, site);
}

static void end_if_done(struct worker *worker)
{
    if (worker->stopping && worker->num_connections == 0 && worker->num_waits == 0)
        loop_stop(&worker->loop);
}

void worker_connection_gone(struct worker *worker)
{
    end_if_done(worker);
}

static void stop_connections(struct worker *worker, bool now)
{
    struct connection *connection = worker->connections;
    while (connection) {
        struct connection *next = connection->next;
        connection_stop(connection, now);
        connection = next;
    }
}

static void on_grace_over(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    stop_connections(container_of(timer, struct worker, grace_timer), true);
}

struct commit_wait *worker_wait_for_commit(struct worker *worker, struct connection *connection)
{
    struct commit_wait *wait = mem_zalloc(1, sizeof *wait);
    wait->worker = &worker->mailbox;
    wait->connection = connection;
    wait->item.kind = COMMIT_WAIT;
    worker->num_waits++;
    mailbox_post(worker->services->journal_thread, &wait->item);
    return wait;
}

static void on_committed(struct worker *worker, struct commit_wait *wait)
{
    CHECK(worker->num_waits > 0);
    worker->num_waits--;
    if (wait->connection)
        connection_committed(wait->connection, wait->error);
    free(wait);
    end_if_done(worker);
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct worker *worker = ctx;
    if (item->kind == WORKER_COMMITTED) {
        on_committed(worker, container_of(item, struct commit_wait, item));
        return;
    }
    if (item->kind != WORKER_STOP) {
        on_wake(worker, container_of(item, struct site_wake, item));
        return;
    }
    worker->stopping = true;
    loop_arm(&worker->loop, &worker->grace_timer,
             worker->services->config->queue.shutdown_grace_ms);
    stop_connections(worker, false);
    end_if_done(worker);
}

bool worker_init(struct worker *worker, unsigned index, const struct worker_services *services)
{
    *worker = (struct worker){.services = services, .index = index};
    if (!loop_init(&worker->loop))
        return false;
    timer_init(&worker->grace_timer, on_grace_over);
    if (!mailbox_init(&worker->mailbox, &worker->loop, on_item, worker)) {
        loop_fini(&worker->loop);
        return false;
    }
    return true;
}

static void *worker_main(void *ctx)
{
    struct worker *worker = ctx;
    loop_run(&worker->loop);
    /* Wake-ups that crossed the end give their credits back. */
    mailbox_drain(&worker->mailbox);
    return NULL;
}

bool worker_start(struct worker *worker)
{
    int rc = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (rc != 0) {
        errno = rc;
        return false;
    }
    char name[16] = "worker";
    pthread_setname_np(worker->thread, name);
    return true;
}

void worker_stop(struct worker *worker)
{
    worker->stop_item.kind = WORKER_STOP;
    mailbox_post(&worker->mailbox, &worker->stop_item);
}

void worker_join(struct worker *worker)
{
    pthread_join(worker->thread, NULL);
}

void worker_fini(struct worker *worker)
{
    CHECK(worker->num_connections == 0);
    mailbox_fini(&worker->mailbox);
    loop_fini(&worker->loop);
    free(worker->indexes);
}

uint32_t *worker_indexes(struct worker *worker, uint32_t num)
{
    if (num > worker->indexes_cap) {
        worker->indexes = mem_realloc(worker->indexes, num, sizeof *worker->indexes);
        worker->indexes_cap = num;
    }
    return worker->indexes;
}

void worker_return_delivery(struct worker *worker, struct delivery *delivery,
                            const struct outcome *why)
{
    for (uint32_t i = 0; i < delivery->num_recipients; i++) {
        delivery->recipients[i].outcome = *why;
        delivery->recipients[i].outcome.kind = OUTCOME_RETURNED;
    }
    delivery->item.kind = DELIVERY_RETURNED;
    mailbox_post(worker->services->dispatcher, &delivery->item);
}

bool worker_may_begin(struct worker *worker, struct delivery *delivery)
{
    if (pauses_allow_deliveries(worker->services->pauses))
        return true;
    struct outcome why = {.kind = OUTCOME_RETURNED};
    worker_return_delivery(worker, delivery, &why);
    return false;
}

void worker_finish_delivery(struct worker *worker, struct delivery *delivery)
{
    /* Here and not in the journal thread: between the reply and this store a crash leaves doubt. */
    delivery->recorded = delivery_record(delivery, worker->services->journal);
    delivery_drop_content(delivery);
    commit_gate_stored(worker->services->commit_gate, worker->loop.now_ms);
    delivery->item.kind = DELIVERY_ATTEMPTED;
    mailbox_post(worker->services->journal_thread, &delivery->item);
}
