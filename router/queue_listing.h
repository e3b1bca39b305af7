/* Every message of a spool as a JSON object, from the journal and the folders: what `sluice queue`
 * lists and what its operations select from (fields: docs/commands.md).
 *
 * Only reads; beside a running router or without one. One thread. */
#ifndef SLUICE_ROUTER_QUEUE_LISTING_H
#define SLUICE_ROUTER_QUEUE_LISTING_H

#include "router/config.h"

#include <jansson.h>

/* What is asked for; NULL and false: everything. */
struct queue_selection {
    const char *sender;           /* envelope sender, without regard to case; "" the null sender */
    const char *recipient_domain; /* of a recipient that waits or is in doubt */
};

/* Calls on_row for each message that matches, in the order of the folders; row is borrowed. 0 or an
 * exit code, after saying why on stderr. */
int queue_list(const struct config *config, const struct queue_selection *selection,
               void (*on_row)(void *ctx, json_t *row), void *ctx)
    __attribute__((warn_unused_result));

/* A message in short, over those of its recipients that still wait. */
struct queue_summary {
    const char *first_recipient; /* of those that wait, borrowed from the row */
    size_t num_waiting;
    long long attempts; /* the most of any */
    double next;        /* the soonest; 0: at once */
    long long code;
    const char *reply; /* of the last attempt, borrowed */
};

struct queue_summary queue_summarise(const json_t *recipients);

#endif
