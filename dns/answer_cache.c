/* A chained hash table whose entries also hang in a list by last use.
 * It asks nobody and does not read the clock. */
#include "dns/answer_cache.h"

#include "base/memory.h"

struct entry {
    struct entry *next_in_bucket;
    struct entry *older, *newer; /* by last use */
    struct answer *good;         /* counted; the last one that was not a failure, or NULL */
    int64_t expires_ms;          /* of good */
    struct answer *failure;      /* counted; the last failure, if it came after good, or NULL */
    int64_t failing_until_ms;
    size_t octets;
    uint64_t hash;
    uint16_t type;
    char name[];
};

struct answer_cache {
    struct answer_cache_options options;
    struct entry **buckets; /* owned; a power of two of them */
    size_t num_buckets;
    size_t num_entries;
    size_t octets;
    struct entry *oldest, *newest;
};

struct answer_cache *answer_cache_new(const struct answer_cache_options *options)
{
    struct answer_cache *cache = mem_zalloc(1, sizeof *cache);
    cache->options = *options;
    if (cache->options.entries == 0)
        cache->options.entries = 1;
    cache->num_buckets = 16;
    while (cache->num_buckets < cache->options.entries)
        cache->num_buckets *= 2;
    cache->buckets = mem_zalloc(cache->num_buckets, sizeof(struct entry *));
    return cache;
}

static void unlink_by_use(struct answer_cache *cache, struct entry *entry)
{
    *(entry->older ? &entry->older->newer : &cache->oldest) = entry->newer;
    *(entry->newer ? &entry->newer->older : &cache->newest) = entry->older;
}

static void link_as_newest(struct answer_cache *cache, struct entry *entry)
{
    entry->older = cache->newest;
    entry->newer = NULL;
    *(cache->newest ? &cache->newest->newer : &cache->oldest) = entry;
    cache->newest = entry;
}

static struct entry **bucket_of(struct answer_cache *cache, uint64_t hash)
{
    return &cache->buckets[hash & (cache->num_buckets - 1)];
}

static void remove_entry(struct answer_cache *cache, struct entry *entry)
{
    struct entry **at = bucket_of(cache, entry->hash);
    while (*at != entry)
        at = &(*at)->next_in_bucket;
    *at = entry->next_in_bucket;
    unlink_by_use(cache, entry);
    cache->num_entries--;
    cache->octets -= entry->octets;
    answer_unref(entry->good);
    answer_unref(entry->failure);
    free(entry);
}

void answer_cache_free(struct answer_cache *cache)
{
    while (cache->oldest)
        remove_entry(cache, cache->oldest);
    free(cache->buckets);
    free(cache);
}

static uint64_t hash_of(const char *name, uint16_t type)
{
    return bytes_hash(bytes_of(name)) ^ (type * 0x9e3779b97f4a7c15u);
}

static struct entry *look_up(struct answer_cache *cache, const char *name, uint16_t type)
{
    uint64_t hash = hash_of(name, type);
    struct entry *entry = *bucket_of(cache, hash);
    while (entry && (entry->hash != hash || entry->type != type || strcmp(entry->name, name) != 0))
        entry = entry->next_in_bucket;
    if (entry) {
        unlink_by_use(cache, entry);
        link_as_newest(cache, entry);
    }
    return entry;
}

static struct entry *add_entry(struct answer_cache *cache, const char *name, uint16_t type)
{
    size_t name_len = strlen(name) + 1;
    struct entry *entry = mem_zalloc(1, sizeof *entry + name_len);
    entry->hash = hash_of(name, type);
    entry->type = type;
    memcpy(entry->name, name, name_len);
    struct entry **bucket = bucket_of(cache, entry->hash);
    entry->next_in_bucket = *bucket;
    *bucket = entry;
    link_as_newest(cache, entry);
    cache->num_entries++;
    return entry;
}

static void account(struct answer_cache *cache, struct entry *entry)
{
    cache->octets -= entry->octets;
    entry->octets = sizeof *entry + strlen(entry->name) + 1 +
                    (entry->good ? entry->good->block_len : 0) +
                    (entry->failure ? entry->failure->block_len : 0);
    cache->octets += entry->octets;
}

/* The newest entry stays, whatever it weighs: its answer is about to be used. */
static void evict(struct answer_cache *cache)
{
    while (cache->oldest != cache->newest &&
           (cache->num_entries > cache->options.entries ||
            cache->octets > cache->options.entries * CACHE_OCTETS_PER_ENTRY))
        remove_entry(cache, cache->oldest);
}

static struct answer_found failing(const struct answer_cache *cache, struct entry *entry,
                                   int64_t now_ms)
{
    struct answer_found found = {.answer = entry->failure, .expires_ms = entry->failing_until_ms};
    if (entry->good && now_ms - entry->expires_ms < cache->options.stale_ms) {
        found.answer = entry->good;
        found.is_stale = true;
    }
    return found;
}

bool answer_cache_find(struct answer_cache *cache, const char *name, uint16_t type, int64_t now_ms,
                       struct answer_found *out)
{
    struct entry *entry = look_up(cache, name, type);
    if (!entry)
        return false;
    if (entry->good && now_ms < entry->expires_ms) {
        *out = (struct answer_found){.answer = entry->good, .expires_ms = entry->expires_ms};
        return true;
    }
    if (!entry->failure || now_ms >= entry->failing_until_ms)
        return false;
    *out = failing(cache, entry, now_ms);
    return true;
}

static int64_t life_of(const struct answer_cache *cache, const struct answer *answer)
{
    int64_t most_ms = answer->status == ANSWER_RECORDS ? cache->options.max_ttl_ms
                                                       : cache->options.max_negative_ttl_ms;
    int64_t life_ms = (int64_t)answer->ttl_s * 1000;
    if (life_ms < cache->options.min_ttl_ms)
        life_ms = cache->options.min_ttl_ms;
    return life_ms < most_ms ? life_ms : most_ms;
}

void answer_cache_put(struct answer_cache *cache, const char *name, uint16_t type,
                      struct answer *answer, int64_t now_ms, struct answer_found *out)
{
    struct entry *entry = look_up(cache, name, type);
    if (!entry)
        entry = add_entry(cache, name, type);
    answer_unref(entry->failure);
    entry->failure = NULL;
    if (answer->status == ANSWER_FAILED) {
        entry->failure = answer_ref(answer);
        entry->failing_until_ms = now_ms + FAILURE_TTL_MS;
        *out = failing(cache, entry, now_ms);
    } else {
        answer_unref(entry->good);
        entry->good = answer_ref(answer);
        entry->expires_ms = now_ms + life_of(cache, answer);
        *out = (struct answer_found){.answer = answer, .expires_ms = entry->expires_ms};
    }
    account(cache, entry);
    evict(cache);
}

size_t answer_cache_num_entries(const struct answer_cache *cache)
{
    return cache->num_entries;
}
