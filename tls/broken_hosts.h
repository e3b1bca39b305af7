/* The memory of hosts whose TLS is broken. */
#ifndef SLUICE_TLS_BROKEN_HOSTS_H
#define SLUICE_TLS_BROKEN_HOSTS_H

#include <stddef.h>
#include <stdint.h>

/* Memory of hosts whose TLS is broken: bounded, LRU, one mutex (named in router/locks.h), O(1)
 * under it. Key: text that names the
 * host's address and what else makes a handshake fail or not. Any thread. */
struct tls_broken_hosts;
struct tls_broken_hosts *tls_broken_hosts_new(size_t max_entries, int64_t lifetime_ms);
void tls_broken_hosts_free(struct tls_broken_hosts *hosts);
/* Remembers a failed handshake; keeps the first instant of a series. */
void tls_broken_hosts_failed(struct tls_broken_hosts *hosts, const char *key, int64_t now_ms);
/* A handshake succeeded: forgets. */
void tls_broken_hosts_succeeded(struct tls_broken_hosts *hosts, const char *key);
/* 0: not known as broken (or too long ago). */
int64_t tls_broken_hosts_since(struct tls_broken_hosts *hosts, const char *key, int64_t now_ms);

#endif
