/* The resolver: one thread, one loop, one c-ares channel per server; turns a domain into a route.
 *
 * Any thread posts a query with resolver_ask(); the answer comes back into the mailbox that the
 * query names, never by a call upward. Look-ups of one name and type in flight are shared; answers
 * live for their TTL between min_ttl and max_ttl (negative ones by the SOA, RFC 2308), in a bounded
 * cache. At most max_in_flight queries are outstanding towards the servers; the rest waits here. */
#ifndef SLUICE_DNS_RESOLVER_H
#define SLUICE_DNS_RESOLVER_H

#include "base/mailbox.h"
#include "dns/answer.h"

struct resolver;

struct resolver_options {
    const char *const *servers; /* borrowed: "127.0.0.1:53", "[::1]:53", address alone: port 53;
                                   none: resolv.conf */
    size_t num_servers;
    bool allow_local;
    bool trust_ad; /* AD counts also from servers that are not loopback */
    int64_t min_ttl_ms;
    int64_t max_ttl_ms;
    int64_t max_negative_ttl_ms;
    int64_t stale_ms;   /* keep using an expired answer that long while servers fail */
    int64_t timeout_ms; /* of one try */
    unsigned tries;     /* per server */
    unsigned max_in_flight;
    size_t cache_entries;
    unsigned max_hosts;   /* smtp.max_mx */
    const char *own_name; /* hostname: dropped from MX sets with everything not better (loop) */
    /* Own addresses are read from the interfaces (getifaddrs) at start and now and then. */
    bool ipv4;
    bool ipv6;
};

/* item.kind of an answered query for a route, and of one for records */
enum { RESOLVER_ANSWER = 100, RESOLVER_RECORDS = 102 };

struct route_query {
    struct mailbox_item item;
    struct mailbox *reply_to; /* borrowed */
    /* Exactly one of: */
    const char *domain; /* borrowed until answered: A-label, or "[192.0.2.1]" / "[IPv6:...]" */
    const struct next_hop
        *next_hop;       /* borrowed until answered; address checks do not apply to it */
    uint16_t port;       /* smtp.port, for what does not name its own */
    bool wants_tlsa;     /* also TLSA records of hosts that DNSSEC vouches for */
    struct route *route; /* the answer: one reference, owned by the asker; never NULL */
};

/* Records of one name and type, CNAMEs followed, as the servers have them: no address is refused.
 */
struct record_query {
    struct mailbox_item item;
    struct mailbox *reply_to; /* borrowed */
    const char *name;         /* borrowed until answered: A-labels */
    enum answer_type type;
    struct answer *answer; /* the answer: one reference, owned by the asker alone; never NULL */
    int64_t expires_ms;    /* monotonic: ask again after that */
};

struct resolver_counters {
    uint64_t queries;  /* sent to a server */
    uint64_t hits;     /* answered from the cache */
    uint64_t shared;   /* joined a look-up in flight */
    uint64_t failures; /* SERVFAIL, REFUSED, timeout, after all tries */
    uint64_t stale;    /* stale answers used */
};

/* NULL with a line in why (a server that cannot be parsed, no server at all ...). Starts the
 * thread. */
struct resolver *resolver_start(const struct resolver_options *options, char why[ROUTE_WHY_MAX])
    __attribute__((warn_unused_result));
/* Answers what is under way with ROUTE_DEFER, ends the thread, frees all. */
void resolver_stop(struct resolver *resolver);
void resolver_ask(struct resolver *resolver, struct route_query *query);
/* Any thread, as resolver_ask(). At resolver_stop() it is answered with ANSWER_FAILED. */
void resolver_ask_records(struct resolver *resolver, struct record_query *query);
void resolver_read_counters(struct resolver *resolver, struct resolver_counters *out);

#endif
