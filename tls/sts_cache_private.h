/* What sts_cache.c and sts_cache_file.c share. Private to this room. */
#ifndef SLUICE_TLS_STS_CACHE_PRIVATE_H
#define SLUICE_TLS_STS_CACHE_PRIVATE_H

#include "tls/digest_lru.h"
#include "tls/sts_cache.h"

struct sts_entry {
    struct digest_lru_node node; /* by SHA-256 of the domain */
    struct sts_policy *policy;   /* one reference; NULL: none was fetched, or it is over */
    int64_t fetched_s;
    enum sts_failure failure; /* of the last fetch; NONE: it went well, or there was none */
    int64_t failed_s;
    char failed_id[STS_ID_MAX + 1];
    char *why; /* owned; NULL: none */
    char domain[];
};

struct sts_cache {
    struct sts_cache_options options;
    struct digest_lru lru;
    size_t num_policies;
};

void sts_cache_clear(struct sts_cache *cache);
bool sts_entry_is_alive(const struct sts_entry *entry, int64_t now_s);

#endif
