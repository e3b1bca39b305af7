/* The session cache of the header: stripes of entries, each entry a small ring of sessions.
 * It makes no handshake, knows no socket and never asks the time. */
#include "tls/session_cache.h"

#include "base/check.h"
#include "base/memory.h"
#include "tls/digest_lru.h"

#include <pthread.h>
#include <string.h>

_Static_assert((int)DIGEST_LEN == (int)SESSION_KEY_LEN, "the table is keyed by the session key");

enum { DEFAULT_STRIPES = 16 };

struct slot {
    SSL_SESSION *session; /* counted */
    int64_t expires_ms;
    bool single_use; /* TLS 1.3 (RFC 8446 C.4) */
    bool spent;      /* single use, and lent all the same for want of a fresh one */
};

struct entry {
    struct digest_lru_node node;
    char *label; /* owned */
    struct session_cache_counters counters;
    unsigned refusals; /* in a row, failures weighted */
    unsigned skipped;  /* sessions not stored since it is known never to resume */
    bool never_resumes;
    unsigned num_slots;
    struct slot slots[]; /* oldest first; room for tickets_per_destination */
};

struct stripe {
    pthread_mutex_t mutex;
    struct digest_lru lru; /* of struct entry */
    struct session_cache_counters totals;
    uint8_t padding[64]; /* the next stripe's mutex lies on another cache line */
};

struct session_cache {
    struct stripe *stripes; /* owned array */
    unsigned num_stripes;   /* a power of two */
    int64_t timeout_ms;
    unsigned tickets;
};

/* What was taken out under a lock, to be freed after it: freeing a session may free a chain of
 * certificates. */
struct garbage {
    struct entry *evicted;
    struct entry *unused; /* made, but another thread was first */
    SSL_SESSION *sessions[SESSION_TICKETS_MAX];
    unsigned num_sessions;
};

static struct stripe *stripe_of(struct session_cache *cache, const struct session_key *key);
static struct entry *find_locked(struct stripe *stripe, const struct session_key *key);
static struct entry *find_or_add_locked(struct session_cache *cache, struct stripe *stripe,
                                        const struct session_key *key, const char *label,
                                        bool may_evict, struct garbage *garbage);
static struct entry *entry_new(const struct session_cache *cache, const struct session_key *key,
                               const char *label);
static void entry_free(struct entry *entry);
static void evict_locked(struct stripe *stripe, struct entry *entry, struct garbage *garbage);
static struct entry *oldest_locked(struct stripe *stripe);
static struct entry *find_wanted_locked(struct stripe *stripe,
                                        bool (*wanted)(const void *ctx, const char *label),
                                        const void *ctx);
static void count_miss_locked(struct stripe *stripe, struct entry *entry, enum session_miss miss);
static void drop_slot_locked(struct stripe *stripe, struct entry *entry, unsigned index,
                             struct garbage *garbage);
static void drop_expired_locked(struct stripe *stripe, struct entry *entry, int64_t now_ms,
                                struct garbage *garbage);
static void set_never_resumes_locked(struct stripe *stripe, struct entry *entry, bool never);
static bool is_wanted_locked(struct stripe *stripe, struct entry *entry);
static void store_locked(struct session_cache *cache, struct stripe *stripe, struct entry *entry,
                         const struct slot *fresh, struct garbage *garbage);
static SSL_SESSION *lend_locked(struct stripe *stripe, struct entry *entry);
static void report_locked(struct stripe *stripe, struct entry *entry, const SSL_SESSION *session,
                          enum session_use use, struct garbage *garbage);
static void count_use(struct session_cache_counters *counters, enum session_use use,
                      int64_t cpu_us);
static void garbage_free(struct garbage *garbage);

/* Counts in the totals and, where there is an entry, for the destination. */
#define COUNT(stripe, entry, what)                                                                 \
    ((stripe)->totals.what++, (entry) ? (void)(entry)->counters.what++ : (void)0)

struct session_cache *session_cache_new(const struct session_cache_options *options)
{
    unsigned stripes = options->stripes ? options->stripes : DEFAULT_STRIPES;
    CHECK((stripes & (stripes - 1)) == 0);
    CHECK(options->tickets_per_destination >= 1 &&
          options->tickets_per_destination <= SESSION_TICKETS_MAX);
    while (stripes > 1 && stripes > options->entries)
        stripes /= 2; /* every stripe has room for one at least */
    struct session_cache *cache = mem_zalloc(1, sizeof *cache);
    cache->num_stripes = stripes;
    cache->timeout_ms = options->timeout_ms;
    cache->tickets = options->tickets_per_destination;
    cache->stripes = mem_zalloc(stripes, sizeof *cache->stripes);
    for (unsigned i = 0; i < stripes; i++) {
        /* The shares add up to exactly `entries`. */
        size_t share = options->entries / stripes + (i < options->entries % stripes ? 1 : 0);
        pthread_mutex_init(&cache->stripes[i].mutex, NULL);
        digest_lru_init(&cache->stripes[i].lru, share);
    }
    return cache;
}

void session_cache_free(struct session_cache *cache)
{
    if (!cache)
        return;
    for (unsigned i = 0; i < cache->num_stripes; i++) {
        struct stripe *stripe = &cache->stripes[i];
        while (stripe->lru.oldest) {
            struct garbage garbage = {0};
            evict_locked(stripe, oldest_locked(stripe), &garbage);
            garbage_free(&garbage);
        }
        digest_lru_fini(&stripe->lru);
        pthread_mutex_destroy(&stripe->mutex);
    }
    free(cache->stripes);
    free(cache);
}

void session_cache_put(struct session_cache *cache, const struct session_key *key,
                       const char *label, SSL_SESSION *session, int64_t now_ms)
{
    struct stripe *stripe = stripe_of(cache, key);
    int64_t lifetime_ms = (int64_t)SSL_SESSION_get_timeout(session) * 1000;
    struct slot fresh = {
        .session = session,
        .expires_ms = now_ms + (lifetime_ms < cache->timeout_ms ? lifetime_ms : cache->timeout_ms),
        .single_use = SSL_SESSION_should_be_single_use(session)};
    if (stripe->lru.max == 0 || !SSL_SESSION_is_resumable(session) || fresh.expires_ms <= now_ms) {
        SSL_SESSION_free(session);
        return;
    }
    struct garbage garbage = {0};
    pthread_mutex_lock(&stripe->mutex);
    struct entry *entry = find_or_add_locked(cache, stripe, key, label, true, &garbage);
    digest_lru_touch(&stripe->lru, &entry->node);
    bool wanted = is_wanted_locked(stripe, entry);
    if (wanted)
        store_locked(cache, stripe, entry, &fresh, &garbage);
    pthread_mutex_unlock(&stripe->mutex);
    if (!wanted)
        SSL_SESSION_free(session);
    garbage_free(&garbage);
}

SSL_SESSION *session_cache_take(struct session_cache *cache, const struct session_key *key,
                                int64_t now_ms, enum session_miss *out_miss)
{
    struct stripe *stripe = stripe_of(cache, key);
    struct garbage garbage = {0};
    SSL_SESSION *session = NULL;
    *out_miss = SESSION_MISS_FIRST;
    pthread_mutex_lock(&stripe->mutex);
    struct entry *entry = find_locked(stripe, key);
    COUNT(stripe, entry, lookups);
    if (entry) {
        digest_lru_touch(&stripe->lru, &entry->node);
        drop_expired_locked(stripe, entry, now_ms, &garbage);
        session = lend_locked(stripe, entry);
        if (session)
            *out_miss = SESSION_HIT;
        else if (garbage.num_sessions > 0)
            *out_miss = SESSION_MISS_EXPIRED;
        else if (entry->counters.stored > 0)
            *out_miss = SESSION_MISS_USED_UP;
        else
            *out_miss = SESSION_MISS_NO_TICKET;
    }
    if (session)
        COUNT(stripe, entry, hits);
    else
        count_miss_locked(stripe, entry, *out_miss);
    pthread_mutex_unlock(&stripe->mutex);
    garbage_free(&garbage);
    return session;
}

void session_cache_report(struct session_cache *cache, const struct session_key *key,
                          const char *label, SSL_SESSION *session, enum session_use use,
                          int64_t cpu_us)
{
    struct stripe *stripe = stripe_of(cache, key);
    struct garbage garbage = {0};
    pthread_mutex_lock(&stripe->mutex);
    struct entry *entry = find_or_add_locked(cache, stripe, key, label, false, &garbage);
    count_use(&stripe->totals, use, cpu_us);
    if (entry) {
        count_use(&entry->counters, use, cpu_us);
        digest_lru_touch(&stripe->lru, &entry->node);
        report_locked(stripe, entry, session, use, &garbage);
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
                evict_locked(stripe, entry, &garbage);
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
        const struct session_cache_counters from = stripe->totals;
        size_t entries = stripe->lru.num;
        pthread_mutex_unlock(&stripe->mutex);
        out->lookups += from.lookups;
        out->hits += from.hits;
        out->misses += from.misses;
        out->resumed += from.resumed;
        out->refused += from.refused;
        out->failed += from.failed;
        out->full += from.full;
        out->expired += from.expired;
        out->evicted += from.evicted;
        out->stored += from.stored;
        out->missed_first += from.missed_first;
        out->missed_no_ticket += from.missed_no_ticket;
        out->missed_used_up += from.missed_used_up;
        out->missed_expired += from.missed_expired;
        out->cpu_full_us += from.cpu_full_us;
        out->cpu_resumed_us += from.cpu_resumed_us;
        out->relent += from.relent;
        out->unwanted += from.unwanted;
        out->entries += entries;
        out->sessions += from.sessions;
        out->never_resume += from.never_resume;
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
            on_destination(ctx, entry->label, &counters);
        }
        pthread_mutex_unlock(&stripe->mutex);
    }
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

/* NULL when there is no room and nobody may be evicted. Lets go of the lock to allocate, so nothing
 * that was read under it before holds any more. */
static struct entry *find_or_add_locked(struct session_cache *cache, struct stripe *stripe,
                                        const struct session_key *key, const char *label,
                                        bool may_evict, struct garbage *garbage)
{
    struct entry *entry = find_locked(stripe, key);
    if (entry || (!may_evict && digest_lru_is_full(&stripe->lru)))
        return entry;
    pthread_mutex_unlock(&stripe->mutex);
    struct entry *fresh = entry_new(cache, key, label);
    pthread_mutex_lock(&stripe->mutex);
    entry = find_locked(stripe, key);
    if (entry || (!may_evict && digest_lru_is_full(&stripe->lru))) {
        garbage->unused = fresh;
        return entry;
    }
    if (digest_lru_is_full(&stripe->lru)) {
        evict_locked(stripe, oldest_locked(stripe), garbage);
        stripe->totals.evicted++;
    }
    digest_lru_insert(&stripe->lru, &fresh->node);
    return fresh;
}

static struct entry *entry_new(const struct session_cache *cache, const struct session_key *key,
                               const char *label)
{
    struct entry *entry = mem_zalloc(1, sizeof *entry + cache->tickets * sizeof(struct slot));
    memcpy(entry->node.digest, key->digest, DIGEST_LEN);
    entry->label = mem_strndup(label, strnlen(label, SESSION_LABEL_MAX));
    return entry;
}

static void entry_free(struct entry *entry)
{
    if (!entry)
        return;
    for (unsigned i = 0; i < entry->num_slots; i++)
        SSL_SESSION_free(entry->slots[i].session);
    free(entry->label);
    free(entry);
}

static struct entry *oldest_locked(struct stripe *stripe)
{
    return container_of(stripe->lru.oldest, struct entry, node);
}

static void evict_locked(struct stripe *stripe, struct entry *entry, struct garbage *garbage)
{
    digest_lru_remove(&stripe->lru, &entry->node);
    stripe->totals.sessions -= entry->num_slots;
    set_never_resumes_locked(stripe, entry, false);
    garbage->evicted = entry;
}

static void drop_slot_locked(struct stripe *stripe, struct entry *entry, unsigned index,
                             struct garbage *garbage)
{
    garbage->sessions[garbage->num_sessions++] = entry->slots[index].session;
    entry->num_slots--;
    memmove(&entry->slots[index], &entry->slots[index + 1],
            (entry->num_slots - index) * sizeof entry->slots[0]);
    entry->counters.sessions--;
    stripe->totals.sessions--;
}

static void drop_expired_locked(struct stripe *stripe, struct entry *entry, int64_t now_ms,
                                struct garbage *garbage)
{
    for (unsigned i = entry->num_slots; i-- > 0;) {
        if (entry->slots[i].expires_ms > now_ms)
            continue;
        drop_slot_locked(stripe, entry, i, garbage);
        COUNT(stripe, entry, expired);
    }
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

/* A fresh session makes a spent ticket useless; and of TLS 1.2 sessions, which any number of
 * connections may share, the newest is enough. */
static void store_locked(struct session_cache *cache, struct stripe *stripe, struct entry *entry,
                         const struct slot *fresh, struct garbage *garbage)
{
    for (unsigned i = entry->num_slots; i-- > 0;) {
        const struct slot *slot = &entry->slots[i];
        if (slot->spent || (!slot->single_use && !fresh->single_use))
            drop_slot_locked(stripe, entry, i, garbage);
    }
    if (entry->num_slots == cache->tickets)
        drop_slot_locked(stripe, entry, 0, garbage);
    entry->slots[entry->num_slots++] = *fresh;
    entry->counters.sessions++;
    stripe->totals.sessions++;
    COUNT(stripe, entry, stored);
}

/* The newest, with a reference for the caller. Only the last TLS 1.3 ticket stays when it is lent:
 * servers that treat tickets as stateless accept it again and again, the others fall back to a full
 * handshake by themselves, and not to offer it would be a full handshake in any case. */
static SSL_SESSION *lend_locked(struct stripe *stripe, struct entry *entry)
{
    if (entry->num_slots == 0)
        return NULL;
    struct slot *newest = &entry->slots[entry->num_slots - 1];
    if (newest->single_use && entry->num_slots > 1) {
        entry->num_slots--;
        entry->counters.sessions--;
        stripe->totals.sessions--;
        return newest->session;
    }
    if (newest->spent)
        COUNT(stripe, entry, relent);
    newest->spent = newest->single_use;
    SSL_SESSION_up_ref(newest->session);
    return newest->session;
}

static void report_locked(struct stripe *stripe, struct entry *entry, const SSL_SESSION *session,
                          enum session_use use, struct garbage *garbage)
{
    if (use == SESSION_USE_FULL)
        return;
    if (use == SESSION_USE_RESUMED) {
        entry->refusals = 0;
        set_never_resumes_locked(stripe, entry, false);
        return;
    }
    for (unsigned i = entry->num_slots; i-- > 0;) {
        if (entry->slots[i].session == session)
            drop_slot_locked(stripe, entry, i, garbage);
    }
    entry->refusals += use == SESSION_USE_FAILED ? SESSION_FAILURE_WEIGHT : 1;
    if (entry->refusals < SESSION_REFUSALS_MAX)
        return;
    entry->refusals = SESSION_REFUSALS_MAX; /* stays learned, and cannot overflow */
    set_never_resumes_locked(stripe, entry, true);
    while (entry->num_slots > 0)
        drop_slot_locked(stripe, entry, entry->num_slots - 1, garbage);
}

static void count_use(struct session_cache_counters *counters, enum session_use use, int64_t cpu_us)
{
    uint64_t spent_us = cpu_us > 0 ? (uint64_t)cpu_us : 0;
    switch (use) {
    case SESSION_USE_RESUMED:
        counters->resumed++;
        counters->cpu_resumed_us += spent_us;
        break;
    case SESSION_USE_REFUSED:
        counters->refused++;
        counters->cpu_full_us += spent_us;
        break;
    case SESSION_USE_FAILED:
        counters->failed++;
        break;
    case SESSION_USE_FULL:
        counters->full++;
        counters->cpu_full_us += spent_us;
        break;
    }
}

static void count_miss_locked(struct stripe *stripe, struct entry *entry, enum session_miss miss)
{
    COUNT(stripe, entry, misses);
    switch (miss) {
    case SESSION_HIT:
        break;
    case SESSION_MISS_FIRST:
        COUNT(stripe, entry, missed_first);
        break;
    case SESSION_MISS_NO_TICKET:
        COUNT(stripe, entry, missed_no_ticket);
        break;
    case SESSION_MISS_USED_UP:
        COUNT(stripe, entry, missed_used_up);
        break;
    case SESSION_MISS_EXPIRED:
        COUNT(stripe, entry, missed_expired);
        break;
    }
}

static void garbage_free(struct garbage *garbage)
{
    for (unsigned i = 0; i < garbage->num_sessions; i++)
        SSL_SESSION_free(garbage->sessions[i]);
    entry_free(garbage->evicted);
    entry_free(garbage->unused);
}
