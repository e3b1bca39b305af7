/* What the sender of a message is told of its recipients, and when (RFC 3461, docs/dsn.md).
 *
 * A recipient that failed, that a warning is due for, or whose success only we can report, has an
 * action until report_mark() says that it was told. Passive but for report_compose(), which reads
 * the original from its file if it is not in memory: journal thread. */
#ifndef SLUICE_ROUTER_REPORT_H
#define SLUICE_ROUTER_REPORT_H

#include "queue/dsn.h"
#include "queue/message.h"
#include "router/config.h"

/* Whether its sender is to be told of recipient i now. The null sender never is. */
bool report_action(const struct message *message, size_t i, enum dsn_action *out);
bool report_is_due(const struct message *message);
/* When a message is so late that its sender is warned; INT64_MAX: never, or it was done. */
int64_t report_warn_wall_ms(const struct message *message, const struct config *config);
/* Writes the DSN for all recipients that have an action into out, which is initialised here, and
 * its event into message->event. False when there is none to be sent; what was due cannot be said
 * then, and the log says why. */
bool report_compose(struct message *message, const struct config *config, const struct spool *spool,
                    int64_t now_wall_ms, struct buffer *out) __attribute__((warn_unused_result));
/* All that report_action() named is told; failures that nobody asked to hear of are done with. With
 * the null sender nobody can be told: its bounced recipients stay so, and it ends in bad/. */
void report_mark(struct message *message);

#endif
