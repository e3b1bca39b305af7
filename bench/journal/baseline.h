/* The same stores without a file: what an append takes when no disk and no page cache has a say. */
#ifndef SLUICE_BENCH_JOURNAL_BASELINE_H
#define SLUICE_BENCH_JOURNAL_BASELINE_H

#include "queue/journal_format.h"

#include <stdatomic.h>

/* As much anonymous memory as a segment, all its pages present, used over and over. */
struct baseline {
    uint8_t *memory; /* owned */
    _Atomic uint64_t reserved;
};

void baseline_init(struct baseline *baseline);
void baseline_fini(struct baseline *baseline);
/* Encodes, reserves, sums and stores the record as the journal does. Any thread. */
void baseline_store(struct baseline *baseline, const struct journal_record *record);

#endif
