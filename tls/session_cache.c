/* The session cache of the header: stripes of entries, each entry a ring of sessions.
 * It makes no handshake, knows no socket and never asks the time. What counters mean is in
 * session_counters.c, which session is offered in session_ring.c. */
#include "tls/session_cache.h"

#include "base/check.h"
#include "base/memory.h"
#include "tls/digest_lru.h"
#include "tls/fingerprints.h"
#include "tls/session_counters.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

_Static_assert((int)DIGEST_LEN == (int)SESSION_KEY_LEN, "the table is keyed by the session key");

enum {
    DEFAULT_STRIPES = 16,
    PRINTS_MIN = 65536,
    STRIPE_BYTES_MIN = 64 * 1024, /* fewer stripes rather than shares in which little fits */
    ENTRY_OVERHEAD = 32,          /* what malloc adds to an entry and its label */
    COPY_BUCKETS = 256            /* looked at under one hold of a lock */
};

struct entry {
    struct digest_lru_node node;
    struct entry *next_garbage;
    char *label; /* owned */
    struct session_cache_counters counters;
    int64_t used_ms;
    size_t len;        /* octets, as counted in the stripe's */
    unsigned refusals; /* in a row, failures weighted */
    unsigned skipped;  /* sessions not stored since it is known never to resume */
    bool never_resumes;
    bool had_session;
    struct session_ring ring;
};

struct stripe {
    pthread_mutex_t mutex;
    struct digest_lru lru; /* of struct entry */
    uint64_t len, max_len; /* octets */
    struct session_cache_counters totals;
    uint8_t padding[64]; /* the next stripe's mutex lies on another cache line */
};

struct session_cache {
    struct stripe *stripes; /* owned array */
    unsigned num_stripes;   /* a power of two */
    _Atomic bool is_off;
    struct fingerprints evicted; /* of keys */
    struct fingerprints labels;  /* of those that have an entry */
};

/* What was taken out under a lock, to be freed after it: freeing a session may free a chain of
 * certificates. */
struct garbage {
    struct entry *entries; /* linked by next_garbage */
    struct session_slot *slots;
};

static struct stripe *stripe_of(struct session_cache *cache, const struct session_key *key);
static struct entry *find_locked(struct stripe *stripe, const struct session_key *key);
static struct entry *find_or_add_locked(struct session_cache *cache, struct stripe *stripe,
                                        const struct session_destination *destination,
                                        bool may_evict, struct garbage *garbage);
static struct entry *entry_new(const struct session_destination *destination);
static void entry_free(struct entry *entry);
static void remove_locked(struct session_cache *cache, struct stripe *stripe, struct entry *entry,
                          struct garbage *garbage);
static void evict_locked(struct session_cache *cache, struct stripe *stripe,
                         struct garbage *garbage);
static void make_fit_locked(struct session_cache *cache, struct stripe *stripe,
                            struct garbage *garbage);
static void settle_locked(struct stripe *stripe, struct entry *entry);
static struct entry *oldest_locked(struct stripe *stripe);
static struct entry *find_wanted_locked(struct stripe *stripe,
                                        bool (*wanted)(const void *ctx, const char *label),
                                        const void *ctx);
static void set_never_resumes_locked(struct stripe *stripe, struct entry *entry, bool never);
static bool is_wanted_locked(struct stripe *stripe, struct entry *entry);
static void use_locked(struct stripe *stripe, struct entry *entry,
                       const struct session_report *report, struct garbage *garbage);
static void garbage_free(struct garbage *garbage);

/* Counts in the totals and, where there is an entry, for the destination. */
#define COUNT(stripe, entry, what)                                                                 \
    ((stripe)->totals.what++, (entry) ? (void)(entry)->counters.what++ : (void)0)

static bool fits(unsigned stripes, const struct session_cache_options *options)
{
    bool few_entries = options->entries > 0 && stripes > options->entries;
    bool few_bytes = options->bytes > 0 && options->bytes / stripes < STRIPE_BYTES_MIN;
    return !few_entries && !few_bytes;
}

/* The shares of the stripes add up to the whole. */
static size_t share_of(const struct session_cache *cache, size_t entries, unsigned i)
{
    return entries / cache->num_stripes + (i < entries % cache->num_stripes ? 1 : 0);
}

static uint64_t len_share_of(const struct session_cache *cache, uint64_t bytes)
{
    return bytes ? bytes / cache->num_stripes : UINT64_MAX;
}

struct session_cache *session_cache_new(const struct session_cache_options *options)
{
    unsigned stripes = options->stripes ? options->stripes : DEFAULT_STRIPES;
    CHECK((stripes & (stripes - 1)) == 0);
    while (stripes > 1 && !fits(stripes, options))
        stripes /= 2; /* every stripe has room for one at least */
    struct session_cache *cache = mem_zalloc(1, sizeof *cache);
    cache->num_stripes = stripes;
    atomic_init(&cache->is_off, options->entries == 0);
    /* Places that nobody uses cost nothing; few of them would be shared too soon. */
    size_t prints = options->entries > PRINTS_MIN ? options->entries : PRINTS_MIN;
    fingerprints_init(&cache->evicted, prints);
    fingerprints_init(&cache->labels, prints);
    cache->stripes = mem_zalloc(stripes, sizeof *cache->stripes);
    for (unsigned i = 0; i < stripes; i++) {
        pthread_mutex_init(&cache->stripes[i].mutex, NULL);
        digest_lru_init(&cache->stripes[i].lru, share_of(cache, options->entries, i));
        cache->stripes[i].max_len = len_share_of(cache, options->bytes);
    }
    return cache;
}

void session_cache_free(struct session_cache *cache)
{
    if (!cache)
        return;
    for (unsigned i = 0; i < cache->num_stripes; i++) {
        struct stripe *stripe = &cache->stripes[i];
        struct garbage garbage = {0};
        while (stripe->lru.oldest)
            remove_locked(cache, stripe, oldest_locked(stripe), &garbage);
        garbage_free(&garbage);
        digest_lru_fini(&stripe->lru);
        pthread_mutex_destroy(&stripe->mutex);
    }
    fingerprints_fini(&cache->evicted);
    fingerprints_fini(&cache->labels);
    free(cache->stripes);
    free(cache);
}

bool session_cache_is_off(const struct session_cache *cache)
{
    return atomic_load_explicit(&cache->is_off, memory_order_relaxed);
}

void session_cache_set_bounds(struct session_cache *cache, size_t entries, uint64_t bytes)
{
    for (unsigned i = 0; i < cache->num_stripes; i++) {
        struct stripe *stripe = &cache->stripes[i];
        struct garbage garbage = {0};
        size_t share = share_of(cache, entries, i);
        struct digest_lru_table table = digest_lru_table_new(share);
        pthread_mutex_lock(&stripe->mutex);
        stripe->max_len = len_share_of(cache, bytes);
        while (stripe->lru.num > share)
            evict_locked(cache, stripe, &garbage);
        make_fit_locked(cache, stripe, &garbage);
        digest_lru_rebuild(&stripe->lru, share, &table);
        pthread_mutex_unlock(&stripe->mutex);
        free(table.buckets);
        garbage_free(&garbage);
    }
    atomic_store_explicit(&cache->is_off, entries == 0, memory_order_relaxed);
}

void session_cache_put(struct session_cache *cache, const struct session_destination *destination,
                       SSL_SESSION *session, int64_t verified_until_ms, int64_t now_ms)
{
    struct stripe *stripe = stripe_of(cache, &destination->key);
    struct garbage garbage = {0};
    struct session_slot *slot =
        session_slot_new(session, verified_until_ms, &destination->limits, now_ms);
    if (!slot)
        return;
    pthread_mutex_lock(&stripe->mutex);
    struct entry *entry = find_or_add_locked(cache, stripe, destination, true, &garbage);
    if (entry && is_wanted_locked(stripe, entry)) {
        digest_lru_touch(&stripe->lru, &entry->node);
        entry->used_ms = now_ms;
        entry->had_session = true;
        session_ring_put(&entry->ring, slot, &destination->limits, &garbage.slots);
        COUNT(stripe, entry, stored);
        settle_locked(stripe, entry);
        make_fit_locked(cache, stripe, &garbage);
        slot = NULL;
    }
    pthread_mutex_unlock(&stripe->mutex);
    session_slots_free(slot);
    garbage_free(&garbage);
}

static enum session_miss why_unknown(const struct session_cache *cache,
                                     const struct session_destination *destination)
{
    const struct session_key *key = &destination->key;
    if (fingerprints_have(&cache->evicted, bytes_make(key->digest, sizeof key->digest)))
        return SESSION_MISS_EVICTED;
    return fingerprints_have(&cache->labels, bytes_of(destination->label))
               ? SESSION_MISS_KEY_CHANGED
               : SESSION_MISS_FIRST;
}

/* NULL and why. */
static struct session_slot *lend_locked(struct stripe *stripe, struct entry *entry,
                                        const struct session_destination *destination,
                                        struct session_offer *out, struct garbage *garbage)
{
    bool relent;
    unsigned expired = session_ring_drop_expired(&entry->ring, destination->limits.timeout_ms,
                                                 entry->used_ms, &garbage->slots);
    stripe->totals.expired += expired;
    entry->counters.expired += expired;
    struct session_slot *slot = session_ring_lend(&entry->ring, &garbage->slots, &relent);
    settle_locked(stripe, entry);
    if (relent)
        COUNT(stripe, entry, relent);
    if (slot)
        *out = (struct session_offer){SESSION_HIT, slot->verified_until_ms};
    else if (expired > 0)
        out->miss = SESSION_MISS_EXPIRED;
    else
        out->miss = entry->had_session ? SESSION_MISS_USED_UP : SESSION_MISS_NO_TICKET;
    return slot;
}

SSL_SESSION *session_cache_take(struct session_cache *cache,
                                const struct session_destination *destination, int64_t now_ms,
                                struct session_offer *out)
{
    struct stripe *stripe = stripe_of(cache, &destination->key);
    struct garbage garbage = {0};
    struct session_slot *slot = NULL;
    *out = (struct session_offer){SESSION_MISS_FIRST, SESSION_UNVERIFIED};
    pthread_mutex_lock(&stripe->mutex);
    struct entry *entry = find_locked(stripe, &destination->key);
    if (entry) {
        digest_lru_touch(&stripe->lru, &entry->node);
        entry->used_ms = now_ms;
        slot = lend_locked(stripe, entry, destination, out, &garbage);
        session_counters_lookup(&entry->counters, out->miss);
    } else {
        out->miss = why_unknown(cache, destination);
    }
    session_counters_lookup(&stripe->totals, out->miss);
    SSL_SESSION *session = slot ? slot->session : NULL;
    pthread_mutex_unlock(&stripe->mutex);
    garbage_free(&garbage);
    return session;
}

void session_cache_report(struct session_cache *cache,
                          const struct session_destination *destination,
                          const struct session_report *report)
{
    struct stripe *stripe = stripe_of(cache, &destination->key);
    struct garbage garbage = {0};
    pthread_mutex_lock(&stripe->mutex);
    struct entry *entry = find_or_add_locked(cache, stripe, destination, false, &garbage);
    session_counters_use(&stripe->totals, report);
    if (entry) {
        /* It had no entry yet when it was looked up. */
        if (session_miss_is_of_unknown(report->miss))
            session_counters_lookup(&entry->counters, report->miss);
        session_counters_use(&entry->counters, report);
        digest_lru_touch(&stripe->lru, &entry->node);
        use_locked(stripe, entry, report, &garbage);
        settle_locked(stripe, entry);
    }
    pthread_mutex_unlock(&stripe->mutex);
    garbage_free(&garbage);
}

/* One at a time, each freed outside the lock. */
size_t session_cache_flush(struct session_cache *cache,
                           bool (*wanted)(const void *ctx, const char *label), const void *ctx)
{
    size_t num = 0;
    for (unsigned i = 0; i < cache->num_stripes; i++) {
        struct stripe *stripe = &cache->stripes[i];
        for (bool found = true; found;) {
            struct garbage garbage = {0};
            pthread_mutex_lock(&stripe->mutex);
            struct entry *entry = find_wanted_locked(stripe, wanted, ctx);
            if (entry)
                remove_locked(cache, stripe, entry, &garbage);
            pthread_mutex_unlock(&stripe->mutex);
            garbage_free(&garbage);
            found = entry != NULL;
            num += found;
        }
    }
    return num;
}

void session_cache_read_counters(struct session_cache *cache, struct session_cache_counters *out)
{
    *out = (struct session_cache_counters){0};
    for (unsigned i = 0; i < cache->num_stripes; i++) {
        struct stripe *stripe = &cache->stripes[i];
        pthread_mutex_lock(&stripe->mutex);
        struct session_cache_counters from = stripe->totals;
        from.entries = stripe->lru.num;
        from.bytes = stripe->len;
        pthread_mutex_unlock(&stripe->mutex);
        session_counters_add(out, &from);
    }
}

void session_cache_each(struct session_cache *cache,
                        void (*on_destination)(void *ctx, const char *label,
                                               const struct session_cache_counters *counters),
                        void *ctx)
{
    for (unsigned i = 0; i < cache->num_stripes; i++) {
        struct stripe *stripe = &cache->stripes[i];
        pthread_mutex_lock(&stripe->mutex);
        for (struct digest_lru_node *node = stripe->lru.newest; node; node = node->older) {
            const struct entry *entry = container_of(node, struct entry, node);
            struct session_cache_counters counters = entry->counters;
            counters.entries = 1;
            counters.bytes = entry->len;
            on_destination(ctx, entry->label, &counters);
        }
        pthread_mutex_unlock(&stripe->mutex);
    }
}

static void copy_locked(const struct entry *entry, struct session_saved *out)
{
    memcpy(out->key.digest, entry->node.digest, sizeof out->key.digest);
    snprintf(out->label, sizeof out->label, "%s", entry->label);
    out->used_ms = entry->used_ms;
    out->num = entry->ring.num;
    unsigned i = out->num;
    for (const struct session_slot *slot = entry->ring.newest; slot; slot = slot->older) {
        SSL_SESSION_up_ref(slot->session);
        out->items[--i] = (struct session_saved_item){slot->session, slot->stored_ms,
                                                      slot->verified_until_ms, slot->spent};
    }
}

/* A bucket at a time, so that what is not moved is met exactly once. Of a longer chain than there
 * is room for, which a keyed hash does not make, the rest is left out. */
static size_t copy_bucket_locked(const struct digest_lru_node *node, struct session_saved *out,
                                 size_t max)
{
    size_t num = 0;
    for (; node && num < max; node = node->chain) {
        const struct entry *entry = container_of(node, struct entry, node);
        if (entry->ring.num > 0)
            copy_locked(entry, &out[num++]);
    }
    return num;
}

size_t session_cache_copy(struct session_cache *cache, struct session_cursor *cursor,
                          struct session_saved *out, size_t max)
{
    enum { BUCKET_MAX = 16 };
    size_t num = 0;
    CHECK(max >= BUCKET_MAX);
    while (num == 0 && cursor->stripe < cache->num_stripes) {
        struct stripe *stripe = &cache->stripes[cursor->stripe];
        pthread_mutex_lock(&stripe->mutex);
        size_t num_buckets = stripe->lru.mask + 1;
        for (unsigned i = 0; i < COPY_BUCKETS && cursor->bucket < num_buckets; i++) {
            if (max - num < BUCKET_MAX)
                break;
            num += copy_bucket_locked(stripe->lru.buckets[cursor->bucket++], out + num, BUCKET_MAX);
        }
        pthread_mutex_unlock(&stripe->mutex);
        if (cursor->bucket >= num_buckets)
            *cursor = (struct session_cursor){.stripe = cursor->stripe + 1};
    }
    return num;
}

unsigned session_cache_restore(struct session_cache *cache, const struct session_saved *saved,
                               int64_t now_ms)
{
    const struct session_limits limits = {.tickets = SESSION_TICKETS_MAX};
    struct session_destination destination = {.key = saved->key, .label = saved->label};
    struct stripe *stripe = stripe_of(cache, &saved->key);
    struct garbage garbage = {0};
    unsigned num = 0;
    struct session_slot *slots[SESSION_TICKETS_MAX];
    for (unsigned i = 0; i < saved->num; i++) {
        const struct session_saved_item *item = &saved->items[i];
        slots[num] = session_slot_restore(item->session, item->stored_ms, item->verified_until_ms,
                                          item->spent, now_ms);
        num += slots[num] != NULL;
    }
    if (num == 0)
        return 0;
    pthread_mutex_lock(&stripe->mutex);
    struct entry *entry = find_or_add_locked(cache, stripe, &destination, true, &garbage);
    for (unsigned i = 0; entry && i < num; i++)
        session_ring_put(&entry->ring, slots[i], &limits, &garbage.slots);
    if (entry) {
        entry->used_ms = saved->used_ms;
        entry->had_session = true;
        settle_locked(stripe, entry);
        make_fit_locked(cache, stripe, &garbage);
    }
    pthread_mutex_unlock(&stripe->mutex);
    for (unsigned i = 0; !entry && i < num; i++)
        session_slots_free(slots[i]);
    garbage_free(&garbage);
    return entry ? num : 0;
}

static struct entry *find_wanted_locked(struct stripe *stripe,
                                        bool (*wanted)(const void *ctx, const char *label),
                                        const void *ctx)
{
    for (struct digest_lru_node *node = stripe->lru.newest; node; node = node->older) {
        struct entry *entry = container_of(node, struct entry, node);
        if (!wanted || wanted(ctx, entry->label))
            return entry;
    }
    return NULL;
}

static struct stripe *stripe_of(struct session_cache *cache, const struct session_key *key)
{
    return &cache->stripes[key->digest[0] & (cache->num_stripes - 1)];
}

static struct entry *find_locked(struct stripe *stripe, const struct session_key *key)
{
    if (stripe->lru.num == 0)
        return NULL;
    struct digest_lru_node *node = digest_lru_find(&stripe->lru, key->digest);
    return node ? container_of(node, struct entry, node) : NULL;
}

static bool has_room_locked(const struct stripe *stripe, const struct entry *entry)
{
    return !digest_lru_is_full(&stripe->lru) && stripe->len + entry->len <= stripe->max_len;
}

/* NULL when there is no room and nobody may be evicted, or no room at all. Lets go of the lock to
 * allocate, so nothing that was read under it before holds any more. */
static struct entry *find_or_add_locked(struct session_cache *cache, struct stripe *stripe,
                                        const struct session_destination *destination,
                                        bool may_evict, struct garbage *garbage)
{
    struct entry *entry = find_locked(stripe, &destination->key);
    if (entry || stripe->lru.max == 0 || (!may_evict && digest_lru_is_full(&stripe->lru)))
        return entry;
    pthread_mutex_unlock(&stripe->mutex);
    struct entry *fresh = entry_new(destination);
    pthread_mutex_lock(&stripe->mutex);
    entry = find_locked(stripe, &destination->key);
    if (entry || stripe->lru.max == 0 || (!may_evict && !has_room_locked(stripe, fresh))) {
        fresh->next_garbage = garbage->entries;
        garbage->entries = fresh;
        return entry;
    }
    if (digest_lru_is_full(&stripe->lru))
        evict_locked(cache, stripe, garbage);
    digest_lru_insert(&stripe->lru, &fresh->node);
    stripe->len += fresh->len;
    fingerprints_remove(&cache->evicted, bytes_make(fresh->node.digest, DIGEST_LEN));
    fingerprints_add(&cache->labels, bytes_of(fresh->label));
    return fresh;
}

static size_t own_len(const struct entry *entry)
{
    return sizeof *entry + strlen(entry->label) + ENTRY_OVERHEAD;
}

static struct entry *entry_new(const struct session_destination *destination)
{
    const char *label = destination->label;
    struct entry *entry = mem_zalloc(1, sizeof *entry);
    memcpy(entry->node.digest, destination->key.digest, DIGEST_LEN);
    entry->label = mem_strndup(label, strnlen(label, SESSION_LABEL_MAX));
    entry->len = own_len(entry);
    return entry;
}

static void entry_free(struct entry *entry)
{
    session_slots_free(entry->ring.newest);
    free(entry->label);
    free(entry);
}

static struct entry *oldest_locked(struct stripe *stripe)
{
    return container_of(stripe->lru.oldest, struct entry, node);
}

static void remove_locked(struct session_cache *cache, struct stripe *stripe, struct entry *entry,
                          struct garbage *garbage)
{
    digest_lru_remove(&stripe->lru, &entry->node);
    stripe->totals.sessions -= entry->counters.sessions;
    stripe->len -= entry->len;
    set_never_resumes_locked(stripe, entry, false);
    fingerprints_remove(&cache->labels, bytes_of(entry->label));
    entry->next_garbage = garbage->entries;
    garbage->entries = entry;
}

static void evict_locked(struct session_cache *cache, struct stripe *stripe,
                         struct garbage *garbage)
{
    struct entry *oldest = oldest_locked(stripe);
    fingerprints_add(&cache->evicted, bytes_make(oldest->node.digest, DIGEST_LEN));
    remove_locked(cache, stripe, oldest, garbage);
    stripe->totals.evicted++;
}

/* The one that grew is the newest and goes last, which it does when it alone is too large. */
static void make_fit_locked(struct session_cache *cache, struct stripe *stripe,
                            struct garbage *garbage)
{
    while (stripe->len > stripe->max_len && stripe->lru.oldest)
        evict_locked(cache, stripe, garbage);
}

/* After each change of the ring. */
static void settle_locked(struct stripe *stripe, struct entry *entry)
{
    size_t len = own_len(entry) + session_ring_len(&entry->ring);
    stripe->len += len - entry->len;
    entry->len = len;
    stripe->totals.sessions += entry->ring.num - entry->counters.sessions;
    entry->counters.sessions = entry->ring.num;
}

static void set_never_resumes_locked(struct stripe *stripe, struct entry *entry, bool never)
{
    if (entry->never_resumes == never)
        return;
    entry->never_resumes = never;
    entry->skipped = 0;
    entry->counters.never_resume = never ? 1 : 0;
    if (never)
        stripe->totals.never_resume++;
    else
        stripe->totals.never_resume--;
}

static bool is_wanted_locked(struct stripe *stripe, struct entry *entry)
{
    if (!entry->never_resumes || ++entry->skipped % SESSION_RETRY_EVERY == 0)
        return true;
    COUNT(stripe, entry, unwanted);
    return false;
}

static void use_locked(struct stripe *stripe, struct entry *entry,
                       const struct session_report *report, struct garbage *garbage)
{
    if (report->use == SESSION_USE_FULL)
        return;
    if (report->use == SESSION_USE_RESUMED) {
        entry->refusals = 0;
        set_never_resumes_locked(stripe, entry, false);
        return;
    }
    session_ring_drop(&entry->ring, report->session, &garbage->slots);
    entry->refusals += report->use == SESSION_USE_FAILED ? SESSION_FAILURE_WEIGHT : 1;
    if (entry->refusals < SESSION_REFUSALS_MAX)
        return;
    entry->refusals = SESSION_REFUSALS_MAX; /* stays learned, and cannot overflow */
    set_never_resumes_locked(stripe, entry, true);
    session_ring_clear(&entry->ring, &garbage->slots);
}

static void garbage_free(struct garbage *garbage)
{
    session_slots_free(garbage->slots);
    while (garbage->entries) {
        struct entry *entry = garbage->entries;
        garbage->entries = entry->next_garbage;
        entry_free(entry);
    }
}
