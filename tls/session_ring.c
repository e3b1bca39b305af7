/* The ring of the header: a list of at most SESSION_TICKETS_MAX sessions, newest first.
 * It knows no destination, counts nothing and never asks the time. */
#include "tls/session_ring.h"

#include "base/check.h"
#include "base/memory.h"

#include <openssl/pool.h>

/* What jemalloc gives for an SSL_SESSION without ticket and certificates, with the list of the
 * latter, and for the slot: measured by session_memory_test, see docs/tls.md. */
enum { SESSION_OWN_LEN = 700, CERTIFICATE_OWN_LEN = 80 };
enum { CLOCK_SLACK_MS = 60 * 1000 };

static void drop_at(struct session_ring *ring, struct session_slot **at,
                    struct session_slot **out_dropped)
{
    struct session_slot *slot = *at;
    *at = slot->older;
    slot->older = *out_dropped;
    *out_dropped = slot;
    ring->num--;
}

static int64_t earlier(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* The certificates lie in the process's pool, once each: the same addresses are the same chain. */
static void measure(struct session_slot *slot)
{
    const uint8_t *ticket;
    size_t ticket_len, chain_len = 0;
    uint64_t chain = UINT64_C(0xcbf29ce484222325);
    const STACK_OF(CRYPTO_BUFFER) *sent = SSL_SESSION_get0_peer_certificates(slot->session);
    for (size_t i = 0; sent && i < sk_CRYPTO_BUFFER_num(sent); i++) {
        const CRYPTO_BUFFER *certificate = sk_CRYPTO_BUFFER_value(sent, i);
        chain_len += CRYPTO_BUFFER_len(certificate) + CERTIFICATE_OWN_LEN;
        chain = (chain ^ (uint64_t)(uintptr_t)certificate) * UINT64_C(0x100000001b3);
    }
    SSL_SESSION_get0_ticket(slot->session, &ticket, &ticket_len);
    slot->own_len = (uint32_t)earlier((int64_t)ticket_len + SESSION_OWN_LEN, INT32_MAX);
    slot->chain_len = (uint32_t)earlier((int64_t)chain_len, INT32_MAX);
    slot->chain = chain;
}

struct session_slot *session_slot_restore(SSL_SESSION *session, int64_t stored_ms,
                                          int64_t verified_until_ms, bool spent, int64_t now_ms)
{
    /* The lifetime that the server named runs from when it was received, which is when the session
     * was stored. */
    int64_t ends_ms =
        earlier(stored_ms + (int64_t)SSL_SESSION_get_timeout(session) * 1000, verified_until_ms);
    /* From the future: the clock was set back, and it would be kept for too long. */
    if (!SSL_SESSION_is_resumable(session) || ends_ms <= now_ms ||
        stored_ms > now_ms + CLOCK_SLACK_MS) {
        SSL_SESSION_free(session);
        return NULL;
    }
    struct session_slot *slot = mem_zalloc(1, sizeof *slot);
    slot->session = session;
    slot->stored_ms = stored_ms;
    slot->ends_ms = ends_ms;
    slot->verified_until_ms = verified_until_ms;
    slot->single_use = SSL_SESSION_should_be_single_use(session);
    slot->spent = spent;
    measure(slot);
    return slot;
}

struct session_slot *session_slot_new(SSL_SESSION *session, int64_t verified_until_ms,
                                      const struct session_limits *limits, int64_t now_ms)
{
    if (limits->timeout_ms > 0)
        return session_slot_restore(session, now_ms, verified_until_ms, false, now_ms);
    SSL_SESSION_free(session);
    return NULL;
}

void session_slots_free(struct session_slot *list)
{
    while (list) {
        struct session_slot *slot = list;
        list = slot->older;
        SSL_SESSION_free(slot->session);
        free(slot);
    }
}

void session_ring_put(struct session_ring *ring, struct session_slot *slot,
                      const struct session_limits *limits, struct session_slot **out_dropped)
{
    unsigned kept = 1;
    CHECK(limits->tickets >= 1 && limits->tickets <= SESSION_TICKETS_MAX);
    for (struct session_slot **at = &ring->newest; *at;) {
        bool useless = (*at)->spent || (!(*at)->single_use && !slot->single_use);
        if (useless || kept == limits->tickets) {
            drop_at(ring, at, out_dropped);
            continue;
        }
        kept++;
        at = &(*at)->older;
    }
    slot->older = ring->newest;
    ring->newest = slot;
    ring->num++;
}

/* Only the last TLS 1.3 ticket stays when it is lent: servers that treat tickets as stateless
 * accept it again and again, the others fall back to a full handshake by themselves, and not to
 * offer it would be a full handshake in any case. */
struct session_slot *session_ring_lend(struct session_ring *ring, struct session_slot **out_dropped,
                                       bool *out_relent)
{
    struct session_slot *slot = ring->newest;
    *out_relent = false;
    if (!slot)
        return NULL;
    SSL_SESSION_up_ref(slot->session);
    if (slot->single_use && ring->num > 1) {
        drop_at(ring, &ring->newest, out_dropped);
        return slot;
    }
    *out_relent = slot->spent;
    slot->spent = slot->single_use;
    return slot;
}

unsigned session_ring_drop_expired(struct session_ring *ring, int64_t timeout_ms, int64_t now_ms,
                                   struct session_slot **out_dropped)
{
    unsigned num = 0;
    for (struct session_slot **at = &ring->newest; *at;) {
        if (earlier((*at)->ends_ms, (*at)->stored_ms + timeout_ms) > now_ms) {
            at = &(*at)->older;
            continue;
        }
        drop_at(ring, at, out_dropped);
        num++;
    }
    return num;
}

void session_ring_drop(struct session_ring *ring, const SSL_SESSION *session,
                       struct session_slot **out_dropped)
{
    for (struct session_slot **at = &ring->newest; *at; at = &(*at)->older) {
        if ((*at)->session == session) {
            drop_at(ring, at, out_dropped);
            return;
        }
    }
}

void session_ring_clear(struct session_ring *ring, struct session_slot **out_dropped)
{
    while (ring->newest)
        drop_at(ring, &ring->newest, out_dropped);
}

static bool is_shared_with_newer(const struct session_ring *ring, const struct session_slot *slot)
{
    for (const struct session_slot *at = ring->newest; at != slot; at = at->older)
        if (at->chain == slot->chain)
            return true;
    return false;
}

size_t session_ring_len(const struct session_ring *ring)
{
    size_t len = 0;
    for (const struct session_slot *slot = ring->newest; slot; slot = slot->older) {
        len += slot->own_len;
        if (!is_shared_with_newer(ring, slot))
            len += slot->chain_len;
    }
    return len;
}
