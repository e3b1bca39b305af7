/* What the sink counts, per thread and listener, and its JSON.
 *
 * Each set of counters has one writing thread; any thread may read. */
#ifndef SLUICE_BENCH_SINK_STATS_H
#define SLUICE_BENCH_SINK_STATS_H

#include "base/bytes.h"

#include <stdatomic.h>

/* The names in JSON are in stats.c, in this order; --help says what each means. */
enum counter {
    COUNT_CONNECTIONS,
    COUNT_MESSAGES,
    COUNT_MESSAGES_PLAINTEXT,
    COUNT_MESSAGES_TLS_FULL,
    COUNT_MESSAGES_TLS_RESUMED,
    COUNT_RECIPIENTS,
    COUNT_OCTETS,
    COUNT_HANDSHAKES_FULL,
    COUNT_HANDSHAKES_RESUMED,
    COUNT_HANDSHAKES_FAILED,
    COUNT_PLAINTEXT_SESSIONS,
    COUNT_TICKETS_ISSUED,
    COUNT_DUPLICATES,
    COUNT_DEFERRED,
    COUNT_REJECTED,
    COUNT_UNANSWERED,
    COUNT_BAD_COMMANDS,
    COUNT_PIPELINING_VIOLATIONS,
    COUNT_FAULTS,
    COUNT_TURNED_AWAY,
    COUNT_NUM
};

struct counters {
    _Atomic uint64_t value[COUNT_NUM];
};

/* The one writer needs no locked instruction. */
static inline void counters_add(struct counters *counters, enum counter which, uint64_t num)
{
    uint64_t before = atomic_load_explicit(&counters->value[which], memory_order_relaxed);
    atomic_store_explicit(&counters->value[which], before + num, memory_order_relaxed);
}

struct stats_sum {
    uint64_t value[COUNT_NUM];
};
void stats_sum_add(struct stats_sum *sum, const struct counters *counters);
/* {"connections": 1, ...} without a line end. */
void stats_sum_print(const struct stats_sum *sum, struct buffer *out);

#endif
