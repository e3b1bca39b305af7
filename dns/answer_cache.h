/* Answers by name and type, for as long as they may be believed.
 *
 * Bounded in entries and octets; the least recently used goes first. TTLs are clamped; failures are
 * remembered for a moment, so that a dead server is not asked again by every message (RFC
 * 9520 3.2), and an expired answer stands in for them while it is not older than stale_ms (RFC
 * 8767). One thread; time is an argument. */
#ifndef SLUICE_DNS_ANSWER_CACHE_H
#define SLUICE_DNS_ANSWER_CACHE_H

#include "dns/answer.h"

enum { FAILURE_TTL_MS = 5000, CACHE_OCTETS_PER_ENTRY = 1024 };

struct answer_cache;

struct answer_cache_options {
    size_t entries; /* at least 1 is kept */
    int64_t min_ttl_ms;
    int64_t max_ttl_ms;
    int64_t max_negative_ttl_ms;
    int64_t stale_ms;
};

struct answer_cache *answer_cache_new(const struct answer_cache_options *options);
void answer_cache_free(struct answer_cache *cache);

/* false: the servers have to be asked. What is found is borrowed until the next call; take a
 * reference to keep it. */
bool answer_cache_find(struct answer_cache *cache, const char *name, uint16_t type, int64_t now_ms,
                       struct answer_found *out) __attribute__((warn_unused_result));
/* Remembers the answer, or, when it is a failure, that the servers failed. out: what to use now,
 * which for a failure may be a stale answer. Takes its own reference. */
void answer_cache_put(struct answer_cache *cache, const char *name, uint16_t type,
                      struct answer *answer, int64_t now_ms, struct answer_found *out);
size_t answer_cache_num_entries(const struct answer_cache *cache);

#endif
