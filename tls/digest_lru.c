/* The table and the order of digest_lru.h: chained buckets and a doubly linked list.
 * It does not lock, count or free nodes: its owners do. */
#include "tls/digest_lru.h"

#include "base/check.h"
#include "base/memory.h"

#include <openssl/rand.h>
#include <openssl/siphash.h>
#include <string.h>

static struct digest_lru_node **bucket_of(struct digest_lru *lru, const uint8_t digest[DIGEST_LEN]);
static void link_newest(struct digest_lru *lru, struct digest_lru_node *node);
static void unlink_node(struct digest_lru *lru, struct digest_lru_node *node);

struct digest_lru_table digest_lru_table_new(size_t max)
{
    size_t num_buckets = 1;
    while (num_buckets < max)
        num_buckets *= 2;
    /* Zeroed memory that is never touched costs nothing, so the table never has to grow. */
    return (struct digest_lru_table){mem_zalloc(num_buckets, sizeof(struct digest_lru_node *)),
                                     num_buckets - 1};
}

void digest_lru_init(struct digest_lru *lru, size_t max)
{
    struct digest_lru_table table = digest_lru_table_new(max);
    *lru = (struct digest_lru){.buckets = table.buckets, .mask = table.mask, .max = max};
    RAND_bytes((uint8_t *)lru->seed, sizeof lru->seed);
}

void digest_lru_rebuild(struct digest_lru *lru, size_t max, struct digest_lru_table *table)
{
    struct digest_lru_table old = {lru->buckets, lru->mask};
    CHECK(lru->num <= max);
    lru->buckets = table->buckets;
    lru->mask = table->mask;
    lru->max = max;
    for (struct digest_lru_node *node = lru->newest; node; node = node->older) {
        struct digest_lru_node **bucket = bucket_of(lru, node->digest);
        node->chain = *bucket;
        *bucket = node;
    }
    *table = old;
}

void digest_lru_fini(struct digest_lru *lru)
{
    free(lru->buckets);
    *lru = (struct digest_lru){0};
}

struct digest_lru_node *digest_lru_find(struct digest_lru *lru, const uint8_t digest[DIGEST_LEN])
{
    struct digest_lru_node *node = *bucket_of(lru, digest);
    while (node && memcmp(node->digest, digest, DIGEST_LEN) != 0)
        node = node->chain;
    return node;
}

void digest_lru_insert(struct digest_lru *lru, struct digest_lru_node *node)
{
    CHECK(lru->num < lru->max);
    struct digest_lru_node **bucket = bucket_of(lru, node->digest);
    node->chain = *bucket;
    *bucket = node;
    link_newest(lru, node);
    lru->num++;
}

void digest_lru_touch(struct digest_lru *lru, struct digest_lru_node *node)
{
    if (lru->newest == node)
        return;
    unlink_node(lru, node);
    link_newest(lru, node);
}

void digest_lru_remove(struct digest_lru *lru, struct digest_lru_node *node)
{
    struct digest_lru_node **at = bucket_of(lru, node->digest);
    while (*at != node) {
        CHECK(*at);
        at = &(*at)->chain;
    }
    *at = node->chain;
    unlink_node(lru, node);
    lru->num--;
}

static struct digest_lru_node **bucket_of(struct digest_lru *lru, const uint8_t digest[DIGEST_LEN])
{
    return &lru->buckets[SIPHASH_24(lru->seed, digest, DIGEST_LEN) & lru->mask];
}

static void link_newest(struct digest_lru *lru, struct digest_lru_node *node)
{
    node->newer = NULL;
    node->older = lru->newest;
    if (lru->newest)
        lru->newest->newer = node;
    else
        lru->oldest = node;
    lru->newest = node;
}

static void unlink_node(struct digest_lru *lru, struct digest_lru_node *node)
{
    if (node->newer)
        node->newer->older = node->older;
    else
        lru->newest = node->older;
    if (node->older)
        node->older->newer = node->newer;
    else
        lru->oldest = node->newer;
}
