/* The thread of the header: waits, saves, says what went wrong.
 * What is written is tls/session_store.c's. */
#include "router/session_saver.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "tls/session_store.h"

#include <errno.h>

static void load(struct session_cache *cache, SSL_CTX *ssl_ctx, const char *path)
{
    struct session_file_counts counts;
    char why[SESSION_STORE_WHY_MAX];
    if (session_store_load(cache, ssl_ctx, path, clock_wall_ms(), &counts, why))
        log_info("TLS session cache: %zu sessions of %zu destinations read from %s, %zu left out",
                 counts.sessions, counts.destinations, path, counts.left_out);
    else if (why[0])
        log_warning("the TLS session cache begins empty: %s", why);
}

static void save(struct session_cache *cache, const char *path)
{
    struct session_file_counts counts;
    char why[SESSION_STORE_WHY_MAX];
    if (session_store_save(cache, path, clock_wall_ms(), &counts, why))
        log_debug("TLS session cache: %zu sessions of %zu destinations saved to %s",
                  counts.sessions, counts.destinations, path);
    else
        log_warning("the TLS session cache cannot be saved: %s", why);
}

void session_saver_init(struct session_saver *saver, struct session_cache *cache,
                        const struct config *config, SSL_CTX *ssl_ctx)
{
    pthread_condattr_t attributes;
    *saver = (struct session_saver){.cache = cache,
                                    .path = mem_strdup(config->tls.cache_file),
                                    .interval_ms = config->tls.cache_save_interval_ms};
    pthread_mutex_init(&saver->mutex, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&saver->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    if (*saver->path && !session_cache_is_off(cache))
        load(cache, ssl_ctx, saver->path);
}

void session_saver_configure(struct session_saver *saver, const struct config *config)
{
    char *path = mem_strdup(config->tls.cache_file);
    pthread_mutex_lock(&saver->mutex);
    char *old = saver->path;
    saver->path = path;
    saver->interval_ms = config->tls.cache_save_interval_ms;
    pthread_cond_signal(&saver->changed);
    pthread_mutex_unlock(&saver->mutex);
    free(old);
}

/* false: woken before, to look at what changed. */
static bool wait_locked(struct session_saver *saver)
{
    int64_t until_us = clock_mono_us() + saver->interval_ms * 1000;
    struct timespec until = {until_us / 1000000, until_us % 1000000 * 1000};
    if (saver->interval_ms > 0 && *saver->path)
        return pthread_cond_timedwait(&saver->changed, &saver->mutex, &until) == ETIMEDOUT;
    pthread_cond_wait(&saver->changed, &saver->mutex);
    return false;
}

static void *saver_main(void *ctx)
{
    struct session_saver *saver = ctx;
    bool stopping = false;
    while (!stopping) {
        pthread_mutex_lock(&saver->mutex);
        bool due = !saver->stopping && wait_locked(saver);
        stopping = saver->stopping;
        char *path = mem_strdup(saver->path);
        pthread_mutex_unlock(&saver->mutex);
        if (*path && (due || stopping))
            save(saver->cache, path);
        free(path);
    }
    return NULL;
}

bool session_saver_start(struct session_saver *saver)
{
    int rc = pthread_create(&saver->thread, NULL, saver_main, saver);
    if (rc != 0) {
        errno = rc;
        return false;
    }
    pthread_setname_np(saver->thread, "session saver");
    saver->started = true;
    return true;
}

void session_saver_stop(struct session_saver *saver)
{
    if (!saver->started)
        return;
    pthread_mutex_lock(&saver->mutex);
    saver->stopping = true;
    pthread_cond_signal(&saver->changed);
    pthread_mutex_unlock(&saver->mutex);
    pthread_join(saver->thread, NULL);
    saver->started = false;
}

void session_saver_fini(struct session_saver *saver)
{
    if (!saver->path)
        return;
    pthread_cond_destroy(&saver->changed);
    pthread_mutex_destroy(&saver->mutex);
    free(saver->path);
    saver->path = NULL;
}
