/* Sessions that never saw a handshake, and a cache to put them into, for the tests of the session
 * cache. Everything is static; each test is a program of its own and runs between set_up() and
 * tear_down(). */
#ifndef SLUICE_TESTS_SUPPORT_MADE_SESSIONS_H
#define SLUICE_TESTS_SUPPORT_MADE_SESSIONS_H

#include "tests/unit/cmocka_prelude.h"
#include "tls/session_cache.h"

#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

enum { HOUR = 3600 * 1000, LIFETIME_S = 7200 };

static SSL_CTX *ctx;
static _Atomic unsigned next_id;

static inline SSL_SESSION *make_session(uint16_t version, uint32_t lifetime_s)
{
    SSL_SESSION *session = SSL_SESSION_new(ctx);
    uint8_t id[32] = {0};
    unsigned n = ++next_id;
    memcpy(id, &n, sizeof n);
    assert_true(SSL_SESSION_set1_id(session, id, sizeof id));
    if (version >= TLS1_3_VERSION) /* resumable by a ticket only */
        assert_true(SSL_SESSION_set_ticket(session, id, sizeof id));
    assert_true(SSL_SESSION_set_protocol_version(session, version));
    SSL_SESSION_set_timeout(session, lifetime_s);
    return session;
}

static inline SSL_SESSION *tls13(void)
{
    return make_session(TLS1_3_VERSION, LIFETIME_S);
}

static inline SSL_SESSION *tls12(void)
{
    return make_session(TLS1_2_VERSION, LIFETIME_S);
}

static inline struct session_destination destination_of(unsigned n, const char *label)
{
    char name[32];
    snprintf(name, sizeof name, "192.0.2.%u", n);
    return (struct session_destination){
        .key = session_key_make(&(struct session_key_parts){.destination = bytes_of(name)}),
        .label = label,
        .limits = {.tickets = 4, .timeout_ms = HOUR}};
}

static inline struct session_cache *make_cache(size_t entries, unsigned stripes)
{
    return session_cache_new(
        &(struct session_cache_options){.entries = entries, .stripes = stripes});
}

static inline struct session_cache_counters counters_of(struct session_cache *cache)
{
    struct session_cache_counters counters;
    session_cache_read_counters(cache, &counters);
    return counters;
}

static inline void put(struct session_cache *cache, const struct session_destination *to,
                       SSL_SESSION *session, int64_t now_ms)
{
    session_cache_put(cache, to, session, SESSION_UNVERIFIED, now_ms);
}

static inline void report(struct session_cache *cache, const struct session_destination *to,
                          SSL_SESSION *session, enum session_use use)
{
    session_cache_report(cache, to,
                         &(struct session_report){.session = session, .use = use, .cpu_us = 7});
}

/* Takes, checks which one came, and gives the reference back. */
static inline void expect_take(struct session_cache *cache, const struct session_destination *to,
                               int64_t now_ms, const SSL_SESSION *expected,
                               enum session_miss expected_miss)
{
    struct session_offer offer;
    SSL_SESSION *session = session_cache_take(cache, to, now_ms, &offer);
    assert_ptr_equal(session, expected);
    assert_int_equal(offer.miss, expected_miss);
    SSL_SESSION_free(session);
}

struct listing {
    unsigned num;
    char label[SESSION_LABEL_MAX + 8];
    struct session_cache_counters counters;
};

static inline void note_destination(void *to, const char *label,
                                    const struct session_cache_counters *counters)
{
    struct listing *listing = to;
    listing->num++;
    snprintf(listing->label, sizeof listing->label, "%s", label);
    listing->counters = *counters;
}

static inline int set_up(void **state)
{
    (void)state;
    ctx = SSL_CTX_new(TLS_with_buffers_method());
    return ctx ? 0 : -1;
}

static inline int tear_down(void **state)
{
    (void)state;
    SSL_CTX_free(ctx);
    return 0;
}

#endif
