/* Questions to DNS servers over c-ares: one channel per server, all on one loop.
 *
 * One channel each, because with ARES_FLAG_NOCHECKRESP (which is what tells SERVFAIL from a dead
 * server) c-ares no longer goes on to the next server by itself: the caller does, and so it has to
 * name the server. c-ares still sends again over TCP what came back truncated.
 * The loop's thread only. Finished questions are collected and handed out by
 * dns_transport_take(), never called back, because c-ares may finish one inside the send. */
#ifndef SLUICE_DNS_TRANSPORT_H
#define SLUICE_DNS_TRANSPORT_H

#include "base/loop.h"
#include "dns/answer.h"

#include <stdatomic.h>

enum { DNS_SERVERS_MAX = 16, DNS_EDNS_PAYLOAD = 1232, DNS_PORT = 53 };

struct dns_transport;

struct dns_transport_options {
    const char *const *servers; /* borrowed during the call; none: resolv.conf */
    size_t num_servers;
    bool trust_ad; /* else AD counts only when every server is a loopback address */
    int64_t timeout_ms;
};

/* Owned by the caller; must stay until it was taken. */
struct dns_question {
    struct dns_question *next;
    struct dns_transport *transport;
    unsigned server;
    uint16_t type;
    const char *name;      /* borrowed: A-label, lower case */
    struct answer *answer; /* once taken: one reference; rcode 0 with FAILED: no answer came */
};

/* NULL with a line in why. */
struct dns_transport *dns_transport_new(struct loop *loop,
                                        const struct dns_transport_options *options,
                                        char why[ROUTE_WHY_MAX])
    __attribute__((warn_unused_result));
/* Questions that were not taken are forgotten. */
void dns_transport_free(struct dns_transport *transport);
unsigned dns_transport_num_servers(const struct dns_transport *transport);
/* A server that keeps silent is better asked after the others, for a while. */
bool dns_transport_is_resting(const struct dns_transport *transport, unsigned server);
void dns_transport_send(struct dns_transport *transport, struct dns_question *question);
/* The next finished one, or NULL. */
struct dns_question *dns_transport_take(struct dns_transport *transport);
/* Before the loop sleeps: sets the timer to what c-ares waits for. */
void dns_transport_arm(struct dns_transport *transport);

#endif
