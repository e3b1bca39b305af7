/* The dialer: finds, among a route's hosts and addresses, a socket that connects.
 *
 * Embedded in a connection, driven by its worker's loop. Addresses of one host are raced, a new one
 * started each race_delay beside those that have not answered (RFC 8305); the next host begins
 * HOST_PATIENCE times as late, or at once when the addresses before it have failed. When RACERS are
 * under way and none answers, the one that has waited longest makes way for the next, as timed out,
 * once it has waited for PATIENCE_MS. So an address that does not answer never keeps the next from
 * its turn. What was started and lost the race counts as untried. */
#ifndef SLUICE_ROUTER_DIALER_H
#define SLUICE_ROUTER_DIALER_H

#include "base/check.h"
#include "base/loop.h"
#include "dns/route.h"
#include "router/config.h"

enum {
    DIALER_RACERS = 6,
    DIALER_PATIENCE_MS = 4000, /* a SYN and two more, after one second and after three */
    DIALER_HOST_PATIENCE = 10,
    DIALER_SESSIONS_MAX = 40
};

/* Position in a route. */
struct dialed {
    uint8_t host;
    uint8_t address;
};

struct dialer;
struct racer {
    struct dialer *dialer;
    struct loop_fd watch;
    int fd; /* owned; -1: free slot */
    struct dialed at;
    int64_t began_ms;
    struct timer timer;
};

struct dialer {
    struct loop *loop;              /* borrowed */
    const struct config *config;    /* borrowed */
    const struct route *route;      /* borrowed from the owner, which holds a reference */
    uint16_t used[ROUTE_HOSTS_MAX]; /* per host: bits of addresses that have had their turn */
    uint8_t preferred_family;       /* 4, 6 or 0: tried first within a host */
    unsigned num_sessions;          /* sockets handed out in this attempt */
    struct racer racers[DIALER_RACERS];
    struct timer next_timer;
    /* Exactly one is called per dialer_go(), unless dialer_stop() comes first. May be called from
     * within dialer_go(). */
    void (*on_connected)(struct dialer *dialer, int fd, struct dialed at); /* fd is the callee's */
    void (*on_exhausted)(struct dialer *dialer);
    /* An address failed; for the log and the final verdict. */
    void (*on_failed)(struct dialer *dialer, struct dialed at, int error);
};

void dialer_init(struct dialer *dialer, struct loop *loop, const struct config *config);
/* Forgets what was tried: a new attempt over this route. */
void dialer_reset(struct dialer *dialer, const struct route *route, uint8_t preferred_family);
/* Goes on to the next address that has not had its turn. */
void dialer_go(struct dialer *dialer);
/* The host gets no turn in this attempt. Before the first dialer_go(). */
void dialer_skip_host(struct dialer *dialer, size_t host);
/* This address has had its turn. */
void dialer_skip_address(struct dialer *dialer, struct dialed at);
/* This address gets another turn, at once (after a failed resumed handshake, or for plaintext). */
void dialer_redial(struct dialer *dialer, struct dialed at);
/* The socket handed out serves on in another route, whose owner holds a reference. */
void dialer_use_route(struct dialer *dialer, const struct route *route);
/* Closes what is under way. Idempotent. */
void dialer_stop(struct dialer *dialer);

static inline const struct route_host *dialed_host(const struct route *route, struct dialed at)
{
    CHECK(at.host < route->num_hosts);
    return &route->hosts[at.host];
}
static inline const struct host_address *dialed_address(const struct route *route, struct dialed at)
{
    const struct route_host *host = dialed_host(route, at);
    CHECK(at.address < host->num_addresses);
    return &host->addresses[at.address];
}

#endif
