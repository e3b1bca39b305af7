/* Counts how often keys were seen: 64-bit hashes in a bounded open-addressed table.
 *
 * Shared by threads, with a lock inside. Two different things under one hash are taken for the
 * same: with a million keys the odds are one in ten millions. */
#ifndef SLUICE_BENCH_SINK_TALLY_H
#define SLUICE_BENCH_SINK_TALLY_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

enum { TALLY_FULL = UINT32_MAX };

struct tally_slot {
    uint64_t key; /* 0: free */
    uint32_t count;
};

struct tally {
    pthread_mutex_t lock;
    struct tally_slot *slots; /* owned */
    size_t num, cap, max;
};

/* max: keys remembered; what comes later is not. */
void tally_init(struct tally *tally, size_t max);
void tally_fini(struct tally *tally);
/* Counts key once more and returns how often it was there before; TALLY_FULL when there is no room
 * for a new one. */
uint32_t tally_add(struct tally *tally, uint64_t key);

#endif
