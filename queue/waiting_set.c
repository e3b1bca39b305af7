/* Entries in an array, sorted by what is asked for.
 * It reads no folder: its users do. */
#include "queue/waiting_set.h"

#include "base/memory.h"

#include <stdlib.h>

void waiting_set_fini(struct waiting_set *set)
{
    for (size_t i = 0; i < set->num; i++)
        waiting_free(set->items[i]);
    free(set->items);
    *set = (struct waiting_set){0};
}

void waiting_set_add(struct waiting_set *set, struct waiting *waiting)
{
    if (set->num == set->cap) {
        set->cap = set->cap ? set->cap * 2 : 256;
        set->items = mem_realloc(set->items, set->cap, sizeof *set->items);
    }
    set->items[set->num++] = waiting;
}

void waiting_set_on_live(void *ctx, const struct journal_message *message)
{
    waiting_set_add(ctx, waiting_new(message));
}

static int by_inode(const void *a, const void *b)
{
    uint64_t x = (*(struct waiting *const *)a)->identity.ino;
    uint64_t y = (*(struct waiting *const *)b)->identity.ino;
    return (x > y) - (x < y);
}

void waiting_set_sort_by_inode(struct waiting_set *set)
{
    if (set->num)
        qsort(set->items, set->num, sizeof *set->items, by_inode);
}

/* Several files may have had one inode number, one after the other. */
static size_t first_of_inode(const struct waiting_set *set, uint64_t ino)
{
    size_t low = 0;
    size_t high = set->num;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (set->items[middle]->identity.ino < ino)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

bool waiting_set_knows_inode(const struct waiting_set *set, uint64_t ino)
{
    size_t at = first_of_inode(set, ino);
    return at < set->num && set->items[at]->identity.ino == ino;
}

struct waiting *waiting_set_find(const struct waiting_set *set,
                                 const struct file_identity *identity)
{
    size_t at = first_of_inode(set, identity->ino);
    for (; at < set->num && set->items[at]->identity.ino == identity->ino; at++)
        if (file_identity_equal(&set->items[at]->identity, identity))
            return set->items[at];
    return NULL;
}
