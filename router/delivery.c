/* The delivery's life.
 * It does not know where it travels. */
#include "router/delivery.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>

enum { FEW_RECIPIENTS = 128 };

struct delivery *delivery_new(struct message *message, uint32_t num_recipients)
{
    struct delivery *delivery =
        mem_zalloc(1, sizeof *delivery + num_recipients * sizeof(struct delivery_recipient));
    delivery->message = message;
    delivery->num_recipients = num_recipients;
    return delivery;
}

void delivery_free(struct delivery *delivery)
{
    route_unref(delivery->route);
    sts_policy_unref(delivery->sts);
    config_snapshot_unref(delivery->snapshot);
    free(delivery);
}

void delivery_drop_content(struct delivery *delivery)
{
    bool all_delivered = true;
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        all_delivered &= delivery->recipients[i].outcome.kind == OUTCOME_DELIVERED;
    if (delivery->is_only && all_delivered)
        content_drop_file(&delivery->message->content);
}

static bool record_with(const struct delivery *delivery, struct journal *journal, uint32_t *indexes,
                        struct outcome *outcomes)
{
    const struct message *message = delivery->message;
    for (uint32_t i = 0; i < delivery->num_recipients; i++) {
        indexes[i] = delivery->recipients[i].index;
        outcomes[i] = delivery->recipients[i].outcome;
    }
    struct journal_attempt attempt = {
        .number = delivery->attempt,
        .wall_ms = clock_wall_ms(),
        .mx = delivery->trace.mx,
    };
    return journal_append_outcome(journal, message->id, message->path, &message->identity,
                                  message->arrived_wall_ms, &attempt, indexes, outcomes,
                                  delivery->num_recipients);
}

bool delivery_record(const struct delivery *delivery, struct journal *journal)
{
    /* On the stack as a rule, so that recording asks the allocator for nothing. */
    uint32_t few_indexes[FEW_RECIPIENTS];
    struct outcome few_outcomes[FEW_RECIPIENTS];
    uint32_t num = delivery->num_recipients;
    if (num <= FEW_RECIPIENTS)
        return record_with(delivery, journal, few_indexes, few_outcomes);
    uint32_t *indexes = mem_alloc(num * sizeof *indexes);
    struct outcome *outcomes = mem_alloc(num * sizeof *outcomes);
    bool stored = record_with(delivery, journal, indexes, outcomes);
    int error = errno;
    free(indexes);
    free(outcomes);
    errno = error;
    return stored;
}
