/* The judgement of DNS answers: what they mean for the mail of a domain (RFC 5321 5.1, RFC 7505).
 *
 * Pure: no clock, no sockets, no random numbers of its own. Two steps, because the addresses to ask
 * for depend on the MX answer: route_plan() picks the hosts, route_build() makes the route. Either
 * may end in a verdict. docs/dns.md has the table. */
#ifndef SLUICE_DNS_ROUTE_BUILD_H
#define SLUICE_DNS_ROUTE_BUILD_H

#include "dns/answer.h"
#include "dns/domain_name.h"

struct route_rules {
    const char *own_name;                     /* borrowed; NULL or "": none */
    const struct host_address *own_addresses; /* borrowed: of this machine's interfaces */
    size_t num_own_addresses;
    bool allow_local;
    unsigned max_hosts; /* 1 to ROUTE_HOSTS_MAX */
};

struct route_target {
    const char *name;      /* domain or host; "[...]" for an address literal; borrowed */
    const char *site_name; /* borrowed; NULL: the best host's name */
    enum transport transport;
    uint16_t port;
    /* Configured by the operator: neither own names nor addresses are kept from it, and what would
     * bounce is deferred, because a slip of the configuration must not cost mail. */
    bool is_next_hop;
};

struct route_plan {
    struct route_plan_host {
        char name[DOMAIN_NAME_MAX + 1];
        uint16_t preference;
    } hosts[ROUTE_HOSTS_MAX]; /* by preference, then name; each once */
    size_t num_hosts;
    bool is_implicit; /* no MX: the domain itself is the host */
    bool is_cut;      /* hosts beyond max_hosts were left out */
    bool has_local;   /* a host was left out for being ours or this machine */
};

/* What was found for one host; answer NULL: that was not asked for. */
struct host_answers {
    struct answer_found a, aaaa;
    struct answer_found tlsa;       /* at the host's own name */
    struct answer_found tlsa_alias; /* at the end of its CNAMEs */
};

/* Random bits for the order among equals. */
struct route_random {
    uint32_t (*draw)(void *ctx);
    void *ctx;
};

/* mx NULL: no look-up of MX, the target is a host (a bracketed next hop). NULL: ask for the
 * addresses of plan->hosts. Else the final route, with one reference. */
struct route *route_plan(const struct route_target *target, const struct route_rules *rules,
                         const struct answer_found *mx, struct route_plan *plan)
    __attribute__((warn_unused_result));
/* Whether TLSA records of a host count (RFC 7672 2.2): every answer that led to it, addresses
 * included, was secure. Its A and AAAA answers must be in. */
bool route_host_wants_tlsa(const struct route_target *target, const struct answer_found *mx,
                           const struct host_answers *answers);
/* Where the host's CNAMEs lead; NULL: it is none. Borrowed from the answers. */
const char *route_host_alias(const struct host_answers *answers);
/* answers: one per host of the plan. */
struct route *route_build(const struct route_target *target, const struct route_rules *rules,
                          const struct answer_found *mx, const struct route_plan *plan,
                          const struct host_answers *answers, struct route_random random)
    __attribute__((warn_unused_result, returns_nonnull));
/* A next hop that is an address, or a domain "[192.0.2.1]", "[IPv6:2001:db8::1]". */
struct route *route_build_literal(const struct route_target *target,
                                  const struct route_rules *rules,
                                  const struct host_address *address)
    __attribute__((warn_unused_result, returns_nonnull));
/* A route without hosts. */
struct route *route_new_verdict(const struct route_target *target, enum route_verdict verdict,
                                uint16_t code, uint32_t enhanced, int64_t expires_ms,
                                const char *format, ...)
    __attribute__((format(printf, 6, 7), warn_unused_result, returns_nonnull));
/* 5.1.2 as one number, for the call above. */
#define ENHANCED(class, subject, detail)                                                           \
    ((uint32_t)(class) << 16 | (uint32_t)(subject) << 8 | (uint32_t)(detail))

#endif
