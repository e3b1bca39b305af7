/* A hash table of counters that only grows, up to a limit.
 * It does not keep the keys themselves, only their hashes. */
#include "bench/sink/tally.h"

#include "base/memory.h"

enum { FIRST_CAP = 1024 };

void tally_init(struct tally *tally, size_t max)
{
    *tally = (struct tally){.max = max, .cap = FIRST_CAP};
    pthread_mutex_init(&tally->lock, NULL);
    tally->slots = mem_zalloc(tally->cap, sizeof *tally->slots);
}

void tally_fini(struct tally *tally)
{
    free(tally->slots);
    pthread_mutex_destroy(&tally->lock);
    *tally = (struct tally){0};
}

static struct tally_slot *find(struct tally_slot *slots, size_t cap, uint64_t key)
{
    size_t i = (size_t)key & (cap - 1);
    while (slots[i].key && slots[i].key != key)
        i = (i + 1) & (cap - 1);
    return &slots[i];
}

static void grow(struct tally *tally)
{
    size_t cap = tally->cap * 2;
    struct tally_slot *slots = mem_zalloc(cap, sizeof *slots);
    for (size_t i = 0; i < tally->cap; i++) {
        if (tally->slots[i].key)
            *find(slots, cap, tally->slots[i].key) = tally->slots[i];
    }
    free(tally->slots);
    tally->slots = slots;
    tally->cap = cap;
}

static uint32_t add_locked(struct tally *tally, uint64_t key)
{
    struct tally_slot *slot = find(tally->slots, tally->cap, key);
    if (!slot->key) {
        if (tally->num == tally->max)
            return TALLY_FULL;
        *slot = (struct tally_slot){.key = key, .count = 1};
        if (++tally->num > tally->cap / 2)
            grow(tally);
        return 0;
    }
    if (slot->count < TALLY_FULL - 1)
        slot->count++;
    return slot->count - 1;
}

uint32_t tally_add(struct tally *tally, uint64_t key)
{
    pthread_mutex_lock(&tally->lock);
    uint32_t before = add_locked(tally, key ? key : 1);
    pthread_mutex_unlock(&tally->lock);
    return before;
}
