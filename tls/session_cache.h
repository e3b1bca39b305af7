/* The per-destination TLS session cache: for each destination a ring of sessions, LRU across
 * destinations.
 *
 * Striped: each stripe has its own mutex, held for O(1) work, never over a handshake, an allocation
 * or the freeing of a session. Any thread. Sessions are kept as objects (SSL_SESSION, counted).
 * Time is an argument, in ms of the wall clock: certificates' dates and what is kept on disk go by
 * it. A clock that is set back makes sessions live longer here, and BoringSSL does not offer one
 * from the future.
 *
 * TLS 1.3 tickets are taken out when used (single use, RFC 8446 C.4), the newest first: it is the
 * one that the server is least likely to have forgotten the key of. The last one is kept and lent
 * again when a server gives no new one on resumption, and makes way for the first fresh one. TLS
 * 1.2 sessions are lent until refused, so only the newest is kept. Expired ones are never lent.
 *
 * Bounds: at most `entries` destinations and `bytes` octets in all (each stripe has its share of
 * them, and evicts the least recently used destinations when that is full), each with at most
 * limits.tickets sessions.
 *
 * A destination that gives tickets and then never resumes is learned after SESSION_REFUSALS_MAX
 * refusals in a row: its sessions are no longer stored, but for one in SESSION_RETRY_EVERY, so that
 * a server that mends its ways is noticed. */
#ifndef SLUICE_TLS_SESSION_CACHE_H
#define SLUICE_TLS_SESSION_CACHE_H

#include "base/bytes.h"
#include "tls/session_ring.h"
#include "tls/verify.h"

struct session_cache;

enum session_scope {
    SESSION_SCOPE_ADDRESS, /* IP address and port */
    SESSION_SCOPE_HOST,    /* MX host name and port */
    SESSION_SCOPE_SITE     /* all hosts of a site; only at MAY and ENCRYPT, then no SNI is sent */
};

struct session_cache_options {
    size_t entries;   /* destinations; 0 switches the cache off */
    uint64_t bytes;   /* octets of memory, as estimated by session_ring_len(); 0: no bound */
    unsigned stripes; /* power of two; 0: 16; fewer when there are fewer entries or bytes */
};
enum {
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

/* Who is spoken to; the key alone finds, the rest is what the configuration says now. */
struct session_destination {
    struct session_key key;
    const char *label; /* borrowed; for people ("mx.example.net [192.0.2.1]:25"), copied at the
                          first put */
    struct session_limits limits;
};

enum session_miss {
    SESSION_HIT,
    SESSION_MISS_FIRST,       /* nothing is known of it */
    SESSION_MISS_EVICTED,     /* it made way for others since */
    SESSION_MISS_KEY_CHANGED, /* known by the same label under another key: what is checked, the
                                 configuration or the peer's name differ */
    SESSION_MISS_NO_TICKET,   /* it was spoken to and gave no session that could be stored */
    SESSION_MISS_USED_UP,     /* all were taken or refused, or it is known never to resume */
    SESSION_MISS_EXPIRED
};

/* What to hand back with the sessions that a resumed connection is given. */
struct session_offer {
    enum session_miss miss;
    int64_t verified_until_ms; /* of the session offered */
};

/* What holds forever: no certificate was checked, or none whose dates count (RFC 7672 3.1.1). */
#define SESSION_UNVERIFIED INT64_MAX

struct session_cache *session_cache_new(const struct session_cache_options *options);
/* No thread may use the cache any more. */
void session_cache_free(struct session_cache *cache);
/* Other bounds from now on; evicts what does not fit them. Stripes stay as they are. Unlike the
 * other calls it holds each stripe's mutex for as long as its table takes to be rebuilt. */
void session_cache_set_bounds(struct session_cache *cache, size_t entries, uint64_t bytes);
bool session_cache_is_off(const struct session_cache *cache);

/* Takes over session's reference, also when it is not stored. verified_until_ms: when the first of
 * the certificates expires that the session's peer was verified by; the session is not used beyond.
 * A session from a resumed connection inherits it from the one that was offered. */
void session_cache_put(struct session_cache *cache, const struct session_destination *destination,
                       SSL_SESSION *session, int64_t verified_until_ms, int64_t now_ms);
/* A session to offer, with a reference for the caller, or NULL and why not. */
SSL_SESSION *session_cache_take(struct session_cache *cache,
                                const struct session_destination *destination, int64_t now_ms,
                                struct session_offer *out);
/* How a handshake ended. A resumed handshake failure, or a full handshake although a session was
 * offered, drops that session. Makes an entry for the destination's counters if there is room, but
 * evicts nobody for it. */
enum session_use {
    SESSION_USE_RESUMED, /* the session was accepted */
    SESSION_USE_REFUSED, /* a session was offered, the handshake was a full one */
    SESSION_USE_FAILED,  /* a session was offered, the handshake failed */
    SESSION_USE_FULL     /* none was offered, the handshake succeeded */
};
struct session_report {
    SSL_SESSION *session; /* that was offered, borrowed; NULL: none */
    enum session_use use;
    enum session_miss miss; /* what session_cache_take() said; SESSION_HIT when it was not asked */
    int64_t cpu_us;         /* what the handshake cost this side */
};
void session_cache_report(struct session_cache *cache,
                          const struct session_destination *destination,
                          const struct session_report *report);
/* Drops destinations with their sessions and counters: those for which wanted(ctx, label) says so;
 * wanted NULL: all. Returns how many. The stripe is locked during wanted(). */
size_t session_cache_flush(struct session_cache *cache,
                           bool (*wanted)(const void *ctx, const char *label), const void *ctx);

/* lookups = hits + misses. expired, stored, unwanted: sessions; evicted: destinations. */
struct session_cache_counters {
    uint64_t lookups, hits, misses, resumed, refused, failed, full, expired, evicted, stored;
    /* Why there was a miss; their sum is misses. */
    uint64_t missed_first, missed_evicted, missed_key_changed, missed_no_ticket, missed_used_up,
        missed_expired;
    uint64_t cpu_full_us, cpu_resumed_us; /* of handshakes that ended well, this side's CPU */
    uint64_t cpu_avoidable_us; /* of cpu_full_us: where a session had been given before */
    uint64_t relent;           /* hits that lent a TLS 1.3 ticket which had been used before */
    uint64_t unwanted;         /* given by destinations known never to resume, and not stored */
    uint64_t entries, sessions, bytes, never_resume; /* now; never_resume: destinations */
};
void session_cache_read_counters(struct session_cache *cache, struct session_cache_counters *out);
/* Calls on_destination for each destination with its own counters; the stripe is locked meanwhile:
 * copy only. */
void session_cache_each(struct session_cache *cache,
                        void (*on_destination)(void *ctx, const char *label,
                                               const struct session_cache_counters *counters),
                        void *ctx);

/* A destination's sessions as they are written to disk and read back; see session_file.h. */
struct session_saved {
    struct session_key key;
    char label[SESSION_LABEL_MAX + 1];
    int64_t used_ms; /* when it was last asked for or given a session */
    unsigned num;
    struct session_saved_item {
        SSL_SESSION *session; /* counted */
        int64_t stored_ms;
        int64_t verified_until_ms;
        bool spent;
    } items[SESSION_TICKETS_MAX]; /* oldest first */
};
/* Where a walk over the cache stands; zero at its beginning. */
struct session_cursor {
    size_t stripe, bucket;
};
/* The next destinations that have sessions, at most max (16 at least), with references for the
 * caller; 0: the walk is over. In no order. Locks a stripe for a few of them at a time; those that
 * come or go meanwhile, or all of a stripe that is rebuilt by session_cache_set_bounds(), may be
 * missed. */
size_t session_cache_copy(struct session_cache *cache, struct session_cursor *cursor,
                          struct session_saved *out, size_t max);
/* Takes over the sessions' references. As if they had been put then; the destination counts as the
 * most recently used. Returns how many sessions are still good. */
unsigned session_cache_restore(struct session_cache *cache, const struct session_saved *saved,
                               int64_t now_ms);

#endif
