/* A hash table with least-recently-used order, keyed by SHA-256 digests: the index under the
 * session cache and under the memory of broken hosts.
 *
 * Intrusive: a node is embedded in what it finds, and is borrowed while it is in the table. It
 * allocates only in digest_lru_init() and digest_lru_table_new(), so that all else may run under a
 * mutex. One thread at a time. */
#ifndef SLUICE_TLS_DIGEST_LRU_H
#define SLUICE_TLS_DIGEST_LRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { DIGEST_LEN = 32 };

struct digest_lru_node {
    uint8_t digest[DIGEST_LEN];
    struct digest_lru_node *chain; /* the next in its bucket */
    struct digest_lru_node *newer, *older;
};

struct digest_lru {
    struct digest_lru_node **buckets; /* owned array of borrowed nodes */
    size_t mask;
    uint64_t seed[2]; /* a stranger who picks addresses cannot aim at one bucket */
    struct digest_lru_node *newest, *oldest;
    size_t num;
    size_t max; /* the owner makes room before it inserts */
};

void digest_lru_init(struct digest_lru *lru, size_t max);
/* Nodes that are still in it are forgotten; the owner frees them first. */
void digest_lru_fini(struct digest_lru *lru);
/* NULL when unknown. Does not change the order. */
struct digest_lru_node *digest_lru_find(struct digest_lru *lru, const uint8_t digest[DIGEST_LEN]);
/* As newest. node->digest is set and not yet in the table, and there is room (num < max). */
void digest_lru_insert(struct digest_lru *lru, struct digest_lru_node *node);
/* Makes it the newest. */
void digest_lru_touch(struct digest_lru *lru, struct digest_lru_node *node);
/* Buckets for another max. After digest_lru_rebuild() *table holds the old ones; the caller frees
 * table->buckets. At most max nodes are in it. O(nodes). */
struct digest_lru_table {
    struct digest_lru_node **buckets; /* owned array */
    size_t mask;
};
struct digest_lru_table digest_lru_table_new(size_t max);
void digest_lru_rebuild(struct digest_lru *lru, size_t max, struct digest_lru_table *table);
void digest_lru_remove(struct digest_lru *lru, struct digest_lru_node *node);
static inline bool digest_lru_is_full(const struct digest_lru *lru)
{
    return lru->num >= lru->max;
}

#endif
