/* The measured parts of the journal's bench: threads that append, one that commits. */
#ifndef SLUICE_BENCH_JOURNAL_MEASURE_H
#define SLUICE_BENCH_JOURNAL_MEASURE_H

#include "queue/journal.h"

/* An intent, an outcome and, but for every KEPT_ONE_IN-th message, its removal. */
enum { KEPT_ONE_IN = 1024 };

struct cost {
    double user_us, system_us; /* a message */
    double allocated;          /* octets a message asked of the allocator; < 0: not known */
};

/* One thread, nothing else going on: appends num messages with ids from first_id on. */
struct cost measure_cost(struct journal *journal, uint64_t first_id, unsigned num);

struct latency_options {
    unsigned num_threads;
    unsigned num_messages; /* of each thread */
    unsigned rate;         /* messages a second of each thread; 0: as fast as it goes */
    unsigned commit_ms;    /* between the end of a commit and the next; 0: one behind the other */
};

/* In nanoseconds, sorted. Appends (or baseline stores) during which the scheduler took the
 * processor away stand apart: how long those take is the machine's affair. */
struct latencies {
    uint32_t *ns; /* owned */
    size_t num;
    size_t num_preempted;
    uint32_t preempted_max_ns;
};

struct measured {
    struct latencies journal;
    struct latencies baseline; /* each append's twin, right before it: the same record made and
                                * stored in plain memory of the process. What takes long there is
                                * interrupts and other work of the machine */
    unsigned num_commits;
    uint32_t commit_max_us;
};

/* Appends from several threads while another one commits. */
void measure_latency(struct journal *journal, const struct latency_options *options,
                     uint64_t first_id, struct measured *out);
void measured_fini(struct measured *measured);

#endif
