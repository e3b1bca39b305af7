/* A route: what a recipient domain resolves to. Immutable once made, counted, read by any thread.
 *
 * Made by route_build.c, which is pure: it orders hosts and judges answers (RFC 5321 5.1, RFC 7505,
 * the table in docs/dns.md); the resolver asks and feeds it. */
#ifndef SLUICE_DNS_ROUTE_H
#define SLUICE_DNS_ROUTE_H

#include "base/bytes.h"
#include "dns/tlsa.h"

#include <stdatomic.h>
#include <sys/socket.h>

enum { ROUTE_WHY_MAX = 200, ROUTE_HOSTS_MAX = 32, ROUTE_ADDRESSES_MAX = 16 };

enum transport { TRANSPORT_SMTP, TRANSPORT_LMTP };

struct host_address {
    uint8_t family;     /* 4 or 6 */
    uint8_t octets[16]; /* network order; IPv4 uses the first 4 */
};

struct route_host {
    const char *name; /* lower case A-label MX host, or "192.0.2.1" / "2001:db8::1" for a literal */
    uint16_t preference;
    bool is_literal; /* no SNI, no name to verify */
    bool secure;     /* MX (if any) and this host's addresses had AD from a trusted resolver */
    uint8_t
        num_addresses; /* at least 1; families interleaved for racing, IPv6 first (RFC 8305 4) */
    const struct host_address *addresses;
    struct tlsa_set tlsa; /* part of the route */
};

enum route_verdict {
    ROUTE_OK,
    ROUTE_BOUNCE, /* permanent: code, enhanced and why say what */
    ROUTE_DEFER   /* temporary: SERVFAIL, timeout ... */
};

struct route {
    _Atomic uint32_t refs;
    enum route_verdict verdict;
    uint16_t code;       /* bounce: 550 or 556; else 0 */
    uint8_t enhanced[3]; /* 5.1.2, 5.1.10, 5.4.4, 5.4.6, 4.4.3 ... */
    char why[ROUTE_WHY_MAX];
    enum transport transport;
    uint16_t port;
    bool secure;   /* all answers that led here had AD from a trusted resolver */
    bool is_stale; /* an older route kept over a failing resolver */
    size_t num_hosts;
    const struct route_host *hosts; /* in order of use: equal preferences shuffled */
    /* Equal for all domains that share MX hosts at the same preferences, transport and port: part
     * of the site's key. */
    const char *host_set;
    const char *site_name; /* for people: the best MX host's name, or the next hop as configured */
    int64_t expires_ms;    /* monotonic: ask again after that */
};

/* Both by any thread. */
struct route *route_ref(struct route *route);
void route_unref(struct route *route); /* NULL allowed */

/* "192.0.2.1" or "2001:db8::1"; out of INET6_ADDRSTRLEN. */
void host_address_format(const struct host_address *address, char out[46]);
bool host_address_parse(struct bytes text, struct host_address *out)
    __attribute__((warn_unused_result));
void host_address_to_sockaddr(const struct host_address *address, uint16_t port,
                              struct sockaddr_storage *out, socklen_t *out_len);
/* 0.0.0.0/8, 127/8, ::, ::1, multicast, broadcast, link-local, v4-mapped forms of those: never a
 * mail host unless dns.allow_local. */
bool host_address_is_local(const struct host_address *address);
bool host_address_is_loopback(const struct host_address *address); /* 127/8, ::1 */
/* An IPv4 address and its v4-mapped form are equal. */
bool host_address_equal(const struct host_address *a, const struct host_address *b);
/* "[192.0.2.1]", "[IPv6:2001:db8::1]" (RFC 5321 4.1.3), and "[2001:db8::1]". */
bool host_address_parse_literal(struct bytes text, struct host_address *out)
    __attribute__((warn_unused_result));
/* false for another family. */
bool host_address_from_sockaddr(const struct sockaddr *from, struct host_address *out)
    __attribute__((warn_unused_result));

/* next_hop of the configuration:
 *   "relay.example.com[:port]"   its MX hosts        "[relay.example.com][:port]"  its addresses,
 * no MX
 *   "[192.0.2.1][:port]" "[2001:db8::1][:port]" (also "[IPv6:2001:db8::1]")   each may have "lmtp:"
 * or "smtp:" before it */
struct next_hop {
    enum transport transport;
    bool is_bracketed; /* no MX look-up */
    bool is_literal;   /* address is valid */
    struct host_address address;
    char *host;    /* owned; A-label lower case name, or the literal's canonical text */
    uint16_t port; /* 0: the configured smtp.port (LMTP: 24) */
    char *text;    /* owned: as configured */
};
bool next_hop_parse(const char *text, struct next_hop *out, const char **out_why)
    __attribute__((warn_unused_result));
void next_hop_fini(struct next_hop *next_hop);

#endif
