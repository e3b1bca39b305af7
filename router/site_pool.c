/* Sites by key, their mutex, and the wake-ups that follow from a change.
 * It holds no policy: site.c decides what should happen. */
#include "router/site_pool.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>
#include <sys/random.h>

enum { SITE_BUCKETS = 4096, SITE_KEEP_MS = 600000 };

struct site_pool {
    const struct config *config; /* borrowed */
    unsigned num_workers;
    struct mailbox **workers; /* owned array of borrowed mailboxes */
    struct site *buckets[SITE_BUCKETS];
    size_t num;
    atomic_size_t num_ahead;
    size_t low_water;
    struct mailbox *loader; /* borrowed; NULL: nobody is woken */
};

static void forget_site(struct site_pool *pool, struct site *site);

struct site_pool *site_pool_new(const struct config *config, unsigned num_workers)
{
    struct site_pool *pool = mem_zalloc(1, sizeof *pool);
    pool->config = config;
    pool->num_workers = num_workers;
    pool->workers = mem_zalloc(num_workers, sizeof *pool->workers);
    return pool;
}

void site_pool_free(struct site_pool *pool)
{
    for (size_t i = 0; i < SITE_BUCKETS; i++) {
        while (pool->buckets[i]) {
            struct site *site = pool->buckets[i];
            pool->buckets[i] = site->next_in_bucket;
            forget_site(pool, site);
        }
    }
    free(pool->workers);
    free(pool);
}

void site_pool_set_worker(struct site_pool *pool, unsigned worker, struct mailbox *mailbox)
{
    pool->workers[worker] = mailbox;
}

atomic_size_t *site_pool_num_ahead(struct site_pool *pool)
{
    return &pool->num_ahead;
}

void site_pool_set_loader(struct site_pool *pool, struct mailbox *loader, size_t low_water)
{
    pool->loader = loader;
    pool->low_water = low_water;
}

void site_pool_leave_ahead(struct site_pool *pool, size_t num)
{
    size_t before = atomic_fetch_sub(&pool->num_ahead, num);
    if (pool->loader && before > pool->low_water && before - num <= pool->low_water)
        mailbox_wake(pool->loader);
}

static uint32_t random_bits(void)
{
    uint32_t bits = 0;
    CHECK(getrandom(&bits, sizeof bits, 0) == sizeof bits);
    return bits;
}

uint64_t site_key_hash(const struct site *site)
{
    return bytes_hash(bytes_of(site->key));
}

/* A closing site's state holds nobody up: only the dispatcher closes sites, so that it may look
 * without the lock. */
static struct site *find_by_hash(struct site_pool *pool, uint64_t hash)
{
    struct site *site = pool->buckets[hash % SITE_BUCKETS];
    while (site && site_key_hash(site) != hash)
        site = site->next_in_bucket;
    return site && !site->closing ? site : NULL;
}

static void use_snapshot(struct site *site, struct config_snapshot *snapshot,
                         const struct destination_settings *settings)
{
    struct config_snapshot *old = site->snapshot;
    if (old == snapshot)
        return;
    pthread_mutex_lock(&site->mutex);
    site->snapshot = config_snapshot_ref(snapshot);
    site->settings = settings;
    pthread_mutex_unlock(&site->mutex);
    config_snapshot_unref(old);
}

static void forget_site(struct site_pool *pool, struct site *site)
{
    config_snapshot_unref(site->snapshot);
    site_free(site);
    pool->num--;
}

struct site *site_pool_get(struct site_pool *pool, const struct route *route,
                           struct config_snapshot *snapshot,
                           const struct destination_settings *settings)
{
    char *key = mem_printf("%u|%s", settings->id, route->host_set);
    uint64_t hash = bytes_hash(bytes_of(key));
    struct site **bucket = &pool->buckets[hash % SITE_BUCKETS];
    struct site *site = *bucket;
    while (site && strcmp(site->key, key) != 0)
        site = site->next_in_bucket;
    if (!site) {
        site = site_new(key, route->site_name, settings, pool->num_workers);
        site->next_in_bucket = *bucket;
        *bucket = site;
        pool->num++;
    }
    use_snapshot(site, snapshot, settings);
    free(key);
    return site;
}

int64_t site_pool_closed_until(struct site_pool *pool, uint64_t key_hash, int64_t now_ms)
{
    struct site *site = key_hash ? find_by_hash(pool, key_hash) : NULL;
    int64_t until = 0;
    if (!site)
        return 0;
    pthread_mutex_lock(&site->mutex);
    enum site_admit admit = site_admits(site, pool->config->queue.site_share, now_ms, &until);
    if (admit != SITE_SUSPENDED)
        until = admit == SITE_FULL ? now_ms + SITE_FULL_WAIT_MS : 0;
    pthread_mutex_unlock(&site->mutex);
    return until;
}

/* Wake-ups gathered under the mutex and posted after it. */
struct wake_list {
    struct site_wake *items[64];
    unsigned num;
};

static void book(struct site *site, unsigned worker, bool open, struct wake_list *wakes)
{
    struct site_wake *wake = &site->wakes[worker];
    if (open)
        wake->open++;
    else
        wake->serve_idle++;
    if (!wake->posted) {
        wake->posted = true;
        wakes->items[wakes->num++] = wake;
    }
}

static void fulfil_wishes_locked(struct site *site, int64_t now_ms, struct wake_list *wakes)
{
    unsigned worker = 0;
    while (wakes->num < sizeof wakes->items / sizeof *wakes->items) {
        enum site_wish wish = site_next_wish(site, now_ms, &worker);
        if (wish == SITE_WISH_NONE)
            return;
        book(site, worker, wish == SITE_WISH_OPEN, wakes);
    }
}

static void post_wakes(struct site_pool *pool, const struct wake_list *wakes)
{
    for (unsigned i = 0; i < wakes->num; i++)
        mailbox_post(pool->workers[wakes->items[i]->worker], &wakes->items[i]->item);
}

enum site_admit site_pool_add(struct site_pool *pool, struct site *site, struct delivery *delivery,
                              int64_t now_ms, int64_t *out_until_ms)
{
    struct wake_list wakes = {.num = 0};
    pthread_mutex_lock(&site->mutex);
    site->last_used_ms = now_ms;
    enum site_admit admit = site_admits(site, pool->config->queue.site_share, now_ms, out_until_ms);
    if (admit == SITE_ADMITTED) {
        delivery->site = site;
        site->in_memory++;
        site_add(site, delivery);
        atomic_fetch_add(&pool->num_ahead, 1);
        fulfil_wishes_locked(site, now_ms, &wakes);
    }
    pthread_mutex_unlock(&site->mutex);
    post_wakes(pool, &wakes);
    return admit;
}

size_t site_pool_forget(struct site_pool *pool, struct site *site, int64_t now_ms)
{
    size_t share = pool->config->queue.site_share;
    int64_t until_ms;
    pthread_mutex_lock(&site->mutex);
    CHECK(site->in_memory > 0);
    site->in_memory--;
    enum site_admit admit = site_admits(site, share, now_ms, &until_ms);
    size_t num_to_wake = admit == SITE_ADMITTED    ? site_num_to_wake(site, share)
                         : admit == SITE_SUSPENDED ? SIZE_MAX
                                                   : 0;
    pthread_mutex_unlock(&site->mutex);
    return num_to_wake;
}

bool site_pool_park(struct site_pool *pool, uint64_t key_hash, uint64_t id, int64_t now_ms)
{
    struct site *site = key_hash ? find_by_hash(pool, key_hash) : NULL;
    int64_t until_ms;
    if (!site)
        return false;
    pthread_mutex_lock(&site->mutex);
    bool is_full =
        site_admits(site, pool->config->queue.site_share, now_ms, &until_ms) == SITE_FULL;
    pthread_mutex_unlock(&site->mutex);
    if (is_full)
        site_park(site, id);
    return is_full;
}

struct outcome site_pool_last_failure(struct site *site)
{
    pthread_mutex_lock(&site->mutex);
    struct outcome failure = site->last_failure;
    pthread_mutex_unlock(&site->mutex);
    return failure;
}

static bool is_forgettable_locked(const struct site *site, int64_t now_ms)
{
    bool posted = false;
    for (unsigned i = 0; i < site->num_workers; i++)
        posted |= site->wakes[i].posted;
    return !posted && site->backlog == 0 && site->in_memory == 0 && site->open == 0 &&
           site->suspended_until_ms < now_ms && now_ms - site->last_used_ms > SITE_KEEP_MS;
}

void site_pool_sweep(struct site_pool *pool, int64_t now_ms)
{
    for (size_t i = 0; i < SITE_BUCKETS; i++) {
        struct site **link = &pool->buckets[i];
        while (*link) {
            struct site *site = *link;
            pthread_mutex_lock(&site->mutex);
            bool forget = is_forgettable_locked(site, now_ms);
            pthread_mutex_unlock(&site->mutex);
            if (!forget) {
                link = &site->next_in_bucket;
                continue;
            }
            *link = site->next_in_bucket;
            forget_site(pool, site);
        }
    }
}

void site_pool_count(struct site *site, const struct outcome *outcome)
{
    pthread_mutex_lock(&site->mutex);
    if (outcome->kind == OUTCOME_DELIVERED)
        site->counters.delivered++;
    else if (outcome->kind == OUTCOME_BOUNCED)
        site->counters.bounced++;
    else if (outcome->kind == OUTCOME_DEFERRED)
        site->counters.deferred++;
    pthread_mutex_unlock(&site->mutex);
}

/* Closes all sites but those of settings that `kept` has (NULL: none); what waits in them. */
static struct delivery *close_sites(struct site_pool *pool, const struct config *kept)
{
    struct delivery *all = NULL;
    struct delivery **end = &all;
    size_t num_left = 0;
    for (size_t i = 0; i < SITE_BUCKETS; i++) {
        for (struct site *site = pool->buckets[i]; site; site = site->next_in_bucket) {
            if (kept && config_has_settings(kept, site->settings->id))
                continue;
            pthread_mutex_lock(&site->mutex);
            site->closing = true;
            num_left += site->backlog;
            *end = site_take_all(site);
            pthread_mutex_unlock(&site->mutex);
            while (*end)
                end = &(*end)->next;
        }
    }
    site_pool_leave_ahead(pool, num_left);
    return all;
}

struct delivery *site_pool_retire(struct site_pool *pool, const struct config_snapshot *snapshot)
{
    return close_sites(pool, snapshot->config);
}

struct delivery *site_pool_close(struct site_pool *pool)
{
    return close_sites(pool, NULL);
}

size_t site_pool_snapshot(struct site_pool *pool, struct progress_site **out)
{
    struct progress_site *rows = mem_zalloc(pool->num, sizeof *rows);
    size_t num = 0;
    for (size_t i = 0; i < SITE_BUCKETS; i++) {
        for (struct site *site = pool->buckets[i]; site; site = site->next_in_bucket) {
            struct progress_site *row = &rows[num++];
            snprintf(row->name, sizeof row->name, "%s", site->name);
            pthread_mutex_lock(&site->mutex);
            row->delivered = site->counters.delivered;
            row->deferred = site->counters.deferred;
            row->bounced = site->counters.bounced;
            row->connections = site->counters.connections;
            row->plaintext = site->counters.plaintext;
            row->tls_full = site->counters.tls_full;
            row->tls_resumed = site->counters.tls_resumed;
            pthread_mutex_unlock(&site->mutex);
        }
    }
    *out = rows;
    return num;
}

unsigned site_pool_num_connections(struct site_pool *pool)
{
    unsigned num = 0;
    for (size_t i = 0; i < SITE_BUCKETS; i++) {
        for (struct site *site = pool->buckets[i]; site; site = site->next_in_bucket) {
            pthread_mutex_lock(&site->mutex);
            num += site->open;
            pthread_mutex_unlock(&site->mutex);
        }
    }
    return num;
}

size_t site_pool_num_in_flight(struct site_pool *pool)
{
    size_t num = 0;
    for (size_t i = 0; i < SITE_BUCKETS; i++) {
        for (struct site *site = pool->buckets[i]; site; site = site->next_in_bucket) {
            pthread_mutex_lock(&site->mutex);
            num += site->in_memory - site->backlog;
            pthread_mutex_unlock(&site->mutex);
        }
    }
    return num;
}

void site_pool_read_wake(struct site_wake *wake, unsigned *out_serve_idle, unsigned *out_open)
{
    struct site *site = wake->site;
    pthread_mutex_lock(&site->mutex);
    wake->posted = false;
    *out_serve_idle = wake->serve_idle;
    *out_open = wake->open;
    wake->serve_idle = wake->open = 0;
    pthread_mutex_unlock(&site->mutex);
}

struct delivery *site_pool_take(struct site_pool *pool, struct site *site, enum site_taker taker)
{
    pthread_mutex_lock(&site->mutex);
    if (taker == SITE_TAKER_NEW) {
        CHECK(site->starting > 0);
        site->starting--;
    } else if (taker == SITE_TAKER_PROMISED) {
        CHECK(site->promised > 0);
        site->promised--;
    }
    struct delivery *delivery = site_take(site);
    pthread_mutex_unlock(&site->mutex);
    site_pool_leave_ahead(pool, delivery != NULL);
    return delivery;
}

bool site_pool_idle(struct site *site, unsigned worker)
{
    pthread_mutex_lock(&site->mutex);
    /* Deliveries that other connections are already on their way to take are not ours to wait for.
     */
    bool waits = site->closing || site->backlog <= (size_t)site->starting + site->promised;
    if (waits)
        site->wakes[worker].idle++;
    pthread_mutex_unlock(&site->mutex);
    return waits;
}

bool site_pool_leave_idle(struct site *site, unsigned worker)
{
    pthread_mutex_lock(&site->mutex);
    bool promised = site->wakes[worker].idle == 0;
    if (!promised)
        site->wakes[worker].idle--;
    pthread_mutex_unlock(&site->mutex);
    return promised;
}

void site_pool_break_promise(struct site_pool *pool, struct site *site, int64_t now_ms)
{
    struct wake_list wakes = {.num = 0};
    pthread_mutex_lock(&site->mutex);
    CHECK(site->promised > 0);
    site->promised--;
    fulfil_wishes_locked(site, now_ms, &wakes);
    pthread_mutex_unlock(&site->mutex);
    post_wakes(pool, &wakes);
}

void site_pool_session_ready(struct site *site, const struct site_session *session)
{
    pthread_mutex_lock(&site->mutex);
    site->ready++;
    site->family = session->family;
    site->counters.connections++;
    if (!session->tls)
        site->counters.plaintext++;
    else if (session->resumed)
        site->counters.tls_resumed++;
    else
        site->counters.tls_full++;
    pthread_mutex_unlock(&site->mutex);
}

uint8_t site_pool_family(struct site *site)
{
    pthread_mutex_lock(&site->mutex);
    uint8_t family = site->family;
    pthread_mutex_unlock(&site->mutex);
    return family;
}

void site_pool_close_connection(struct site_pool *pool, struct site *site, bool was_ready,
                                int64_t now_ms)
{
    struct wake_list wakes = {.num = 0};
    pthread_mutex_lock(&site->mutex);
    CHECK(site->open > 0 && site->ready >= was_ready);
    site->open--;
    site->ready -= was_ready;
    site->last_used_ms = now_ms;
    fulfil_wishes_locked(site, now_ms, &wakes);
    pthread_mutex_unlock(&site->mutex);
    post_wakes(pool, &wakes);
}

void site_pool_session_lost(struct site *site)
{
    pthread_mutex_lock(&site->mutex);
    CHECK(site->ready > 0);
    site->ready--;
    pthread_mutex_unlock(&site->mutex);
}

void site_pool_restarted(struct site *site)
{
    pthread_mutex_lock(&site->mutex);
    site->counters.restarts++;
    pthread_mutex_unlock(&site->mutex);
}

void site_pool_succeeded(struct site_pool *pool, struct site *site, int64_t now_ms)
{
    struct wake_list wakes = {.num = 0};
    pthread_mutex_lock(&site->mutex);
    site_succeeded(site);
    fulfil_wishes_locked(site, now_ms, &wakes);
    pthread_mutex_unlock(&site->mutex);
    post_wakes(pool, &wakes);
}

void site_pool_slow_down(struct site *site)
{
    pthread_mutex_lock(&site->mutex);
    site_slow_down(site);
    pthread_mutex_unlock(&site->mutex);
}

struct delivery *site_pool_failed(struct site_pool *pool, struct site *site,
                                  const struct outcome *failure, int64_t now_ms)
{
    uint32_t random = random_bits();
    pthread_mutex_lock(&site->mutex);
    struct delivery *backlog = NULL;
    size_t num_left = 0;
    if (site_failed(site, failure, &site->snapshot->config->retry, random, now_ms)) {
        num_left = site->backlog;
        backlog = site_take_all(site);
    }
    pthread_mutex_unlock(&site->mutex);
    site_pool_leave_ahead(pool, num_left);
    return backlog;
}
