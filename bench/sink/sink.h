/* What all threads of the sink share: the listeners and what they remember, the store, the table of
 * messages seen. Made before the threads, freed after them. */
#ifndef SLUICE_BENCH_SINK_SINK_H
#define SLUICE_BENCH_SINK_SINK_H

#include "bench/sink/ledger.h"
#include "bench/sink/personality.h"
#include "bench/sink/store.h"
#include "bench/sink/tally.h"
#include "bench/sink/tls_server.h"

struct listener {
    const struct personality *personality; /* borrowed */
    struct tls_server *tls;                /* owned; NULL: no TLS */
    struct tally deferrals;                /* by recipient: for defer-first */
    _Atomic unsigned dots_to_drop;         /* final dots still to be answered by closing */
    _Atomic unsigned open_connections;
    _Atomic unsigned faults_due[FAULTS_MAX]; /* how often, by the personality's order */
};

struct sink {
    struct listener *listeners; /* owned */
    size_t num_listeners;
    struct store *store;   /* owned; NULL: messages are counted and forgotten */
    struct ledger *ledger; /* owned; NULL: none is kept */
    bool find_duplicates;
    struct tally seen; /* by message id and recipient */
    int64_t timeout_ms;
};

#endif
