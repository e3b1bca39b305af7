/* Keeps the TLS session cache on disk: read at the start, written at intervals and at the end.
 *
 * A thread of its own, because it waits for the disk. Trouble is a line in the log, never more. */
#ifndef SLUICE_ROUTER_SESSION_SAVER_H
#define SLUICE_ROUTER_SESSION_SAVER_H

#include "router/config.h"

#include <pthread.h>

struct session_saver {
    struct session_cache *cache; /* borrowed */
    pthread_t thread;
    bool started;
    pthread_mutex_t mutex; /* of what follows */
    pthread_cond_t changed;
    char *path;          /* owned; "": nowhere */
    int64_t interval_ms; /* 0: only at the end */
    bool stopping;
};

/* Borrows the cache; reads what the file of config holds. ssl_ctx: for its pool of certificates. */
void session_saver_init(struct session_saver *saver, struct session_cache *cache,
                        const struct config *config, SSL_CTX *ssl_ctx);
bool session_saver_start(struct session_saver *saver) __attribute__((warn_unused_result));
/* Any thread: another file or interval from now on. */
void session_saver_configure(struct session_saver *saver, const struct config *config);
/* When nobody puts sessions any more: saves once more and ends the thread. Nothing if it was not
 * started. */
void session_saver_stop(struct session_saver *saver);
void session_saver_fini(struct session_saver *saver);

#endif
