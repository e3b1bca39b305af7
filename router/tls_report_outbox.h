/* Sends TLS reports: a thread with a loop of its own, which takes up the days that are over, looks
 * for who wants their reports, and hands them over by HTTPS or through the spool.
 *
 * A thread of its own, because it writes files. What was sent and what is still to be tried is in
 * the ledgers beside the days' counts, so a restart sends nothing twice that was seen to be taken.
 */
#ifndef SLUICE_ROUTER_TLS_REPORT_OUTBOX_H
#define SLUICE_ROUTER_TLS_REPORT_OUTBOX_H

#include "dns/resolver.h"
#include "queue/spool.h"
#include "router/config.h"

enum { TLS_REPORT_SENDS_MAX = 8 /* at once */ };

struct tls_report_outbox;

/* All borrowed until tls_report_outbox_free(). NULL with a line in why. */
struct tls_report_outbox *tls_report_outbox_start(const struct config *config,
                                                  const struct spool *spool,
                                                  struct resolver *resolver, char why[TLS_WHY_MAX])
    __attribute__((warn_unused_result));
/* Ends the thread; what is under way is tried again by the next run. NULL allowed. */
void tls_report_outbox_stop(struct tls_report_outbox *outbox);
/* After resolver_stop(), which still answers what was asked. NULL allowed. */
void tls_report_outbox_free(struct tls_report_outbox *outbox);

#endif
