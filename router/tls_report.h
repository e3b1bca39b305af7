/* What TLS reports (RFC 8460) are made of: for each day, recipient domain and policy, how many
 * sessions succeeded and how many failed in which way.
 *
 * Plain data, one thread. Bounded: further domains of a day, and further kinds of failure of a
 * policy, are only counted. Times are wall clock, days those of UTC. */
#ifndef SLUICE_ROUTER_TLS_REPORT_H
#define SLUICE_ROUTER_TLS_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum {
    TLS_REPORT_POLICIES_MAX = 100000, /* of a day */
    TLS_REPORT_DETAILS_MAX = 50,      /* of a policy */
    TLS_REPORT_DAY_LEN = 10,          /* "2026-11-24" */
    TLS_REPORT_DAY_S = 24 * 3600
};

enum tls_report_policy { TLS_REPORT_NO_POLICY, TLS_REPORT_TLSA, TLS_REPORT_STS };

/* One session, or a host that got none because of its policy. All borrowed for the call, "" for
 * what is not known; lists are separated by newlines. */
struct tls_report_session {
    const char *domain; /* of the recipients, as A-labels */
    enum tls_report_policy policy;
    const char *policy_text; /* TLSA records of the host, or the lines of the MTA-STS policy */
    const char *mx_patterns; /* of the MTA-STS policy */
    const char *mx;          /* the host */
    const char *address;     /* its address */
    const char *local;       /* ours */
    const char *result;      /* RFC 8460 4.3, static; NULL: success */
    const char *reason;      /* for people */
};

struct tls_report; /* a day */

void tls_report_day(int64_t wall_s, char out[TLS_REPORT_DAY_LEN + 1]);
/* Its midnight, seconds since the epoch. day: of the form. */
int64_t tls_report_day_begin_s(const char *day);
/* Whether text begins with something of that form. */
bool tls_report_begins_with_day(const char *text);

struct tls_report *tls_report_new(const char day[TLS_REPORT_DAY_LEN + 1])
    __attribute__((returns_nonnull));
void tls_report_free(struct tls_report *report); /* NULL allowed */
const char *tls_report_day_of(const struct tls_report *report);
void tls_report_add(struct tls_report *report, const struct tls_report_session *session);

/* The state of a day as text to be kept, and back. NULL when it is not that. */
char *tls_report_dump(const struct tls_report *report) __attribute__((returns_nonnull));
struct tls_report *tls_report_load(const char *text, size_t len);

struct tls_report_sender {
    const char *organization; /* borrowed */
    const char *contact;      /* borrowed; "": none */
    const char *hostname;     /* borrowed; makes report ids unique */
};
/* The id of a report: the same whenever it is made, so that who gets it twice can tell. The
 * caller's to free. */
char *tls_report_id(const char *day, const char *domain, const char *hostname)
    __attribute__((returns_nonnull));
/* The domain that a report is about; borrowed from it. */
const char *tls_report_domain(const json_t *report);
/* The reports of the day by RFC 8460 4, an array with one for each domain (of that one alone;
 * NULL: of all). The caller's to free. */
json_t *tls_report_make(const struct tls_report *report, const struct tls_report_sender *sender,
                        const char *domain);

#endif
