/* TLS policy: which level a delivery needs, and where plaintext may go. Pure; the only place that
 * decides it. Levels in rising order; the ones between MAY and ENCRYPT's successors (verify, sts,
 * dane) take their place here. */
#ifndef SLUICE_TLS_POLICY_H
#define SLUICE_TLS_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tls_level {
    TLS_LEVEL_NONE,   /* never STARTTLS */
    TLS_LEVEL_MAY,    /* opportunistic: TLS where offered, else plaintext */
    TLS_LEVEL_ENCRYPT /* TLS or nothing; the certificate is not checked */
};

/* What a host did when TLS was wanted. */
enum tls_event { TLS_NOT_OFFERED, TLS_REFUSED, TLS_HANDSHAKE_FAILED };

enum tls_action {
    TLS_ACTION_PLAINTEXT, /* go on without TLS (after a failed handshake: on a new connection) */
    TLS_ACTION_NEXT_HOST  /* leave this host; when none is left, defer */
};

const char *tls_level_name(enum tls_level level);
bool tls_level_parse(const char *name, enum tls_level *out) __attribute__((warn_unused_result));
static inline enum tls_level tls_level_max(enum tls_level a, enum tls_level b)
{
    return a > b ? a : b;
}

/* The table "level x event" of docs/tls.md. broken_since_ms: when this host's handshake first
 * failed (monotonic; 0: never), from the memory of broken hosts; under MAY a host whose TLS has
 * been broken for plaintext_after_ms or longer may be spoken to in plaintext. */
enum tls_action tls_policy_decide(enum tls_level level, enum tls_event event,
                                  int64_t broken_since_ms, int64_t plaintext_after_ms,
                                  int64_t now_ms);
/* Whether to ask for STARTTLS at all on a new connection, where it is offered. */
bool tls_policy_wants_tls(enum tls_level level, int64_t broken_since_ms, int64_t plaintext_after_ms,
                          int64_t now_ms);

/* Memory of hosts whose TLS is broken: bounded, LRU, one mutex (named in router/locks.h), O(1)
 * under it. Key: address and port in text. Any thread. */
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
