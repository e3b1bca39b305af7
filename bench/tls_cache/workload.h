/* Who is connected to, when, and how those servers treat TLS sessions: a description, and the
 * connections that follow from it.
 *
 * Everything follows from the options and the seed, so that each setting of the cache meets the
 * same connections. Plain data, one thread. Times are ms since the beginning. */
#ifndef SLUICE_BENCH_TLS_CACHE_WORKLOAD_H
#define SLUICE_BENCH_TLS_CACHE_WORKLOAD_H

#include "base/bytes.h"

/* What a destination's servers do. The names are in workload.c. */
enum server_kind {
    SERVER_SEVERAL,    /* several tickets after each handshake */
    SERVER_ONE,        /* one ticket after each handshake */
    SERVER_ONCE,       /* several, each taken once only */
    SERVER_NO_REISSUE, /* several after a full handshake, none after a resumed one */
    SERVER_SHORT,      /* several, of a short lifetime */
    SERVER_ROTATING,   /* several, whose key is forgotten at intervals */
    SERVER_SHARED,     /* several, on hosts that take each other's tickets */
    SERVER_UNSHARED,   /* several, on hosts that do not */
    SERVER_TLS12,      /* one session after a full handshake, to be used again and again */
    SERVER_NO_TICKETS,
    SERVER_KIND_NUM
};

struct server_behaviour {
    const char *name;
    bool is_tls12;
    bool is_balanced;       /* has all of the hosts and addresses of the options */
    bool shares_keys;       /* ... which take each other's tickets */
    bool one_ticket;        /* else as many as the options say */
    bool no_reissue;        /* none after a resumed handshake */
    bool takes_once;        /* a full handshake when a ticket comes again */
    bool no_tickets;        /* none at all */
    bool is_short, rotates; /* by the options' short_lifetime_s and rotation */
};
const struct server_behaviour *server_behaviour_of(enum server_kind kind);

struct workload_options {
    size_t destinations;
    double zipf;    /* popularity of the Kth is 1 / K^zipf; 0: all the same */
    double rate;    /* connections a second, on average */
    unsigned burst; /* that begin at the same time at a destination */
    int64_t duration_ms;
    double mix[SERVER_KIND_NUM]; /* shares of the destinations, of any sum */
    unsigned hosts, addresses;   /* MX hosts of a balanced destination, addresses of each */
    unsigned route_s; /* for so long a destination's mail goes to the same of its machines, as
                         with one domain's route; 0: each connection to any of them */
    bool own_names;   /* each machine says another name in EHLO; else that of its host */
    unsigned tickets;
    unsigned lifetime_s, short_lifetime_s;
    unsigned rotation_s;   /* a rotating server's key lives so long; 0: does not go by time */
    unsigned rotate_after; /* ... and so many handshakes; 0: does not go by them */
    uint64_t seed;
    const char *arrivals; /* a file with a line "MS DESTINATION" for each connection, in order,
                             instead of rate, zipf, burst and duration; NULL: none */
};

struct arrival {
    int64_t at_ms;
    uint32_t destination;
};

struct workload;
/* options are borrowed as long as the workload lives. NULL with errno set: the file of arrivals
 * cannot be opened. A line of it that makes no sense ends the program when it is met. */
struct workload *workload_new(const struct workload_options *options)
    __attribute__((warn_unused_result));
void workload_free(struct workload *workload);
/* false: there is no further connection. */
bool workload_next(struct workload *workload, struct arrival *out);
/* Kinds are dealt out over the ranks of popularity, so that each has its share of the popular. */
enum server_kind workload_kind(const struct workload *workload, uint32_t destination);
/* Which of a destination's machines: its host, counted from 0, times addresses, and the address. */
uint32_t workload_machine(struct workload *workload, const struct arrival *arrival);

#endif
