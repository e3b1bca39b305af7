/* The MTA-STS policies that were fetched, and which fetches failed (RFC 8461 3.3, 5.1, 10.2).
 *
 * Passive: one thread, time is an argument (seconds since 1970, because policies outlive a
 * process). Bounded in domains, the least recently used goes first. */
#ifndef SLUICE_TLS_STS_CACHE_H
#define SLUICE_TLS_STS_CACHE_H

#include "tls/sts_policy.h"

struct sts_cache;

struct sts_cache_options {
    size_t entries;  /* domains; at least 1 is kept */
    int64_t retry_s; /* how long an edition that could not be fetched is not asked for again */
};

/* By the names of RFC 8460 4.3. */
enum sts_failure {
    STS_FAILURE_NONE,
    STS_FAILURE_FETCH,   /* no address, no connection, too slow, a status but 200 */
    STS_FAILURE_INVALID, /* no policy in it */
    STS_FAILURE_WEBPKI   /* the policy host's certificate */
};
const char *sts_failure_name(enum sts_failure failure); /* "none", "sts-policy-fetch-error" ... */

enum sts_advice {
    STS_USE,     /* what was found, be it nothing */
    STS_REFRESH, /* what was found, and fetch it anew meanwhile */
    STS_FETCH /* the domain has published another edition; what was found is good if that fails */
};

struct sts_found {
    struct sts_policy *policy; /* borrowed; NULL: none that is alive */
    int64_t expires_s;         /* of the policy */
    enum sts_failure failure;  /* of the last fetch, when it came after the policy */
    const char *why;           /* of failure; borrowed; "" none */
};

struct sts_cache *sts_cache_new(const struct sts_cache_options *options)
    __attribute__((returns_nonnull));
void sts_cache_free(struct sts_cache *cache);

/* id: of the domain's TXT record; NULL: it has none that is valid, or the look-up failed, which a
 * policy that is still alive outlasts (RFC 8461 5.1). What is found is borrowed until the next call
 * that is given the cache. */
enum sts_advice sts_cache_find(struct sts_cache *cache, const char *domain, const char *id,
                               int64_t now_s, struct sts_found *out);
/* Policies that should be renewed although no mail asks for them: those for which sts_cache_find()
 * would say STS_REFRESH, but for the short-lived, which are not worth a fetch that nobody waits
 * for, and those whose last fetch has just failed. At most max of them, the least recently used
 * first; on_domain must not call the cache. Looks at every domain. */
void sts_cache_each_due(const struct sts_cache *cache, int64_t now_s, size_t max,
                        void (*on_domain)(void *ctx, const char *domain), void *ctx);
/* Takes its own reference. */
void sts_cache_put(struct sts_cache *cache, const char *domain, struct sts_policy *policy,
                   int64_t now_s);
/* A fetch of that edition failed. What is there of an older one stays. */
void sts_cache_failed(struct sts_cache *cache, const char *domain, const char *id,
                      enum sts_failure failure, const char *why, int64_t now_s);
size_t sts_cache_num_entries(const struct sts_cache *cache);
/* Of these, those with a policy; one that is over counts until somebody asks for it. */
size_t sts_cache_num_policies(const struct sts_cache *cache);

/* What is kept between runs: the policies that are alive, as lines of text behind a version and
 * before a checksum. */
void sts_cache_write(const struct sts_cache *cache, int64_t now_s, struct buffer *out);
/* Into an empty cache. false: not what sts_cache_write() wrote, and nothing was read. */
bool sts_cache_read(struct sts_cache *cache, struct bytes text, int64_t now_s)
    __attribute__((warn_unused_result));

#endif
