/* The map from live id to what counts of it: linear probing with backward-shift deletion.
 * It does not know where records lie. */
#include "queue/journal_map.h"

#include "base/memory.h"

enum { CAP_MIN = 1024 };

static uint64_t id_of(const struct journal_map_entry *entry)
{
    return (uint64_t)entry->id_high << 32 | entry->id_low;
}

static uint64_t base_of(const struct journal_map_entry *entry)
{
    return (uint64_t)entry->base_high << 32 | entry->base_low;
}

static size_t home_of(const struct journal_map *map, uint64_t id)
{
    /* Ids are times in microseconds: the multiplication spreads runs of neighbours. */
    return (size_t)((id * UINT64_C(0x9e3779b97f4a7c15)) >> 20) & (map->cap - 1);
}

/* The slot of id, or the empty one where it would go. */
static size_t find_slot(const struct journal_map *map, uint64_t id)
{
    size_t slot = home_of(map, id);
    while (id_of(&map->slots[slot]) != 0 && id_of(&map->slots[slot]) != id)
        slot = (slot + 1) & (map->cap - 1);
    return slot;
}

static void grow(struct journal_map *map)
{
    struct journal_map old = *map;
    map->cap = old.cap ? old.cap * 2 : CAP_MIN;
    map->slots = mem_zalloc(map->cap, sizeof *map->slots);
    for (size_t i = 0; i < old.cap; i++)
        if (id_of(&old.slots[i]) != 0)
            map->slots[find_slot(map, id_of(&old.slots[i]))] = old.slots[i];
    free(old.slots);
}

void journal_map_fini(struct journal_map *map)
{
    free(map->slots);
    *map = (struct journal_map){0};
}

static uint32_t add_words(uint32_t words, size_t len)
{
    uint64_t sum = words + len / 8;
    return sum < UINT32_MAX ? (uint32_t)sum : UINT32_MAX;
}

void journal_map_add(struct journal_map *map, uint64_t id, uint64_t order, size_t len,
                     bool deferred)
{
    if (id == 0)
        return;
    if (map->num >= map->cap / 8 * 7)
        grow(map);
    struct journal_map_entry *entry = &map->slots[find_slot(map, id)];
    if (id_of(entry) == 0) {
        *entry =
            (struct journal_map_entry){.id_low = (uint32_t)id, .id_high = (uint32_t)(id >> 32)};
        map->num++;
    }
    if (order < base_of(entry))
        return;
    map->live_len -= (uint64_t)entry->live_words * 8;
    if (deferred) {
        entry->base_low = (uint32_t)order;
        entry->base_high = (uint32_t)(order >> 32);
        entry->live_words = 0;
    }
    entry->live_words = add_words(entry->live_words, len);
    map->live_len += (uint64_t)entry->live_words * 8;
}

void journal_map_remove(struct journal_map *map, uint64_t id)
{
    if (map->cap == 0 || id == 0)
        return;
    size_t hole = find_slot(map, id);
    if (id_of(&map->slots[hole]) == 0)
        return;
    map->live_len -= (uint64_t)map->slots[hole].live_words * 8;
    map->num--;
    /* Entries behind the hole move up unless they would get in front of their home. */
    size_t mask = map->cap - 1;
    for (size_t at = (hole + 1) & mask; id_of(&map->slots[at]) != 0; at = (at + 1) & mask) {
        size_t home = home_of(map, id_of(&map->slots[at]));
        if (((at - home) & mask) >= ((at - hole) & mask)) {
            map->slots[hole] = map->slots[at];
            hole = at;
        }
    }
    map->slots[hole] = (struct journal_map_entry){0};
}

bool journal_map_has(const struct journal_map *map, uint64_t id)
{
    return map->cap && id && id_of(&map->slots[find_slot(map, id)]) == id;
}

bool journal_map_is_live(const struct journal_map *map, uint64_t id, uint64_t order)
{
    if (map->cap == 0 || id == 0)
        return false;
    const struct journal_map_entry *entry = &map->slots[find_slot(map, id)];
    return id_of(entry) == id && order >= base_of(entry);
}
