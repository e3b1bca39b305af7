/* Look-ups of one name and type: from the cache, shared while in flight, or asked for.
 *
 * Here are the decisions about servers: the next one after SERVFAIL, REFUSED or silence, each up to
 * `tries` times, silent ones last; CNAMEs that a server does not follow itself; the limit of
 * questions in flight. The loop's thread only. */
#ifndef SLUICE_DNS_LOOKUP_H
#define SLUICE_DNS_LOOKUP_H

#include "dns/answer_cache.h"
#include "dns/transport.h"

struct lookups;

/* Embedded in whoever waits; must stay until on_found was called or lookups_free(). */
struct lookup_waiter {
    struct lookup_waiter *next;
    /* found is borrowed for the call. It may call lookups_find(). */
    void (*on_found)(struct lookup_waiter *self, const struct answer_found *found);
};

/* Read by any thread. */
struct lookup_counters {
    _Atomic uint64_t queries, hits, shared, failures, stale;
};

struct lookups *lookups_new(struct loop *loop, struct dns_transport *transport,
                            const struct answer_cache_options *cache, unsigned tries,
                            unsigned max_in_flight, struct lookup_counters *counters);
void lookups_free(struct lookups *lookups);
/* true: out is set (borrowed until the next call). false: waiter->on_found() follows, from
 * lookups_pump(). */
bool lookups_find(struct lookups *lookups, const char *name, uint16_t type,
                  struct lookup_waiter *waiter, struct answer_found *out)
    __attribute__((warn_unused_result));
/* Sends what may be sent and tells those who wait for what came. */
void lookups_pump(struct lookups *lookups);

#endif
