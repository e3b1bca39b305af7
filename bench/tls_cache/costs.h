/* What handshakes cost this machine: SMTP connections with STARTTLS to a receiver, by the router's
 * own tls/channel.c and tls/session_cache.c. One thread, which waits. */
#ifndef SLUICE_BENCH_TLS_CACHE_COSTS_H
#define SLUICE_BENCH_TLS_CACHE_COSTS_H

#include "base/bytes.h"

#include <netinet/in.h>

enum { COSTS_WHY_MAX = 300 };

struct handshake_costs {
    unsigned num; /* such handshakes; 0: there were none, and the rest is 0 */
    /* The thread's CPU, medians: of the handshake alone, which is what `sluice tls-cache` counts,
     * and from its beginning until the reply to EHLO has come, and with it the tickets. */
    double handshake_us, with_tickets_us;
};
struct costs {
    struct handshake_costs full, resumed, refused; /* refused: a session was offered, in vain */
    struct {
        uint64_t one, two; /* octets of a destination with so many sessions, as the cache counts */
    } destination_len;
    struct buffer session; /* SSL_SESSION_to_bytes() of one that the server gave; the caller's */
};

/* num handshakes without a session, and as many that offer one when there is one, in turns. false
 * with a line in why. */
bool costs_measure(const struct sockaddr_in *server, unsigned num, struct costs *out,
                   char why[COSTS_WHY_MAX]) __attribute__((warn_unused_result));

#endif
