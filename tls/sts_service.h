/* MTA-STS (RFC 8461): which policy a recipient domain has. One thread with a loop of its own, which
 * asks the resolver for addresses and TXT records, fetches policies by HTTPS and keeps them.
 *
 * A thread of its own, because checking certificates and writing the file would hold up the
 * resolver's loop. Queries for one domain share what is under way. */
#ifndef SLUICE_TLS_STS_SERVICE_H
#define SLUICE_TLS_STS_SERVICE_H

#include "dns/resolver.h"
#include "tls/context.h"
#include "tls/sts_cache.h"

struct sts_service;

struct sts_service_options {
    struct resolver *resolver;   /* borrowed until sts_service_free() */
    struct tls_context *context; /* borrowed: the anchors for policy hosts */
    uint16_t port;               /* 443 but in tests */
    bool allow_local;            /* policy hosts may have addresses of this machine or link */
    bool ipv4, ipv6;
    int64_t timeout_ms; /* of one fetch, look-ups not counted */
    unsigned fetches;   /* at once; the rest waits */
    struct sts_cache_options cache;
    const char *file; /* borrowed: where policies are kept between runs; "" nowhere */
};

enum { STS_ANSWER = 110 }; /* item.kind of an answered query */

/* What DNS says of the record _mta-sts.DOMAIN. */
enum sts_lookup {
    STS_LOOKUP_NONE,    /* there is none */
    STS_LOOKUP_FAILED,  /* SERVFAIL, timeout: nobody knows */
    STS_LOOKUP_INVALID, /* not in form, or several: it counts as none (RFC 8461 3.1) */
    STS_LOOKUP_FOUND
};

struct sts_query {
    struct mailbox_item item;
    struct sts_query *next;
    struct mailbox *reply_to; /* borrowed */
    const char *domain;       /* borrowed until answered: A-labels in lower case */
    /* The answer: one reference, owned by the asker; NULL: the domain has none, or none can be
     * had. */
    struct sts_policy *policy;
    enum sts_lookup lookup;
    enum sts_failure failure; /* of the last fetch, when it came after the policy */
    char *why;                /* of failure: borrowed, room for STS_WHY_MAX; NULL: not wanted */
    int64_t expires_ms;       /* monotonic: ask again after that */
};
/* No policy, but whether the domain has one is not known for a reason that may pass. */
static inline bool sts_query_is_uncertain(const struct sts_query *answered)
{
    return !answered->policy &&
           (answered->lookup == STS_LOOKUP_FAILED ||
            (answered->lookup == STS_LOOKUP_FOUND && answered->failure == STS_FAILURE_FETCH));
}

struct sts_counters {
    uint64_t policies; /* kept now */
    uint64_t queries;
    uint64_t fetches;  /* begun */
    uint64_t failures; /* of those */
    uint64_t outlived; /* answered with a policy that could not be confirmed or renewed */
};

/* NULL with a line in why. */
struct sts_service *sts_service_start(const struct sts_service_options *options,
                                      char why[TLS_WHY_MAX]) __attribute__((warn_unused_result));
/* Ends the thread and writes the file. What was not answered is not, and nothing is posted any
 * more. */
void sts_service_stop(struct sts_service *service);
/* After resolver_stop(), which still answers what was asked. NULL allowed. */
void sts_service_free(struct sts_service *service);
/* Any thread. */
void sts_service_ask(struct sts_service *service, struct sts_query *query);
void sts_service_read_counters(struct sts_service *service, struct sts_counters *out);

#endif
