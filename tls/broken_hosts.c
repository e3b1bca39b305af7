/* The memory of hosts whose TLS is broken, as its header describes it: a mutex around an LRU table.
 * It decides nothing: policy.c says what a broken host may be spoken to in. */
#include "tls/broken_hosts.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/memory.h"
#include "tls/digest_lru.h"

#include <openssl/sha.h>
#include <pthread.h>

struct broken_host {
    struct digest_lru_node node; /* of the key's digest: keys of any length cost the same */
    int64_t first_ms;            /* of the series of failures */
    int64_t last_ms;
};

struct tls_broken_hosts {
    pthread_mutex_t mutex;
    struct digest_lru lru;          /* of struct broken_host; the newest failed last */
    struct broken_host *pool;       /* owned: lru.max of them, so that nothing is allocated later */
    size_t num_touched;             /* those of pool that were ever used: the rest costs nothing */
    struct digest_lru_node *unused; /* of those the ones that are free, linked by chain */
    int64_t lifetime_ms;
};

static void digest_of(const char *key, uint8_t out_digest[DIGEST_LEN]);
static struct broken_host *find_locked(struct tls_broken_hosts *hosts, const uint8_t *digest,
                                       int64_t now_ms);
static struct broken_host *take_unused_locked(struct tls_broken_hosts *hosts)
{
    struct digest_lru_node *node = hosts->unused;
    if (!node) {
        CHECK(hosts->num_touched < hosts->lru.max);
        return &hosts->pool[hosts->num_touched++];
    }
    hosts->unused = node->chain;
    return container_of(node, struct broken_host, node);
}

static struct broken_host *add_locked(struct tls_broken_hosts *hosts, const uint8_t *digest);
static void forget_locked(struct tls_broken_hosts *hosts, struct digest_lru_node *node);

struct tls_broken_hosts *tls_broken_hosts_new(size_t max_entries, int64_t lifetime_ms)
{
    CHECK(max_entries > 0);
    struct tls_broken_hosts *hosts = mem_zalloc(1, sizeof *hosts);
    pthread_mutex_init(&hosts->mutex, NULL);
    digest_lru_init(&hosts->lru, max_entries);
    hosts->lifetime_ms = lifetime_ms;
    hosts->pool = mem_zalloc(max_entries, sizeof *hosts->pool);
    return hosts;
}

void tls_broken_hosts_free(struct tls_broken_hosts *hosts)
{
    if (!hosts)
        return;
    digest_lru_fini(&hosts->lru);
    free(hosts->pool);
    pthread_mutex_destroy(&hosts->mutex);
    free(hosts);
}

void tls_broken_hosts_failed(struct tls_broken_hosts *hosts, const char *key, int64_t now_ms)
{
    uint8_t digest[DIGEST_LEN];
    digest_of(key, digest);
    int64_t instant_ms = now_ms > 0 ? now_ms : 1; /* 0 means "never" */
    pthread_mutex_lock(&hosts->mutex);
    struct broken_host *host = find_locked(hosts, digest, now_ms);
    if (!host) {
        host = add_locked(hosts, digest);
        host->first_ms = instant_ms;
    }
    host->last_ms = instant_ms;
    digest_lru_touch(&hosts->lru, &host->node);
    pthread_mutex_unlock(&hosts->mutex);
}

void tls_broken_hosts_succeeded(struct tls_broken_hosts *hosts, const char *key)
{
    uint8_t digest[DIGEST_LEN];
    digest_of(key, digest);
    pthread_mutex_lock(&hosts->mutex);
    struct digest_lru_node *node = digest_lru_find(&hosts->lru, digest);
    if (node)
        forget_locked(hosts, node);
    pthread_mutex_unlock(&hosts->mutex);
}

int64_t tls_broken_hosts_since(struct tls_broken_hosts *hosts, const char *key, int64_t now_ms)
{
    uint8_t digest[DIGEST_LEN];
    digest_of(key, digest);
    pthread_mutex_lock(&hosts->mutex);
    const struct broken_host *host = find_locked(hosts, digest, now_ms);
    int64_t since_ms = host ? host->first_ms : 0;
    pthread_mutex_unlock(&hosts->mutex);
    return since_ms;
}

static void digest_of(const char *key, uint8_t out_digest[DIGEST_LEN])
{
    SHA256((const uint8_t *)key, strlen(key), out_digest);
}

/* NULL when the host is unknown, or failed last so long ago that TLS deserves another try. */
static struct broken_host *find_locked(struct tls_broken_hosts *hosts, const uint8_t *digest,
                                       int64_t now_ms)
{
    struct digest_lru_node *node = digest_lru_find(&hosts->lru, digest);
    if (!node)
        return NULL;
    struct broken_host *host = container_of(node, struct broken_host, node);
    if (now_ms - host->last_ms < hosts->lifetime_ms)
        return host;
    forget_locked(hosts, node);
    return NULL;
}

static struct broken_host *add_locked(struct tls_broken_hosts *hosts, const uint8_t *digest)
{
    if (digest_lru_is_full(&hosts->lru))
        forget_locked(hosts, hosts->lru.oldest);
    struct broken_host *host = take_unused_locked(hosts);
    memcpy(host->node.digest, digest, DIGEST_LEN);
    digest_lru_insert(&hosts->lru, &host->node);
    return host;
}

static void forget_locked(struct tls_broken_hosts *hosts, struct digest_lru_node *node)
{
    digest_lru_remove(&hosts->lru, node);
    node->chain = hosts->unused;
    hosts->unused = node;
}
