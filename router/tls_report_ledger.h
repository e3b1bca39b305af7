/* What became of a day's TLS reports: one line of JSON for each step, the last one of a domain
 * counts. Beside the day's counts, as DAY.sent in the spool's folder tlsrpt/.
 *
 * Appended to by the thread that sends; read by it at the start, and by who asks from outside. */
#ifndef SLUICE_ROUTER_TLS_REPORT_LEDGER_H
#define SLUICE_ROUTER_TLS_REPORT_LEDGER_H

#include "router/tls_report.h"

enum { TLS_REPORT_LEDGER_WHY_MAX = 300 };
#define TLS_REPORT_LEDGER_SUFFIX ".sent"

enum tls_report_state {
    TLS_REPORT_WAITING,   /* not begun: there is no line of it */
    TLS_REPORT_RETRY,     /* nobody took it; it is tried again */
    TLS_REPORT_SENT,      /* an endpoint took it, or the spool for one */
    TLS_REPORT_FAILED,    /* given up */
    TLS_REPORT_NOT_WANTED /* the domain does not say that it wants any, or nowhere that we can
                             reach */
};
const char *tls_report_state_name(enum tls_report_state state);

/* Texts are borrowed for the call. */
struct tls_report_step {
    const char *domain;
    enum tls_report_state state;
    unsigned attempts;
    int64_t wall_ms;       /* when it was taken */
    int64_t first_wall_ms; /* of the first attempt */
    int64_t next_wall_ms;  /* TLS_REPORT_RETRY */
    const char *endpoint;  /* URI; "" none */
    const char *why;       /* for people; "" */
};

/* spool: its path. sync: it has to survive a power cut. false with a line in why. */
bool tls_report_ledger_append(const char *spool, const char *day,
                              const struct tls_report_step *step, bool sync,
                              char why[TLS_REPORT_LEDGER_WHY_MAX])
    __attribute__((warn_unused_result));
/* on_step for each line in order; half a line, as a crash leaves it, is none. false with a line in
 * why: it cannot be read. A day without a file has no steps. */
bool tls_report_ledger_read(const char *spool, const char *day,
                            void (*on_step)(void *ctx, const struct tls_report_step *step),
                            void *ctx, char why[TLS_REPORT_LEDGER_WHY_MAX])
    __attribute__((warn_unused_result));

#endif
