/* The delivery log: one JSON object a line, for each recipient and attempt. docs/log.md names the
 * fields; they are a contract with other programs.
 *
 * Pure: formats into the caller's buffer, in the caller's thread. */
#ifndef SLUICE_ROUTER_DELIVERY_LOG_H
#define SLUICE_ROUTER_DELIVERY_LOG_H

#include "router/delivery.h"

/* recipient: index in delivery->recipients. next_wall_ms: when a deferred recipient is tried again;
 * 0: not known. Appends nothing for a recipient that was not tried (OUTCOME_NONE, RETURNED). */
void delivery_log_append(const struct delivery *delivery, uint32_t recipient, const char *site_name,
                         int64_t wall_us, int64_t next_wall_ms, struct buffer *out);

#endif
