/* The per-destination TLS session cache: for each destination a ring of sessions, LRU across
 * destinations.
 *
 * Striped: each stripe has its own mutex, held for O(1) work, never over a handshake, an allocation
 * or the freeing of a session. Any thread. Sessions are kept as objects (SSL_SESSION, counted).
 *
 * TLS 1.3 tickets are taken out when used (single use, RFC 8446 C.4), the newest first: it is the
 * one that the server is least likely to have forgotten the key of. The last one is kept and lent
 * again when a server gives no new one on resumption, and makes way for the first fresh one. TLS
 * 1.2 sessions are lent until refused, so only the newest is kept. Expired ones are never lent.
 *
 * Bounds: at most `entries` destinations in all (each stripe has its share of them, and evicts the
 * least recently used one when that is full), each with at most tickets_per_destination sessions.
 *
 * A destination that gives tickets and then never resumes is learned after SESSION_REFUSALS_MAX
 * refusals in a row: its sessions are no longer stored, but for one in SESSION_RETRY_EVERY, so that
 * a server that mends its ways is noticed. */
#ifndef SLUICE_TLS_SESSION_CACHE_H
#define SLUICE_TLS_SESSION_CACHE_H

#include "base/bytes.h"
#include "tls/verify.h"

#include <openssl/ssl.h>

struct session_cache;

enum session_scope {
    SESSION_SCOPE_ADDRESS, /* IP address and port */
    SESSION_SCOPE_HOST,    /* MX host name and port */
    SESSION_SCOPE_SITE     /* all hosts of a site; only at MAY and ENCRYPT, then no SNI is sent */
};

struct session_cache_options {
    size_t entries;                   /* destinations; 0 switches the cache off */
    int64_t timeout_ms;               /* also capped by each session's own lifetime */
    unsigned tickets_per_destination; /* 1 .. SESSION_TICKETS_MAX */
    unsigned stripes;                 /* power of two; 0: 16; fewer when there are fewer entries */
};
enum {
    SESSION_TICKETS_MAX = 16,
    SESSION_KEY_LEN = 32,
    SESSION_LABEL_MAX = 300, /* octets; longer labels are cut */
    /* More than a full ring of stale tickets can cause after a server changed its key. */
    SESSION_REFUSALS_MAX = 20,
    /* A handshake that fails because of the session costs a connection, a refusal only a full
     * handshake. */
    SESSION_FAILURE_WEIGHT = 5,
    SESSION_RETRY_EVERY = 32
};

/* What makes sharing safe: everything here goes into the key, so that a session established under a
 * weaker check never satisfies a stronger one (the verify callback does not run on a resumed
 * handshake). */
struct session_key_parts {
    enum session_scope scope;
    struct bytes destination; /* by scope: address, host name, or site key */
    uint16_t port;
    struct bytes peer_name; /* the peer's EHLO name, lower case: tells hosts behind a balancer
                               apart; empty for site scope */
    struct bytes sni;       /* empty: none */
    bool mandatory;     /* the requirement's: a session of a connection that might have gone without
                           TLS is never taken for one that must not */
    struct bytes proof; /* tls_proof_make(): all that the certificate was checked for */
    struct bytes settings_digest; /* of protocol, cipher, group settings, client certificate, trust
                                     anchors */
};
struct session_key {
    uint8_t digest[SESSION_KEY_LEN];
};
/* The one function that builds a key: length-prefixed parts under SHA-256. */
struct session_key session_key_make(const struct session_key_parts *parts);

enum session_miss {
    SESSION_HIT,
    SESSION_MISS_FIRST,     /* nothing is known of it: first contact, or evicted since */
    SESSION_MISS_NO_TICKET, /* it was spoken to and gave no session that could be stored */
    SESSION_MISS_USED_UP,   /* all were taken or refused, or it is known never to resume */
    SESSION_MISS_EXPIRED
};

struct session_cache *session_cache_new(const struct session_cache_options *options);
/* No thread may use the cache any more. */
void session_cache_free(struct session_cache *cache);
/* Takes over session's reference, also when it is not stored. label: for people ("mx.example.net
 * [192.0.2.1]:25"), copied at the first put. */
void session_cache_put(struct session_cache *cache, const struct session_key *key,
                       const char *label, SSL_SESSION *session, int64_t now_ms);
/* A session to offer, with a reference for the caller, or NULL and why not. */
SSL_SESSION *session_cache_take(struct session_cache *cache, const struct session_key *key,
                                int64_t now_ms, enum session_miss *out_miss);
/* How the handshake ended that offered `session` (borrowed; NULL: none was offered). A resumed
 * handshake failure, or a full handshake although one was offered, drops that session. label as in
 * session_cache_put. cpu_us: what the handshake cost this side. Makes an entry for the
 * destination's counters if there is room, but evicts nobody for it. */
enum session_use {
    SESSION_USE_RESUMED, /* the session was accepted */
    SESSION_USE_REFUSED, /* a session was offered, the handshake was a full one */
    SESSION_USE_FAILED,  /* a session was offered, the handshake failed */
    SESSION_USE_FULL     /* none was offered, the handshake succeeded */
};
void session_cache_report(struct session_cache *cache, const struct session_key *key,
                          const char *label, SSL_SESSION *session, enum session_use use,
                          int64_t cpu_us);
/* Drops destinations with their sessions and counters: those for which wanted(ctx, label) says so;
 * wanted NULL: all. Returns how many. The stripe is locked during wanted(). */
size_t session_cache_flush(struct session_cache *cache,
                           bool (*wanted)(const void *ctx, const char *label), const void *ctx);

/* lookups = hits + misses. expired, stored, unwanted: sessions; evicted: destinations. A
 * destination's own counters begin when it gets its entry: its first look-up is in the totals
 * only. */
struct session_cache_counters {
    uint64_t lookups, hits, misses, resumed, refused, failed, full, expired, evicted, stored;
    /* Why there was a miss; their sum is misses. */
    uint64_t missed_first, missed_no_ticket, missed_used_up, missed_expired;
    uint64_t cpu_full_us, cpu_resumed_us; /* of handshakes that ended well, this side's CPU */
    uint64_t relent;   /* hits that lent a TLS 1.3 ticket which had been used before */
    uint64_t unwanted; /* given by destinations known never to resume, and not stored */
    uint64_t entries, sessions, never_resume; /* now; never_resume: destinations */
};
void session_cache_read_counters(struct session_cache *cache, struct session_cache_counters *out);
/* Calls on_destination for each destination with its own counters; the stripe is locked meanwhile:
 * copy only. */
void session_cache_each(struct session_cache *cache,
                        void (*on_destination)(void *ctx, const char *label,
                                               const struct session_cache_counters *counters),
                        void *ctx);

#endif
