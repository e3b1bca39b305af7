/* The sessions that are kept for one destination, and which of them is offered next.
 *
 * Plain data without a lock: whoever owns the ring locks. Only session_slot_new() and
 * session_slots_free() allocate and free, and they need no lock: what a ring gives up is linked to
 * a list of the caller's, to be freed when the lock is let go. Times are ms of the wall clock. */
#ifndef SLUICE_TLS_SESSION_RING_H
#define SLUICE_TLS_SESSION_RING_H

#include <openssl/ssl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { SESSION_TICKETS_MAX = 16 };

/* How much is kept for a destination and how long: the configuration's, at each call. */
struct session_limits {
    unsigned tickets; /* 1 .. SESSION_TICKETS_MAX */
    int64_t timeout_ms;
};

struct session_slot {
    struct session_slot *older; /* in a ring; in a list of the caller's: the next */
    SSL_SESSION *session;       /* counted */
    int64_t stored_ms;
    int64_t ends_ms;           /* by its own lifetime and by the certificates it rests on */
    int64_t verified_until_ms; /* see session_cache_put() */
    uint64_t chain;            /* sessions with the same certificates in memory have the same */
    uint32_t own_len;          /* octets, estimated; without certificates */
    uint32_t chain_len;        /* octets of its certificates, which others may share */
    bool single_use;           /* TLS 1.3 (RFC 8446 C.4) */
    bool spent;                /* single use, and lent all the same for want of a fresh one */
};

struct session_ring {
    struct session_slot *newest; /* owned list */
    unsigned num;
};

/* Takes over the session's reference. NULL, and the session freed, when it cannot be resumed or has
 * ended already. */
struct session_slot *session_slot_new(SSL_SESSION *session, int64_t verified_until_ms,
                                      const struct session_limits *limits, int64_t now_ms);
/* The same for one that was stored before, at stored_ms. */
struct session_slot *session_slot_restore(SSL_SESSION *session, int64_t stored_ms,
                                          int64_t verified_until_ms, bool spent, int64_t now_ms);
void session_slots_free(struct session_slot *list);

/* As the newest. A fresh session makes a spent ticket useless; and of TLS 1.2 sessions, which any
 * number of connections may share, the newest is enough. */
void session_ring_put(struct session_ring *ring, struct session_slot *slot,
                      const struct session_limits *limits, struct session_slot **out_dropped);
/* The newest, or NULL. Its session is the caller's reference: of a slot that was taken out, or one
 * more of the slot that stays. relent: it had been lent before although it is for one use. */
struct session_slot *session_ring_lend(struct session_ring *ring, struct session_slot **out_dropped,
                                       bool *out_relent);
/* Returns how many went. */
unsigned session_ring_drop_expired(struct session_ring *ring, int64_t timeout_ms, int64_t now_ms,
                                   struct session_slot **out_dropped);
void session_ring_drop(struct session_ring *ring, const SSL_SESSION *session,
                       struct session_slot **out_dropped);
void session_ring_clear(struct session_ring *ring, struct session_slot **out_dropped);
/* Estimated octets of memory, certificates that several sessions share counted once. */
size_t session_ring_len(const struct session_ring *ring);

#endif
