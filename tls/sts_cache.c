/* Domains with their policies by last use. When to fetch is decided here, in sts_cache_find().
 * It fetches nothing and touches no file; sts_cache_file.c puts it into words. */
#include "base/check.h"
#include "base/memory.h"
#include "tls/sts_cache_private.h"

#include <openssl/sha.h>
#include <stdio.h>

enum { RENEW_AFTER_S = 86400, RENEW_UNASKED_AFTER_S = 3600 };

static const char *const failure_names[] = {
    [STS_FAILURE_NONE] = "none",
    [STS_FAILURE_FETCH] = "sts-policy-fetch-error",
    [STS_FAILURE_INVALID] = "sts-policy-invalid",
    [STS_FAILURE_WEBPKI] = "sts-webpki-invalid",
};

const char *sts_failure_name(enum sts_failure failure)
{
    CHECK((unsigned)failure < sizeof failure_names / sizeof *failure_names);
    return failure_names[failure];
}

struct sts_cache *sts_cache_new(const struct sts_cache_options *options)
{
    struct sts_cache *cache = mem_zalloc(1, sizeof *cache);
    cache->options = *options;
    if (cache->options.entries == 0)
        cache->options.entries = 1;
    digest_lru_init(&cache->lru, cache->options.entries);
    return cache;
}

/* policy: one reference, taken over; NULL: none. */
static void set_policy(struct sts_cache *cache, struct sts_entry *entry, struct sts_policy *policy)
{
    cache->num_policies += policy != NULL;
    cache->num_policies -= entry->policy != NULL;
    sts_policy_unref(entry->policy);
    entry->policy = policy;
}

static void remove_entry(struct sts_cache *cache, struct sts_entry *entry)
{
    digest_lru_remove(&cache->lru, &entry->node);
    set_policy(cache, entry, NULL);
    free(entry->why);
    free(entry);
}

static struct sts_entry *entry_of(struct digest_lru_node *node)
{
    return container_of(node, struct sts_entry, node);
}

void sts_cache_free(struct sts_cache *cache)
{
    if (!cache)
        return;
    sts_cache_clear(cache);
    digest_lru_fini(&cache->lru);
    free(cache);
}

void sts_cache_clear(struct sts_cache *cache)
{
    while (cache->lru.oldest)
        remove_entry(cache, entry_of(cache->lru.oldest));
}

static struct sts_entry *find(struct sts_cache *cache, const char *domain)
{
    uint8_t digest[DIGEST_LEN];
    SHA256((const uint8_t *)domain, strlen(domain), digest);
    struct digest_lru_node *node = digest_lru_find(&cache->lru, digest);
    if (!node)
        return NULL;
    digest_lru_touch(&cache->lru, node);
    return entry_of(node);
}

static struct sts_entry *get(struct sts_cache *cache, const char *domain)
{
    struct sts_entry *entry = find(cache, domain);
    if (entry)
        return entry;
    if (cache->lru.num == cache->lru.max)
        remove_entry(cache, entry_of(cache->lru.oldest));
    entry = mem_zalloc(1, sizeof *entry + strlen(domain) + 1);
    memcpy(entry->domain, domain, strlen(domain) + 1);
    SHA256((const uint8_t *)domain, strlen(domain), entry->node.digest);
    digest_lru_insert(&cache->lru, &entry->node);
    return entry;
}

/* A clock that was set back does not make a policy live longer than it would from now. */
static int64_t age_s(const struct sts_entry *entry, int64_t now_s)
{
    return now_s > entry->fetched_s ? now_s - entry->fetched_s : 0;
}

bool sts_entry_is_alive(const struct sts_entry *entry, int64_t now_s)
{
    return entry->policy && age_s(entry, now_s) < entry->policy->max_age_s;
}

/* RFC 8461 3.3 suggests once a day. For a shorter life its half leaves time enough to get a new
 * one, whatever happens to the policy host (10.2: an attacker who blocks TXT or HTTPS must do it
 * for all that time). */
static bool is_old(const struct sts_entry *entry, int64_t now_s)
{
    int64_t half_s = entry->policy->max_age_s / 2;
    return age_s(entry, now_s) >= (half_s < RENEW_AFTER_S ? half_s : RENEW_AFTER_S);
}

static bool has_just_failed(const struct sts_cache *cache, const struct sts_entry *entry,
                            const char *id, int64_t now_s)
{
    int64_t since_s = now_s - entry->failed_s;
    return entry->failure != STS_FAILURE_NONE && strcmp(entry->failed_id, id) == 0 &&
           since_s >= 0 && since_s < cache->options.retry_s;
}

enum sts_advice sts_cache_find(struct sts_cache *cache, const char *domain, const char *id,
                               int64_t now_s, struct sts_found *out)
{
    struct sts_entry *entry = find(cache, domain);
    *out = (struct sts_found){.why = ""};
    if (!entry)
        return id ? STS_FETCH : STS_USE;
    bool is_alive = sts_entry_is_alive(entry, now_s);
    if (!is_alive)
        set_policy(cache, entry, NULL);
    out->policy = entry->policy;
    out->expires_s = is_alive ? now_s + entry->policy->max_age_s - age_s(entry, now_s) : 0;
    out->failure = entry->failure;
    out->why = entry->why ? entry->why : "";
    if (!is_alive)
        return id && !has_just_failed(cache, entry, id, now_s) ? STS_FETCH : STS_USE;
    const char *edition = id ? id : entry->policy->id;
    if (has_just_failed(cache, entry, edition, now_s))
        return STS_USE;
    if (strcmp(edition, entry->policy->id) != 0)
        return STS_FETCH;
    return is_old(entry, now_s) ? STS_REFRESH : STS_USE;
}

static bool is_due(const struct sts_cache *cache, const struct sts_entry *entry, int64_t now_s)
{
    int64_t since_s = now_s - entry->failed_s;
    bool rests =
        entry->failure != STS_FAILURE_NONE && since_s >= 0 && since_s < cache->options.retry_s;
    return sts_entry_is_alive(entry, now_s) && age_s(entry, now_s) >= RENEW_UNASKED_AFTER_S &&
           is_old(entry, now_s) && !rests;
}

void sts_cache_each_due(const struct sts_cache *cache, int64_t now_s, size_t max,
                        void (*on_domain)(void *ctx, const char *domain), void *ctx)
{
    for (struct digest_lru_node *node = cache->lru.oldest; node && max > 0; node = node->newer) {
        const struct sts_entry *entry = container_of(node, struct sts_entry, node);
        if (!is_due(cache, entry, now_s))
            continue;
        on_domain(ctx, entry->domain);
        max--;
    }
}

void sts_cache_put(struct sts_cache *cache, const char *domain, struct sts_policy *policy,
                   int64_t now_s)
{
    struct sts_entry *entry = get(cache, domain);
    set_policy(cache, entry, sts_policy_ref(policy));
    free(entry->why);
    entry->fetched_s = now_s;
    entry->failure = STS_FAILURE_NONE;
    entry->why = NULL;
}

void sts_cache_failed(struct sts_cache *cache, const char *domain, const char *id,
                      enum sts_failure failure, const char *why, int64_t now_s)
{
    struct sts_entry *entry = get(cache, domain);
    snprintf(entry->failed_id, sizeof entry->failed_id, "%s", id);
    entry->failed_s = now_s;
    entry->failure = failure;
    free(entry->why);
    entry->why = mem_strdup(why);
}

size_t sts_cache_num_entries(const struct sts_cache *cache)
{
    return cache->lru.num;
}

size_t sts_cache_num_policies(const struct sts_cache *cache)
{
    return cache->num_policies;
}
