/* What the journal thread remembers of each live id: which of its records still count, and how much
 * room they take. Private to the journal. One thread.
 *
 * Open addressing, 20 octets an entry, at most 7/8 full: 23 to 46 octets an id. */
#ifndef SLUICE_QUEUE_JOURNAL_MAP_H
#define SLUICE_QUEUE_JOURNAL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Five 32-bit halves instead of 64-bit numbers, so that an array of them has no padding. */
struct journal_map_entry {
    uint32_t id_low, id_high;     /* id 0 is never given out: an empty slot */
    uint32_t base_low, base_high; /* order of the newest `deferred`; 0: none yet */
    uint32_t live_words;          /* octets / 8 of the base and of what came after it */
};

struct journal_map {
    struct journal_map_entry *slots; /* owned */
    size_t cap;                      /* 0 or a power of two */
    size_t num;
    uint64_t live_len; /* octets of all records that count */
};

void journal_map_fini(struct journal_map *map);
/* A record that is not a copy was stored at `order`. deferred: it replaces all earlier ones. */
void journal_map_add(struct journal_map *map, uint64_t id, uint64_t order, size_t len,
                     bool deferred);
void journal_map_remove(struct journal_map *map, uint64_t id);
bool journal_map_has(const struct journal_map *map, uint64_t id);
/* Whether a record of id, first stored at `order`, is still needed. */
bool journal_map_is_live(const struct journal_map *map, uint64_t id, uint64_t order);

#endif
