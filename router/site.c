/* The site's backlog, window and back-off as pure functions.
 * It takes no lock and opens no connection: site_pool.c and worker.c do. */
#include "router/site.h"

#include "base/check.h"
#include "base/memory.h"

struct site *site_new(const char *key, const char *name,
                      const struct destination_settings *settings, unsigned num_workers)
{
    struct site *site = mem_zalloc(1, sizeof *site + num_workers * sizeof(struct site_wake));
    pthread_mutex_init(&site->mutex, NULL);
    site->key = mem_strdup(key);
    site->name = mem_strdup(name);
    site->settings = settings;
    site->window_milli = settings->connections_initial * 1000;
    site->num_workers = num_workers;
    for (unsigned i = 0; i < num_workers; i++) {
        site->wakes[i].site = site;
        site->wakes[i].worker = i;
    }
    return site;
}

void site_free(struct site *site)
{
    CHECK(site->backlog == 0 && site->open == 0);
    pthread_mutex_destroy(&site->mutex);
    free(site->parked.ids);
    free(site->key);
    free(site->name);
    free(site);
}

enum site_admit site_admits(const struct site *site, size_t share, int64_t now_ms,
                            int64_t *out_until_ms)
{
    if (site->suspended_until_ms > now_ms) {
        *out_until_ms = site->suspended_until_ms;
        return SITE_SUSPENDED;
    }
    if (site->probing && site->in_memory > 0) {
        *out_until_ms = now_ms + SITE_PROBE_WAIT_MS;
        return SITE_SUSPENDED;
    }
    return site->in_memory >= share ? SITE_FULL : SITE_ADMITTED;
}

size_t site_num_to_wake(const struct site *site, size_t share)
{
    size_t half = share / 2;
    if (site->in_memory > half)
        return 0;
    bool many = site->in_memory == half || site->in_memory == 0;
    return many && half > 0 ? half : 1;
}

static void grow_parked(struct site_parked *parked)
{
    struct site_parked grown = {.num = parked->num, .cap = parked->cap ? 2 * parked->cap : 64};
    grown.ids = mem_alloc(grown.cap * sizeof *grown.ids);
    for (size_t i = 0; i < parked->num; i++)
        grown.ids[i] = parked->ids[(parked->first + i) & (parked->cap - 1)];
    free(parked->ids);
    *parked = grown;
}

void site_park(struct site *site, uint64_t id)
{
    struct site_parked *parked = &site->parked;
    if (parked->num == parked->cap)
        grow_parked(parked);
    parked->ids[(parked->first + parked->num++) & (parked->cap - 1)] = id;
}

bool site_unpark(struct site *site, uint64_t *out_id)
{
    struct site_parked *parked = &site->parked;
    if (parked->num == 0)
        return false;
    *out_id = parked->ids[parked->first];
    parked->first = (parked->first + 1) & (parked->cap - 1);
    parked->num--;
    return true;
}

static unsigned class_of(const struct delivery *delivery)
{
    int priority = delivery->message->envelope.priority;
    return priority > 6 ? 0 : priority > 3 ? 1 : 2;
}

void site_add(struct site *site, struct delivery *delivery)
{
    unsigned class = class_of(delivery);
    delivery->next = NULL;
    if (site->last[class])
        site->last[class]->next = delivery;
    else
        site->first[class] = delivery;
    site->last[class] = delivery;
    site->backlog++;
}

void site_put_back(struct site *site, struct delivery *delivery)
{
    unsigned class = class_of(delivery);
    delivery->next = site->first[class];
    site->first[class] = delivery;
    if (!site->last[class])
        site->last[class] = delivery;
    site->backlog++;
}

struct delivery *site_take(struct site *site)
{
    if (site->closing)
        return NULL;
    for (unsigned class = 0; class < SITE_CLASSES; class ++) {
        struct delivery *delivery = site->first[class];
        if (!delivery)
            continue;
        site->first[class] = delivery->next;
        if (!delivery->next)
            site->last[class] = NULL;
        delivery->next = NULL;
        site->backlog--;
        return delivery;
    }
    return NULL;
}

struct delivery *site_take_all(struct site *site)
{
    struct delivery *all = NULL;
    struct delivery **end = &all;
    for (unsigned class = 0; class < SITE_CLASSES; class ++) {
        *end = site->first[class];
        while (*end)
            end = &(*end)->next;
        site->first[class] = site->last[class] = NULL;
    }
    site->backlog = 0;
    return all;
}

static unsigned window(const struct site *site)
{
    if (site->probing)
        return 1;
    unsigned connections = site->window_milli / 1000;
    return connections ? connections : 1;
}

enum site_wish site_next_wish(struct site *site, int64_t now_ms, unsigned *out_worker)
{
    if (site->closing || site->backlog <= (size_t)site->starting + site->promised)
        return SITE_WISH_NONE;
    for (unsigned i = 0; i < site->num_workers; i++) {
        if (!site->wakes[i].idle)
            continue;
        site->wakes[i].idle--;
        site->promised++;
        *out_worker = i;
        return SITE_WISH_SERVE_IDLE;
    }
    /* While a first cohort fails, no further connection joins it: its end decides. */
    bool failing = site->failures > 0 && site->ready == 0 && site->open > 0;
    if (site->open >= window(site) || failing || site->suspended_until_ms > now_ms)
        return SITE_WISH_NONE;
    site->open++;
    site->starting++;
    *out_worker = site->next_worker++ % site->num_workers;
    return SITE_WISH_OPEN;
}

void site_succeeded(struct site *site)
{
    unsigned most = site->settings->connections * 1000;
    if (site->probing)
        site->window_milli = site->settings->connections_initial * 1000;
    site->probing = false;
    site->failures = 0;
    site->suspended_until_ms = 0;
    site->window_milli += 1000 * 1000 / (site->window_milli ? site->window_milli : 1000);
    if (site->window_milli > most)
        site->window_milli = most;
}

void site_slow_down(struct site *site)
{
    site->window_milli /= 2;
    if (site->window_milli < 1000)
        site->window_milli = 1000;
}

bool site_failed(struct site *site, const struct outcome *failure,
                 const struct retry_policy *policy, uint32_t random, int64_t now_ms)
{
    site->last_failure = *failure;
    site_slow_down(site);
    /* The failing connection still holds its credit: "another" means a second one. */
    if (site->ready > 0 || site->open > 1) {
        site->failures += site->failures == 0;
        return false;
    }
    site->failures++;
    site->suspended_until_ms = now_ms + retry_wait_ms(policy, site->failures, random);
    site->probing = true;
    return true;
}
