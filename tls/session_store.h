/* The file in which the TLS session cache outlives the process.
 *
 * It holds secrets: it is created with mode 0600, and read only when it is a regular file of our
 * own user that nobody else may read. It takes its name only when it is whole. No failure here
 * matters to the delivery of mail: the next handshakes are full ones. Blocks on the disk, so no
 * worker calls it. */
#ifndef SLUICE_TLS_SESSION_STORE_H
#define SLUICE_TLS_SESSION_STORE_H

#include "tls/session_file.h"

enum { SESSION_STORE_WHY_MAX = 4400 /* a path, and words */ };

/* Writes PATH.new and renames it; workers are held up only for what session_cache_copy() takes.
 * Files end at SESSION_STORE_MAX octets; what does not fit is left out. */
#define SESSION_STORE_MAX ((size_t)1 << 30)
bool session_store_save(struct session_cache *cache, const char *path, int64_t now_ms,
                        struct session_file_counts *out, char why[SESSION_STORE_WHY_MAX])
    __attribute__((warn_unused_result));
/* false with a line in why, and nothing taken in; with an empty line when there is no file yet. */
bool session_store_load(struct session_cache *cache, SSL_CTX *ssl_ctx, const char *path,
                        int64_t now_ms, struct session_file_counts *out,
                        char why[SESSION_STORE_WHY_MAX]) __attribute__((warn_unused_result));

#endif
