/* The session cache of the router under a workload, with servers that are only imagined: which
 * handshakes would have been resumed.
 *
 * The cache is the real one, tls/session_cache.c, with a clock that it is told. The sessions in it
 * are copies of real ones, of their size, in whose tickets stands what the imagined server has to
 * know: who made it, and with which key. One thread. */
#ifndef SLUICE_BENCH_TLS_CACHE_MODEL_H
#define SLUICE_BENCH_TLS_CACHE_MODEL_H

#include "bench/tls_cache/workload.h"
#include "tls/session_cache.h"

struct model_options {
    struct session_cache_options cache;
    struct session_limits limits;
    enum session_scope scope;
    int64_t handshake_ms; /* from when a session is looked up until the new tickets have come */
    struct bytes session_1_3, session_1_2; /* borrowed: SSL_SESSION_to_bytes() of real ones */
};

struct model_tally {
    uint64_t connections, resumed, full, refused; /* refused: a session was offered, in vain */
};
struct model_result {
    struct model_tally kinds[SERVER_KIND_NUM];
    struct session_cache_counters counters;        /* at the end */
    uint64_t bytes_max, entries_max, sessions_max; /* looked at now and then */
};

/* false: a session is not one that SSL_SESSION_to_bytes() made. */
bool model_run(const struct workload_options *workload, const struct model_options *options,
               struct model_result *out) __attribute__((warn_unused_result));

#endif
