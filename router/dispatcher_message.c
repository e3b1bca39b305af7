/* A message's way through an attempt: recipients into deliveries, outcomes into states, states into
 * a decision. It touches no file: the journal thread carries decisions out. */
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "router/delivery_log.h"
#include "router/delivery_tls.h"
#include "router/dispatcher.h"
#include "router/outcome_table.h"
#include "router/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

enum {
    RECEIVED_MAX = 100,   /* more Received fields than that are a loop (RFC 5321 6.3) */
    DUE_SLACK_MS = 10000, /* recipients that are due that soon go along */
    UNREADABLE_WAIT_MS = 60000,
    UNTRIED_WAIT_MS = 1000
};

static uint32_t random_bits(void)
{
    uint32_t bits = 0;
    CHECK(getrandom(&bits, sizeof bits, 0) == sizeof bits);
    return bits;
}

static const char *domain_of(const struct message *message, uint32_t index)
{
    return message->envelope.recipients.items[index].domain;
}

static int by_domain(const void *a, const void *b, void *ctx)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    int order = strcmp(domain_of(ctx, x), domain_of(ctx, y));
    return order ? order : (x > y) - (x < y);
}

/* A reason why no attempt is made at all; kind NONE: none. */
static struct outcome refusal(const struct message *message, const struct recipient_state *state,
                              int64_t now_wall_ms)
{
    if (message->envelope.num_received > RECEIVED_MAX)
        return outcome_from_trouble(PHASE_QUEUE, TROUBLE_LOOP, NULL);
    if (message->content.class.long_line && message->content.long_lines == CONTENT_LONG_BOUNCE)
        return outcome_from_trouble(PHASE_QUEUE, TROUBLE_LONG_LINES, NULL);
    /* After the last try just at its expiry only what could not even be tried comes by here. */
    if (now_wall_ms > message->expiry_wall_ms + DUE_SLACK_MS && state->attempts > 0 &&
        !message->was_released)
        return outcome_expired(&state->last);
    return (struct outcome){.kind = OUTCOME_NONE};
}

static bool is_final(const struct recipient_state *state)
{
    return state->status == RECIPIENT_DELIVERED || state->status == RECIPIENT_BOUNCED ||
           state->status == RECIPIENT_NOTIFIED;
}

static uint32_t collect_due(const struct dispatcher *dispatcher, struct message *message,
                            uint32_t *indexes)
{
    bool holds = dispatcher->snapshot->config->queue.hold_in_doubt;
    int64_t now_wall_ms = clock_wall_ms();
    uint32_t num = 0;
    for (uint32_t i = 0; i < message->envelope.recipients.num; i++) {
        struct recipient_state *state = &message->recipients[i];
        if (is_final(state) || (holds && state->status == RECIPIENT_IN_DOUBT))
            continue;
        if (state->status == RECIPIENT_PENDING && state->next_wall_ms > now_wall_ms + DUE_SLACK_MS)
            continue;
        if (state->status == RECIPIENT_IN_DOUBT)
            log_warning(
                "%s: <%s>: attempt %u is in doubt and may have delivered it; it is tried again",
                message->id_text, message->envelope.recipients.items[i].mailbox,
                (unsigned)state->attempts);
        state->status = RECIPIENT_PENDING;
        indexes[num++] = i;
    }
    return num;
}

/* What ends without an attempt ends for the reason of the last one, so its host is the one to name.
 */
static void name_last_host(struct delivery *delivery)
{
    const struct message *message = delivery->message;
    snprintf(delivery->trace.mx, sizeof delivery->trace.mx, "%s",
             message->recipients[delivery->recipients[0].index].mx);
}

static void send_group(struct dispatcher *dispatcher, struct message *message,
                       const uint32_t *indexes, uint32_t num, bool is_only)
{
    struct delivery *delivery = delivery_new(message, num);
    struct outcome refused = {.kind = OUTCOME_NONE};
    delivery->is_only = is_only;
    delivery->domain = domain_of(message, indexes[0]);
    delivery->attempt = 1;
    for (uint32_t i = 0; i < num; i++) {
        struct recipient_state *state = &message->recipients[indexes[i]];
        delivery->recipients[i].index = indexes[i];
        if (state->attempts + 1u > delivery->attempt)
            delivery->attempt = state->attempts + 1u;
        if (refused.kind == OUTCOME_NONE)
            refused = refusal(message, state, clock_wall_ms());
    }
    message->num_active++;
    if (refused.kind == OUTCOME_NONE) {
        dispatcher_dispatch(dispatcher, delivery);
        return;
    }
    for (uint32_t i = 0; i < num; i++)
        delivery->recipients[i].outcome = refused;
    name_last_host(delivery);
    delivery->item.kind = DELIVERY_ATTEMPTED;
    mailbox_post(dispatcher->services.journal_thread, &delivery->item);
}

static void decide(struct dispatcher *dispatcher, struct message *message);

static void release(struct dispatcher *dispatcher, struct message *message)
{
    CHECK(message->num_active > 0);
    if (--message->num_active == 0)
        decide(dispatcher, message);
}

/* A message's recipients that are not done with. */
struct recipients_left {
    uint32_t pending;
    uint32_t in_doubt; /* and held */
    uint32_t bounced;  /* of which the sender was not told yet */
};

static void link_loaded(struct dispatcher *dispatcher, struct message *message)
{
    message->loaded_prev = NULL;
    message->loaded_next = dispatcher->loaded;
    if (dispatcher->loaded)
        dispatcher->loaded->loaded_prev = message;
    dispatcher->loaded = message;
    dispatcher->num_messages++;
}

static void unlink_loaded(struct dispatcher *dispatcher, struct message *message)
{
    CHECK(dispatcher->num_messages > 0);
    if (message->loaded_prev)
        message->loaded_prev->loaded_next = message->loaded_next;
    else
        dispatcher->loaded = message->loaded_next;
    if (message->loaded_next)
        message->loaded_next->loaded_prev = message->loaded_prev;
    dispatcher->num_messages--;
}

void dispatcher_start_message(struct dispatcher *dispatcher, struct message *message)
{
    uint32_t num_recipients = (uint32_t)message->envelope.recipients.num;
    uint32_t *indexes = mem_zalloc(num_recipients, sizeof *indexes);
    bool may_try = dispatcher_begin_operation(message) && !dispatcher->stopping;
    uint32_t num = may_try ? collect_due(dispatcher, message, indexes) : 0;
    link_loaded(dispatcher, message);
    message->num_active = 1; /* ours, until all groups are on their way */
    qsort_r(indexes, num, sizeof *indexes, by_domain, message);
    for (uint32_t from = 0; from < num;) {
        const char *domain = domain_of(message, indexes[from]);
        uint32_t most = config_for_domain(dispatcher->snapshot->config,
                                          dispatcher_route_domain(message, domain))
                            ->max_recipients;
        uint32_t to = from + 1;
        while (to < num && to - from < most && strcmp(domain_of(message, indexes[to]), domain) == 0)
            to++;
        send_group(dispatcher, message, indexes + from, to - from, to - from == num);
        from = to;
    }
    free(indexes);
    release(dispatcher, message);
}

/* One recipient's state after an attempt. */
static void apply(struct dispatcher *dispatcher, struct message *message,
                  struct recipient_state *state, struct delivery *delivery, uint32_t i)
{
    struct outcome *outcome = &delivery->recipients[i].outcome;
    int64_t now_wall_ms = clock_wall_ms();
    state->attempts = (uint16_t)(delivery->attempt < UINT16_MAX ? delivery->attempt : UINT16_MAX);
    bool is_held = outcome->kind == OUTCOME_DEFERRED && outcome->in_doubt &&
                   dispatcher->snapshot->config->queue.hold_in_doubt;
    if (outcome->kind == OUTCOME_DEFERRED && !is_held &&
        !retry_next_wall_ms(&dispatcher->snapshot->config->retry, state->attempts, random_bits(),
                            now_wall_ms, message->expiry_wall_ms, &state->next_wall_ms))
        *outcome = outcome_expired(outcome);
    state->last = *outcome;
    state->attempted_wall_ms = now_wall_ms;
    snprintf(state->mx, sizeof state->mx, "%.*s", RECIPIENT_MX_MAX - 1, delivery->trace.mx);
    state->status = outcome->kind == OUTCOME_DELIVERED ? RECIPIENT_DELIVERED
                    : outcome->kind == OUTCOME_BOUNCED ? RECIPIENT_BOUNCED
                    : is_held                          ? RECIPIENT_IN_DOUBT
                                                       : RECIPIENT_PENDING;
}

static void count(struct dispatcher *dispatcher, const struct delivery *delivery, uint32_t i)
{
    const struct outcome *outcome = &delivery->recipients[i].outcome;
    if (delivery->site)
        site_pool_count(delivery->site, outcome);
    dispatcher->totals.delivered += outcome->kind == OUTCOME_DELIVERED;
    dispatcher->totals.deferred += outcome->kind == OUTCOME_DEFERRED;
    dispatcher->totals.bounced += outcome->kind == OUTCOME_BOUNCED;
}

static void wake_parked(struct dispatcher *dispatcher, struct site *site, size_t num)
{
    uint64_t id;
    while (num > 0 && site_unpark(site, &id)) {
        struct waiting *waiting = table_find(&dispatcher->table, id);
        if (!waiting || !waiting->is_listed || table_holds(waiting))
            continue;
        waiting->is_listed = false;
        dispatcher_wake_waiting(dispatcher, waiting);
        num--;
    }
}

static void forget_delivery(struct dispatcher *dispatcher, struct delivery *delivery)
{
    struct message *message = delivery->message;
    struct site *site = delivery->site;
    if (site)
        wake_parked(
            dispatcher, site,
            site_pool_forget(dispatcher->services.site_pool, site, dispatcher->loop.now_ms));
    delivery_free(delivery);
    release(dispatcher, message);
}

void dispatcher_delivery_attempted(struct dispatcher *dispatcher, struct delivery *delivery)
{
    struct message *message = delivery->message;
    dispatcher->num_sts_refused += delivery_is_refused_by_sts(delivery);
    for (uint32_t i = 0; i < delivery->num_recipients; i++) {
        struct recipient_state *state = &message->recipients[delivery->recipients[i].index];
        if (delivery->recipients[i].outcome.kind == OUTCOME_RETURNED)
            continue;
        apply(dispatcher, message, state, delivery, i);
        count(dispatcher, delivery, i);
        if (dispatcher->services.delivery_log)
            delivery_log_append(delivery, i, delivery->site ? delivery->site->name : "",
                                clock_wall_us(),
                                state->status == RECIPIENT_PENDING ? state->next_wall_ms : 0,
                                &dispatcher->log_lines);
    }
    forget_delivery(dispatcher, delivery);
}

void dispatcher_delivery_returned(struct dispatcher *dispatcher, struct delivery *delivery,
                                  int64_t until_wall_ms)
{
    struct message *message = delivery->message;
    int64_t now_wall_ms = clock_wall_ms();
    bool over = until_wall_ms && now_wall_ms >= message->expiry_wall_ms;
    for (uint32_t i = 0; i < delivery->num_recipients; i++) {
        struct recipient_state *state = &message->recipients[delivery->recipients[i].index];
        struct outcome *why = &delivery->recipients[i].outcome;
        if (until_wall_ms > message->expiry_wall_ms)
            until_wall_ms = message->expiry_wall_ms;
        state->next_wall_ms = until_wall_ms;
        if (why->text[0])
            state->last = *why;
        if (over)
            *why = outcome_expired(why);
    }
    if (!over) {
        forget_delivery(dispatcher, delivery);
        return;
    }
    /* Its time is over while its site is suspended: that is final, and goes the way of all
     * outcomes. */
    name_last_host(delivery);
    delivery->item.kind = DELIVERY_ATTEMPTED;
    mailbox_post(dispatcher->services.journal_thread, &delivery->item);
}

static void hand_to_journal(struct dispatcher *dispatcher, struct message *message, unsigned kind)
{
    message->item.kind = kind;
    mailbox_post(dispatcher->services.journal_thread, &message->item);
}

static void free_message(struct dispatcher *dispatcher, struct message *message, unsigned kind)
{
    unlink_loaded(dispatcher, message);
    message->item.kind = kind;
    mailbox_put(dispatcher->services.pickup, &message->item);
    dispatcher->pickup_waits = true;
    dispatcher_check_done(dispatcher);
}

static struct waiting *entry_of(const struct dispatcher *dispatcher, const struct message *message)
{
    int64_t warn_wall_ms = report_warn_wall_ms(message, dispatcher->services.config);
    struct journal_message snapshot = {
        .id = message->id,
        .path = message->path,
        .identity = message->identity,
        .arrived_wall_ms = message->arrived_wall_ms,
        .recipients_digest = message->recipients_digest,
        .num_recipients = (uint32_t)message->envelope.recipients.num,
        .recipients = message->recipients,
    };
    struct waiting *waiting = waiting_new(&snapshot);
    waiting->attention_wall_ms =
        warn_wall_ms < message->expiry_wall_ms ? warn_wall_ms : message->expiry_wall_ms;
    waiting->site_hash = message->site_hash;
    waiting->operation = message->operation;
    return waiting;
}

/* Back to a bare entry: its site is over its share, or nothing could be tried. */
static void unload(struct dispatcher *dispatcher, struct message *message)
{
    struct waiting *waiting = entry_of(dispatcher, message);
    if (!dispatcher->stopping) {
        waiting->is_parked = true;
        dispatcher->num_parked++;
        waiting->is_listed = site_pool_park(dispatcher->services.site_pool, waiting->site_hash,
                                            waiting->id, dispatcher->loop.now_ms);
        int64_t wait_ms = waiting->is_listed ? SITE_FULL_WAIT_MS : UNTRIED_WAIT_MS;
        waiting->due_wall_ms = clock_wall_ms() + wait_ms + random_bits() % wait_ms;
        dispatcher_add_waiting(dispatcher, waiting);
    } else {
        waiting_free(waiting);
    }
    free_message(dispatcher, message, PICKUP_KEEP_CLAIM);
}

static unsigned decision_of(struct message *message, const struct recipients_left *left)
{
    bool null_sender = message->envelope.sender.mailbox[0] == '\0';
    if (message->operation == QUEUE_REMOVE)
        return MESSAGE_REMOVE;
    if (message->operation == QUEUE_HOLD && left->pending)
        return MESSAGE_HOLD;
    if (left->pending)
        return MESSAGE_DEFER;
    if (left->in_doubt)
        return MESSAGE_HOLD;
    if (!left->bounced || !null_sender)
        return MESSAGE_REMOVE;
    snprintf(message->bad_reason, sizeof message->bad_reason,
             "a message of the null sender cannot be delivered (double bounce)");
    return MESSAGE_BAD;
}

static struct recipients_left count_left(const struct dispatcher *dispatcher,
                                         const struct message *message)
{
    bool holds = dispatcher->snapshot->config->queue.hold_in_doubt;
    struct recipients_left left = {0};
    for (size_t i = 0; i < message->envelope.recipients.num; i++) {
        const struct recipient_state *state = &message->recipients[i];
        bool is_held = holds && state->status == RECIPIENT_IN_DOUBT;
        left.in_doubt += is_held;
        left.pending += !is_held && !is_final(state);
        left.bounced += state->status == RECIPIENT_BOUNCED;
    }
    return left;
}

static void decide(struct dispatcher *dispatcher, struct message *message)
{
    struct recipients_left left = count_left(dispatcher, message);
    unsigned decision = decision_of(message, &left);
    message->next_wall_ms =
        recipients_due_wall_ms(message->recipients, (uint32_t)message->envelope.recipients.num,
                               dispatcher->snapshot->config->queue.hold_in_doubt);
    message->warns = decision == MESSAGE_DEFER &&
                     clock_wall_ms() >= report_warn_wall_ms(message, dispatcher->services.config);
    message->reports = message->operation != QUEUE_REMOVE && report_is_due(message);
    bool moves = message->operation == QUEUE_RELEASE || message->reports;
    if (decision == MESSAGE_DEFER && message->next_wall_ms == 0 && left.bounced == 0 && !moves) {
        unload(dispatcher, message);
        return;
    }
    hand_to_journal(dispatcher, message, decision);
}

static bool is_gone(const struct message *message)
{
    return message->result_errno == ENOENT || message->result_errno == ESTALE;
}

/* An operation that could not be carried out is asked for again, one that was is done with; what
 * was asked for meanwhile is still to come. */
static void end_operation(struct message *message)
{
    bool failed = message->result_errno != 0;
    if (message->item.kind == MESSAGE_REMOVE && failed)
        message->operation = QUEUE_REMOVE;
    if (message->item.kind == MESSAGE_HOLD && !failed && message->operation == QUEUE_HOLD)
        message->operation = QUEUE_NO_OPERATION;
}

/* By an operator, while some recipients had no final outcome: they get none, and so the log is told
 * who they were. */
static bool is_removed_early(const struct message *message)
{
    size_t num = 0;
    for (size_t i = 0; i < message->envelope.recipients.num; i++)
        num += !is_final(&message->recipients[i]);
    if (message->item.kind != MESSAGE_REMOVE || num == 0)
        return false;
    log_info("%s: removed by an operator: from <%s>, %zu of %zu recipients not delivered",
             message->id_text, message->envelope.sender.mailbox, num,
             message->envelope.recipients.num);
    return true;
}

void dispatcher_message_back(struct dispatcher *dispatcher, struct message *message)
{
    bool stays = message->item.kind == MESSAGE_DEFER || message->item.kind == MESSAGE_HOLD;
    if (message->result_errno == 0 ? !stays : is_gone(message)) {
        if (stays) {
            log_warning("%s: its file is gone, so its delivery is cancelled", message->id_text);
            if (!journal_append_removed(dispatcher->services.journal, message->id))
                log_error("%s: the journal cannot store that", message->id_text);
        }
        dispatcher_operation_ended(dispatcher, message->id, is_removed_early(message));
        free_message(dispatcher, message, PICKUP_FREE);
        return;
    }
    if (message->result_errno)
        log_error("%s: %s: %s; it stays and is tried again", message->id_text, message->path,
                  strerror(message->result_errno));
    end_operation(message);
    bool moved = stays && message->result_errno == 0;
    struct waiting *waiting = entry_of(dispatcher, message);
    int64_t next_wall_ms = message->next_wall_ms < waiting->attention_wall_ms
                               ? message->next_wall_ms
                               : waiting->attention_wall_ms;
    waiting->due_wall_ms = message->operation ? 0 : next_wall_ms;
    if (!moved)
        waiting->due_wall_ms = clock_wall_ms() + UNREADABLE_WAIT_MS;
    dispatcher_add_entry(dispatcher, waiting, moved && message->item.kind == MESSAGE_HOLD);
    free_message(dispatcher, message, moved ? PICKUP_FREE : PICKUP_KEEP_CLAIM);
}
