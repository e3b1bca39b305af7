/* `sluice queue hold|release|retry|remove`: which messages, and carried out by whom: the router
 * that runs on the spool, else by this process under the spool's lock.
 *
 * Main thread. */
#ifndef SLUICE_ROUTER_CLI_QUEUE_OPERATE_H
#define SLUICE_ROUTER_CLI_QUEUE_OPERATE_H

#include "router/queue_listing.h"
#include "router/queue_words.h"

struct queue_request {
    enum queue_operation operation;
    const char *const *ids; /* borrowed */
    size_t num_ids;
    const struct queue_selection *selection; /* instead of ids */
    bool all;                                /* instead of either */
    bool json;
};

/* Says on stderr what is missing or too much. */
bool queue_request_is_clear(const struct queue_request *request)
    __attribute__((warn_unused_result));
/* Prints a line for each message. Exit code. */
int queue_request_run(const struct config *config, const struct queue_request *request);

#endif
