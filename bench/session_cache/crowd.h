/* Threads that do what workers do to one session cache: look up, report, store; as fast as they
 * can, or with work in between as a handshake has it. Counts what it costs and how often a lock was
 * not free: wall time would say nothing where there are fewer cores than threads. */
#ifndef SLUICE_BENCH_SESSION_CACHE_CROWD_H
#define SLUICE_BENCH_SESSION_CACHE_CROWD_H

#include "tls/session_cache.h"

enum { CROWD_THREADS_MAX = 256 };

struct crowd_options {
    unsigned threads, stripes;
    uint64_t rounds;     /* of all threads together: a look-up, a report, a session stored */
    size_t destinations; /* by Zipf's law */
    size_t entries;
    double zipf;
    unsigned between_us; /* of CPU that a thread spends elsewhere after each round */
};
struct crowd_result {
    uint64_t rounds;
    double cpu_us;   /* of all threads, without what they spent elsewhere */
    uint64_t locks;  /* mutexes taken */
    uint64_t waits;  /* ... that another thread held */
    uint64_t sleeps; /* voluntary context switches, which is when waiting took long */
    struct session_cache_counters counters;
};

void crowd_run(const struct crowd_options *options, struct crowd_result *out);

#endif
