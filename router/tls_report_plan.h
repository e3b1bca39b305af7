/* When which TLS report is sent, and what an attempt leads to (RFC 8460 4.1, 5.5).
 *
 * Passive: one thread, the wall clock is an argument. A report is due at an instant after its day
 * that looks random and is the same after a restart. One that nobody took is tried again, with
 * waits that double, for a day from the first attempt. */
#ifndef SLUICE_ROUTER_TLS_REPORT_PLAN_H
#define SLUICE_ROUTER_TLS_REPORT_PLAN_H

#include "base/timer.h"
#include "router/tls_report_ledger.h"

enum {
    TLS_REPORT_LATE_DAYS = 3, /* a day that is longer over is not reported any more */
    TLS_REPORT_RETRY_MAX_MS = 4 * 3600 * 1000,
    TLS_REPORT_GIVE_UP_MS = 24 * 3600 * 1000,
    /* Until the counts of a day are in its file for sure. */
    TLS_REPORT_SETTLE_MS = 2 * 60 * 1000
};

struct tls_report_plan {
    const char *hostname; /* borrowed */
    int64_t delay_ms;     /* reports of a day are spread over it */
    int64_t retry_ms;     /* the first wait */
    struct timer_queue due;
    struct tls_report_entry *first; /* owned list: those that are not done with */
    void (*on_due)(void *ctx, struct tls_report_entry *entry, int64_t now_wall_ms);
    void *ctx;
};

struct tls_report_entry {
    struct tls_report_plan *plan;
    struct tls_report_entry *next, **link;
    struct timer timer; /* while it waits; instants of the wall clock */
    char day[TLS_REPORT_DAY_LEN + 1];
    char *domain; /* owned */
    char *report; /* owned: JSON */
    unsigned attempts;
    int64_t first_wall_ms; /* 0: no attempt yet */
};

/* What an attempt came to. */
enum tls_report_result {
    TLS_REPORT_TAKEN,
    TLS_REPORT_REFUSED,  /* by who should take it, or nobody was there: another attempt */
    TLS_REPORT_HOPELESS, /* no attempt can be any better */
    TLS_REPORT_UNASKED   /* nobody wants it */
};

/* hostname, delay_ms, retry_ms, on_due and ctx are set by the caller before. */
void tls_report_plan_init(struct tls_report_plan *plan);
void tls_report_plan_fini(struct tls_report_plan *plan);
/* When the report of a day is due for the first time. */
int64_t tls_report_plan_due_ms(const struct tls_report_plan *plan, const char *day,
                               const char *domain);
/* A report that is to be sent; last: its last step in the ledger, NULL: none. report: JSON, taken
 * over. Nothing happens when it is done with. */
void tls_report_plan_add(struct tls_report_plan *plan, const char *day, const char *domain,
                         char *report, const struct tls_report_step *last);
/* Calls on_due for what is due, for `most` at most; each of them is then ended once. */
void tls_report_plan_run(struct tls_report_plan *plan, int64_t now_wall_ms, size_t most);
/* INT64_MAX: nothing waits. */
int64_t tls_report_plan_next_ms(const struct tls_report_plan *plan);
/* The step that an attempt's result makes, for the ledger; endpoint and why are the caller's to
 * add. The entry is gone unless it is TLS_REPORT_RETRY: step->domain is borrowed from it until
 * tls_report_plan_settle(). */
void tls_report_plan_ended(struct tls_report_entry *entry, enum tls_report_result result,
                           int64_t now_wall_ms, struct tls_report_step *out);
void tls_report_plan_settle(struct tls_report_entry *entry, const struct tls_report_step *step);

#endif
