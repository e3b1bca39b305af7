/* "status": what the router is doing, put together in the dispatcher's thread, which owns most of
 * it. It changes nothing. */
#include "base/clock.h"
#include "router/control_command.h"
#include "router/dispatcher.h"

#include <unistd.h>

static double seconds(int64_t ms)
{
    return (double)ms / 1000;
}

static json_t *pause_rows(struct pauses *pauses)
{
    json_t *rows = json_array();
    for (enum pause_room room = 0; room < PAUSE_ROOMS; room++) {
        struct pause pause;
        if (!pauses_read(pauses, room, &pause))
            continue;
        json_t *reason = json_string(pause.reason);
        json_array_append_new(rows,
                              json_pack("{s:s, s:o, s:f}", "room", pause_room_name(room), "reason",
                                        reason ? reason : json_string("(not UTF-8)"), "since",
                                        seconds(pause.since_wall_ms)));
    }
    return rows;
}

static json_t *commit_row(struct journal_thread *thread, int64_t now_ms)
{
    int64_t since_ms = atomic_load(&thread->pending_since_ms);
    int64_t lag_ms = since_ms && now_ms > since_ms ? now_ms - since_ms : 0;
    return json_pack("{s:f, s:f}", "lag", seconds(lag_ms), "last_took",
                     (double)atomic_load(&thread->commit_us) / 1e6);
}

static json_t *message_row(const struct dispatcher *dispatcher)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "waiting", (json_int_t)dispatcher->table.num,
                     "held", (json_int_t)dispatcher->table.num_held, "in_doubt",
                     (json_int_t)dispatcher->table.num_in_doubt, "loaded",
                     (json_int_t)dispatcher->num_messages, "in_flight",
                     (json_int_t)site_pool_num_in_flight(dispatcher->services.site_pool));
}

static json_t *recipient_row(const struct progress_totals *totals)
{
    return json_pack("{s:I, s:I, s:I}", "delivered", (json_int_t)totals->delivered, "deferred",
                     (json_int_t)totals->deferred, "bounced", (json_int_t)totals->bounced);
}

/* Null: MTA-STS is off. */
static json_t *sts_row(const struct dispatcher *dispatcher)
{
    struct sts_counters counters;
    if (!dispatcher->services.sts)
        return json_null();
    sts_service_read_counters(dispatcher->services.sts, &counters);
    return json_pack("{s:I, s:I, s:I, s:I, s:I}", "policies", (json_int_t)counters.policies,
                     "fetches", (json_int_t)counters.fetches, "failures",
                     (json_int_t)counters.failures, "outlived", (json_int_t)counters.outlived,
                     "refused", (json_int_t)dispatcher->num_sts_refused);
}

static void run(void *owner, struct control_call *call)
{
    const struct dispatcher *dispatcher = owner;
    const struct control_services *services = call->services;
    json_t *pauses = pause_rows(services->pauses);
    const char *state = dispatcher->stopping      ? "stopping"
                        : json_array_size(pauses) ? "paused"
                                                  : "running";
    control_answer(call,
                   json_pack("{s:b, s:s, s:s, s:I, s:f, s:s, s:o, s:o, s:I, s:o, s:o, s:o}", "ok",
                             1, "state", state, "version", SLUICE_VERSION, "pid",
                             (json_int_t)getpid(), "started", seconds(services->started_wall_ms),
                             "spool", services->config->spool, "pauses", pauses, "messages",
                             message_row(dispatcher), "connections",
                             (json_int_t)site_pool_num_connections(dispatcher->services.site_pool),
                             "recipients", recipient_row(&dispatcher->totals), "commit",
                             commit_row(services->journal_thread, dispatcher->loop.now_ms),
                             "mta_sts", sts_row(dispatcher)));
}

void control_status(struct control_call *call)
{
    call->run = run;
    call->item.kind = DISPATCHER_CALL;
    mailbox_post(&call->services->dispatcher->mailbox, &call->item);
}
