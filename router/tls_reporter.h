/* Gathers what TLS reports are made of, and keeps it: a file for each day, DAY.json in the spool's
 * folder tlsrpt/.
 *
 * A thread of its own, because it writes files; workers hand it their sessions through a mailbox
 * and wait for nothing. Trouble with the files is a line in the log, never more. Up to
 * TLS_REPORTER_WRITE_MS of sessions are lost with a crash. */
#ifndef SLUICE_ROUTER_TLS_REPORTER_H
#define SLUICE_ROUTER_TLS_REPORTER_H

#include "router/tls_report.h"

enum { TLS_REPORTER_WRITE_MS = 60 * 1000, TLS_REPORTER_WHY_MAX = 300 };

struct tls_reporter;

/* spool: borrowed for the call. keep_ms: older days are removed. NULL with a line in why. */
struct tls_reporter *tls_reporter_start(const char *spool, int64_t keep_ms,
                                        char why[TLS_REPORTER_WHY_MAX])
    __attribute__((warn_unused_result));
/* When nobody notes any more: writes the day and ends the thread. NULL allowed. */
void tls_reporter_stop(struct tls_reporter *reporter);
/* Any thread; copies. NULL allowed: nothing is counted. */
void tls_reporter_note(struct tls_reporter *reporter, const struct tls_report_session *session);

/* What is kept of a day, for who asks from outside. NULL with a line in why; why is empty when
 * there is nothing of that day. */
struct tls_report *tls_reporter_read(const char *spool, const char *day,
                                     char why[TLS_REPORTER_WHY_MAX])
    __attribute__((warn_unused_result));

#endif
