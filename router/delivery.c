/* The delivery's life.
 * It does not know where it travels. */
#include "router/delivery.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>

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
    free(delivery);
}

bool delivery_record(const struct delivery *delivery, struct journal *journal)
{
    const struct message *message = delivery->message;
    uint32_t num = delivery->num_recipients;
    uint32_t *indexes = mem_zalloc(num, sizeof *indexes);
    struct outcome *outcomes = mem_zalloc(num, sizeof *outcomes);
    for (uint32_t i = 0; i < num; i++) {
        indexes[i] = delivery->recipients[i].index;
        outcomes[i] = delivery->recipients[i].outcome;
    }
    struct journal_attempt attempt = {
        .number = delivery->attempt,
        .wall_ms = clock_wall_ms(),
        .mx = delivery->trace.mx,
    };
    bool stored =
        journal_append_outcome(journal, message->id, message->path, &message->identity,
                               message->arrived_wall_ms, &attempt, indexes, outcomes, num);
    int error = errno;
    free(indexes);
    free(outcomes);
    errno = error;
    return stored;
}
