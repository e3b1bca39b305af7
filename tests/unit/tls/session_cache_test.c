/* The rules of the session cache, with sessions that never saw a handshake. */
#include "base/memory.h"
#include "tls/session_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

enum { HOUR = 3600 * 1000, LIFETIME_S = 7200 };

static SSL_CTX *ctx;
static _Atomic unsigned next_id;

static SSL_SESSION *make_session(uint16_t version, uint32_t lifetime_s)
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

static SSL_SESSION *tls13(void)
{
    return make_session(TLS1_3_VERSION, LIFETIME_S);
}

static SSL_SESSION *tls12(void)
{
    return make_session(TLS1_2_VERSION, LIFETIME_S);
}

static struct session_destination destination_of(unsigned n, const char *label)
{
    char name[32];
    snprintf(name, sizeof name, "192.0.2.%u", n);
    return (struct session_destination){
        .key = session_key_make(&(struct session_key_parts){.destination = bytes_of(name)}),
        .label = label,
        .limits = {.tickets = 4, .timeout_ms = HOUR}};
}

static struct session_cache *make_cache(size_t entries, unsigned stripes)
{
    return session_cache_new(
        &(struct session_cache_options){.entries = entries, .stripes = stripes});
}

static struct session_cache_counters counters_of(struct session_cache *cache)
{
    struct session_cache_counters counters;
    session_cache_read_counters(cache, &counters);
    return counters;
}

/* Takes, checks which one came, and gives the reference back. */
static void put(struct session_cache *cache, const struct session_destination *to,
                SSL_SESSION *session, int64_t now_ms)
{
    session_cache_put(cache, to, session, SESSION_UNVERIFIED, now_ms);
}

static void report(struct session_cache *cache, const struct session_destination *to,
                   SSL_SESSION *session, enum session_use use)
{
    session_cache_report(cache, to,
                         &(struct session_report){.session = session, .use = use, .cpu_us = 7});
}

static void expect_take(struct session_cache *cache, const struct session_destination *to,
                        int64_t now_ms, const SSL_SESSION *expected,
                        enum session_miss expected_miss)
{
    struct session_offer offer;
    SSL_SESSION *session = session_cache_take(cache, to, now_ms, &offer);
    assert_ptr_equal(session, expected);
    assert_int_equal(offer.miss, expected_miss);
    SSL_SESSION_free(session);
}

static void takes_the_newest_tls13_ticket_once_and_lends_the_last_again(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls13(), *b = tls13(), *c = tls13();
    put(cache, &to, a, 0);
    put(cache, &to, b, 1);
    put(cache, &to, c, 2);
    expect_take(cache, &to, 3, c, SESSION_HIT);
    expect_take(cache, &to, 3, b, SESSION_HIT);
    expect_take(cache, &to, 3, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).relent, 0);
    expect_take(cache, &to, 3, a, SESSION_HIT);
    expect_take(cache, &to, 3, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).relent, 2);
    assert_int_equal(counters_of(cache).sessions, 1);
    session_cache_free(cache);
}

static void a_fresh_ticket_replaces_a_spent_one(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls13(), *b = tls13();
    put(cache, &to, a, 0);
    expect_take(cache, &to, 1, a, SESSION_HIT);
    put(cache, &to, b, 2);
    assert_int_equal(counters_of(cache).sessions, 1);
    expect_take(cache, &to, 3, b, SESSION_HIT);
    expect_take(cache, &to, 3, b, SESSION_HIT);
    session_cache_free(cache);
}

static void a_full_ring_drops_its_oldest(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    to.limits.tickets = 2;
    SSL_SESSION *a = tls13(), *b = tls13(), *c = tls13();
    put(cache, &to, a, 0);
    put(cache, &to, b, 0);
    put(cache, &to, c, 0);
    assert_int_equal(counters_of(cache).sessions, 2);
    assert_int_equal(counters_of(cache).stored, 3);
    expect_take(cache, &to, 1, c, SESSION_HIT);
    expect_take(cache, &to, 1, b, SESSION_HIT);
    session_cache_free(cache);
}

static void tls12_sessions_are_lent_until_refused_and_only_the_newest_is_kept(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls12(), *b = tls12();
    put(cache, &to, a, 0);
    for (int i = 0; i < 10; i++)
        expect_take(cache, &to, 1, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).relent, 0);
    put(cache, &to, b, 0);
    assert_int_equal(counters_of(cache).sessions, 1);
    expect_take(cache, &to, 1, b, SESSION_HIT);
    report(cache, &to, b, SESSION_USE_RESUMED);
    expect_take(cache, &to, 1, b, SESSION_HIT);
    report(cache, &to, b, SESSION_USE_REFUSED);
    expect_take(cache, &to, 1, NULL, SESSION_MISS_USED_UP);
    session_cache_free(cache);
}

static void a_failed_handshake_drops_the_session_that_was_offered(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls13();
    put(cache, &to, a, 0);
    struct session_offer offer;
    SSL_SESSION *lent = session_cache_take(cache, &to, 1, &offer);
    report(cache, &to, lent, SESSION_USE_FAILED);
    SSL_SESSION_free(lent);
    expect_take(cache, &to, 1, NULL, SESSION_MISS_USED_UP);
    assert_int_equal(counters_of(cache).failed, 1);
    session_cache_free(cache);
}

static void expires_by_the_shorter_of_timeout_and_lifetime(void **state)
{
    (void)state;
    static const struct {
        uint32_t lifetime_s;
        int64_t expires_ms;
    } rows[] = {{LIFETIME_S, HOUR}, {60, 60000}, {3600, HOUR}, {1, 1000}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session_cache *cache = make_cache(16, 1);
        struct session_destination to = destination_of(1, "one");
        SSL_SESSION *a = make_session(TLS1_2_VERSION, rows[i].lifetime_s);
        put(cache, &to, a, 500);
        expect_take(cache, &to, 500 + rows[i].expires_ms - 1, a, SESSION_HIT);
        expect_take(cache, &to, 500 + rows[i].expires_ms, NULL, SESSION_MISS_EXPIRED);
        expect_take(cache, &to, 500 + rows[i].expires_ms, NULL, SESSION_MISS_USED_UP);
        assert_int_equal(counters_of(cache).expired, 1);
        assert_int_equal(counters_of(cache).sessions, 0);
        session_cache_free(cache);
    }
}

static void a_session_without_lifetime_or_ticket_is_not_stored(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    put(cache, &to, make_session(TLS1_2_VERSION, 0), 0);
    SSL_SESSION *no_ticket = SSL_SESSION_new(ctx);
    SSL_SESSION_set_timeout(no_ticket, 100);
    put(cache, &to, no_ticket, 0);
    assert_int_equal(counters_of(cache).stored, 0);
    expect_take(cache, &to, 0, NULL, SESSION_MISS_FIRST);
    session_cache_free(cache);
}

static void the_least_recently_used_destination_is_evicted(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(2, 1);
    struct session_destination one = destination_of(1, "one"), two = destination_of(2, "two"),
                               three = destination_of(3, "three");
    SSL_SESSION *a = tls12(), *b = tls12(), *c = tls12();
    put(cache, &one, a, 0);
    put(cache, &two, b, 0);
    expect_take(cache, &one, 1, a, SESSION_HIT);
    put(cache, &three, c, 2);
    expect_take(cache, &two, 3, NULL, SESSION_MISS_EVICTED);
    expect_take(cache, &one, 3, a, SESSION_HIT);
    expect_take(cache, &three, 3, c, SESSION_HIT);
    struct session_cache_counters counters = counters_of(cache);
    assert_int_equal(counters.evicted, 1);
    assert_int_equal(counters.entries, 2);
    assert_int_equal(counters.sessions, 2);
    session_cache_free(cache);
}

static void never_holds_more_destinations_than_entries(void **state)
{
    (void)state;
    static const struct {
        size_t entries;
        unsigned stripes;
    } rows[] = {{1, 0}, {3, 16}, {16, 16}, {17, 16}, {100, 8}, {1000, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session_cache *cache = make_cache(rows[i].entries, rows[i].stripes);
        for (unsigned n = 0; n < 5000; n++) {
            struct session_destination to = destination_of(n, "one");
            put(cache, &to, tls12(), 0);
            report(cache, &to, NULL, SESSION_USE_FULL);
        }
        struct session_cache_counters counters = counters_of(cache);
        /* 5000 keys fill every stripe, so the shares must add up to the whole. */
        assert_int_equal(counters.entries, rows[i].entries);
        assert_int_equal(counters.evicted, 5000 - rows[i].entries);
        assert_int_equal(counters.sessions, rows[i].entries);
        session_cache_free(cache);
    }
}

static void no_entries_switches_it_off_and_still_counts(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(0, 0);
    struct session_destination to = destination_of(1, "one");
    put(cache, &to, tls12(), 0);
    expect_take(cache, &to, 1, NULL, SESSION_MISS_FIRST);
    report(cache, &to, NULL, SESSION_USE_FULL);
    struct session_cache_counters counters = counters_of(cache);
    assert_int_equal(counters.entries, 0);
    assert_int_equal(counters.misses, 1);
    assert_int_equal(counters.full, 1);
    session_cache_free(cache);
}

/* Offers what there is and is refused. */
static void refuse_once(struct session_cache *cache, const struct session_destination *to,
                        enum session_use use)
{
    struct session_offer offer;
    SSL_SESSION *session = session_cache_take(cache, to, 1, &offer);
    assert_non_null(session);
    report(cache, to, session, use);
    SSL_SESSION_free(session);
}

static void a_destination_that_never_resumes_is_learned_and_retried(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    for (int i = 0; i < SESSION_REFUSALS_MAX; i++) {
        assert_int_equal(counters_of(cache).never_resume, 0);
        put(cache, &to, tls13(), 0);
        put(cache, &to, tls13(), 0);
        refuse_once(cache, &to, SESSION_USE_REFUSED);
    }
    assert_int_equal(counters_of(cache).never_resume, 1);
    assert_int_equal(counters_of(cache).sessions, 0);
    uint64_t stored = counters_of(cache).stored;
    for (int i = 0; i < SESSION_RETRY_EVERY - 1; i++)
        put(cache, &to, tls13(), 0);
    expect_take(cache, &to, 1, NULL, SESSION_MISS_USED_UP);
    assert_int_equal(counters_of(cache).unwanted, SESSION_RETRY_EVERY - 1);
    assert_int_equal(counters_of(cache).stored, stored);
    put(cache, &to, tls13(), 0);
    refuse_once(cache, &to, SESSION_USE_REFUSED);
    assert_int_equal(counters_of(cache).never_resume, 1);
    for (int i = 0; i < SESSION_RETRY_EVERY; i++)
        put(cache, &to, tls13(), 0);
    refuse_once(cache, &to, SESSION_USE_RESUMED);
    assert_int_equal(counters_of(cache).never_resume, 0);
    put(cache, &to, tls13(), 0);
    assert_int_equal(counters_of(cache).sessions, 1);
    session_cache_free(cache);
}

static void handshakes_broken_by_a_session_are_learned_sooner(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    for (int i = 0; i < SESSION_REFUSALS_MAX / SESSION_FAILURE_WEIGHT; i++) {
        assert_int_equal(counters_of(cache).never_resume, 0);
        put(cache, &to, tls13(), 0);
        refuse_once(cache, &to, SESSION_USE_FAILED);
    }
    assert_int_equal(counters_of(cache).never_resume, 1);
    session_cache_free(cache);
}

static void a_resumption_forgives_earlier_refusals(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    for (int i = 0; i < 3 * SESSION_REFUSALS_MAX; i++) {
        put(cache, &to, tls13(), 0);
        refuse_once(cache, &to, i % 10 == 9 ? SESSION_USE_RESUMED : SESSION_USE_REFUSED);
    }
    assert_int_equal(counters_of(cache).never_resume, 0);
    session_cache_free(cache);
}

struct listing {
    unsigned num;
    char label[SESSION_LABEL_MAX + 8];
    struct session_cache_counters counters;
};

static void note_destination(void *to, const char *label,
                             const struct session_cache_counters *counters)
{
    struct listing *listing = to;
    listing->num++;
    snprintf(listing->label, sizeof listing->label, "%s", label);
    listing->counters = *counters;
}

static void counts_per_destination_and_in_total(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4);
    struct session_destination to = destination_of(1, "mx.example.net [192.0.2.1]:25");
    SSL_SESSION *a = tls12();
    report(cache, &to, NULL, SESSION_USE_FULL);
    put(cache, &to, a, 0);
    expect_take(cache, &to, 1, a, SESSION_HIT);
    report(cache, &to, a, SESSION_USE_RESUMED);
    expect_take(cache, &to, 1, a, SESSION_HIT);
    report(cache, &to, a, SESSION_USE_REFUSED);
    expect_take(cache, &to, 1, NULL, SESSION_MISS_USED_UP);
    struct listing listing = {0};
    session_cache_each(cache, note_destination, &listing);
    assert_int_equal(listing.num, 1);
    assert_string_equal(listing.label, "mx.example.net [192.0.2.1]:25");
    const struct session_cache_counters total = counters_of(cache);
    assert_memory_equal(&listing.counters, &total, sizeof total);
    const struct session_cache_counters expected = {.lookups = 3,
                                                    .hits = 2,
                                                    .misses = 1,
                                                    .missed_used_up = 1,
                                                    .cpu_full_us = 14,
                                                    .cpu_resumed_us = 7,
                                                    .resumed = 1,
                                                    .refused = 1,
                                                    .full = 1,
                                                    .stored = 1,
                                                    .entries = 1,
                                                    .bytes = total.bytes,
                                                    .cpu_avoidable_us = 7};
    assert_memory_equal(&total, &expected, sizeof total);
    session_cache_free(cache);
}

static void each_miss_has_its_reason(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    expect_take(cache, &to, 0, NULL, SESSION_MISS_FIRST);
    report(cache, &to, NULL, SESSION_USE_FULL);
    expect_take(cache, &to, 0, NULL, SESSION_MISS_NO_TICKET);
    put(cache, &to, make_session(TLS1_2_VERSION, 1), 0);
    expect_take(cache, &to, 1000, NULL, SESSION_MISS_EXPIRED);
    expect_take(cache, &to, 1000, NULL, SESSION_MISS_USED_UP);
    struct session_cache_counters counters = counters_of(cache);
    assert_int_equal(counters.missed_first, 1);
    assert_int_equal(counters.missed_no_ticket, 1);
    assert_int_equal(counters.missed_expired, 1);
    assert_int_equal(counters.missed_used_up, 1);
    assert_int_equal(counters.misses, 4);
    session_cache_free(cache);
}

static bool is_labelled(const void *wanted, const char *label)
{
    return strcmp(wanted, label) == 0;
}

static void a_flush_drops_what_it_names_or_all(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(64, 4);
    for (unsigned i = 0; i < 20; i++) {
        struct session_destination to = destination_of(i, "one");
        to.label = i % 2 ? "odd" : "even";
        put(cache, &to, tls12(), 0);
    }
    assert_int_equal(session_cache_flush(cache, is_labelled, "none"), 0);
    assert_int_equal(session_cache_flush(cache, is_labelled, "odd"), 10);
    assert_int_equal(counters_of(cache).sessions, 10);
    struct session_destination even = destination_of(2, "one");
    struct session_offer offer;
    SSL_SESSION *session = session_cache_take(cache, &even, 1, &offer);
    assert_non_null(session);
    SSL_SESSION_free(session);
    assert_int_equal(session_cache_flush(cache, NULL, NULL), 10);
    assert_int_equal(counters_of(cache).entries, 0);
    assert_int_equal(counters_of(cache).sessions, 0);
    expect_take(cache, &even, 1, NULL, SESSION_MISS_FIRST);
    session_cache_free(cache);
}

static void a_long_label_is_cut(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4);
    struct session_destination to = destination_of(1, "one");
    char label[2 * SESSION_LABEL_MAX];
    memset(label, 'x', sizeof label - 1);
    label[sizeof label - 1] = 0;
    to.label = label;
    put(cache, &to, tls12(), 0);
    struct listing listing = {0};
    session_cache_each(cache, note_destination, &listing);
    assert_int_equal(strlen(listing.label), SESSION_LABEL_MAX);
    session_cache_free(cache);
}

static void a_report_evicts_nobody(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(1, 1);
    struct session_destination one = destination_of(1, "one"), two = destination_of(2, "two");
    SSL_SESSION *a = tls12();
    put(cache, &one, a, 0);
    report(cache, &two, NULL, SESSION_USE_FULL);
    expect_take(cache, &one, 1, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).full, 1);
    session_cache_free(cache);
}

static void a_destination_may_have_limits_of_its_own(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    SSL_SESSION *a = tls13(), *b = tls13(), *c = tls13();
    put(cache, &to, a, 0);
    put(cache, &to, b, 0);
    /* Fewer from now on, as after a reload: the newest fit. */
    to.limits = (struct session_limits){.tickets = 2, .timeout_ms = 1000};
    put(cache, &to, c, 500);
    assert_int_equal(counters_of(cache).sessions, 2);
    expect_take(cache, &to, 999, c, SESSION_HIT);
    expect_take(cache, &to, 999, b, SESSION_HIT);
    expect_take(cache, &to, 1000, NULL, SESSION_MISS_EXPIRED);
    to.limits.timeout_ms = HOUR;
    SSL_SESSION *d = tls13();
    put(cache, &to, d, 1000);
    expect_take(cache, &to, 3000, d, SESSION_HIT);
    session_cache_free(cache);
}

static void a_session_ends_with_what_it_was_verified_by(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 1);
    struct session_destination to = destination_of(1, "one");
    struct session_offer offer;
    SSL_SESSION *a = tls12();
    session_cache_put(cache, &to, a, 5000, 0);
    SSL_SESSION *lent = session_cache_take(cache, &to, 4999, &offer);
    assert_ptr_equal(lent, a);
    SSL_SESSION_free(lent);
    assert_int_equal(offer.verified_until_ms, 5000);
    /* What the resumed connection is given ends then, too. */
    session_cache_put(cache, &to, tls12(), offer.verified_until_ms, 4999);
    expect_take(cache, &to, 5000, NULL, SESSION_MISS_EXPIRED);
    session_cache_put(cache, &to, tls12(), 5000, 5000);
    assert_int_equal(counters_of(cache).sessions, 0);
    session_cache_free(cache);
}

static void stays_within_its_bytes(void **state)
{
    (void)state;
    static const struct {
        uint64_t bytes;
        unsigned stripes;
    } rows[] = {{100 * 1024, 1}, {300 * 1024, 16}, {1024 * 1024, 4}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session_cache *cache = session_cache_new(&(struct session_cache_options){
            .entries = 100000, .bytes = rows[i].bytes, .stripes = rows[i].stripes});
        for (unsigned n = 0; n < 3000; n++) {
            struct session_destination to = destination_of(n, "many");
            put(cache, &to, tls13(), 0);
            put(cache, &to, tls13(), 0);
            assert_true(counters_of(cache).bytes <= rows[i].bytes);
        }
        struct session_cache_counters counters = counters_of(cache);
        assert_true(counters.evicted > 0 && counters.entries + counters.evicted == 3000);
        assert_true(counters.bytes > rows[i].bytes / 2);
        assert_int_equal(session_cache_flush(cache, NULL, NULL), counters.entries);
        assert_int_equal(counters_of(cache).bytes, 0);
        session_cache_free(cache);
    }
}

static void a_destination_larger_than_the_cache_is_not_kept(void **state)
{
    (void)state;
    struct session_cache *cache =
        session_cache_new(&(struct session_cache_options){.entries = 10, .bytes = 500});
    struct session_destination to = destination_of(1, "one");
    put(cache, &to, tls13(), 0);
    expect_take(cache, &to, 1, NULL, SESSION_MISS_EVICTED);
    assert_int_equal(counters_of(cache).bytes, 0);
    session_cache_free(cache);
}

static void other_bounds_keep_what_fits_them(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(64, 1);
    SSL_SESSION *sessions[64];
    for (unsigned i = 0; i < 64; i++) {
        struct session_destination to = destination_of(i, "bounds");
        put(cache, &to, sessions[i] = tls12(), 0);
    }
    session_cache_set_bounds(cache, 8, 0);
    assert_int_equal(counters_of(cache).entries, 8);
    assert_int_equal(counters_of(cache).evicted, 56);
    for (unsigned i = 56; i < 64; i++) {
        struct session_destination to = destination_of(i, "bounds");
        expect_take(cache, &to, 1, sessions[i], SESSION_HIT);
    }
    session_cache_set_bounds(cache, 1000, 0);
    for (unsigned i = 100; i < 600; i++) {
        struct session_destination to = destination_of(i, "bounds");
        put(cache, &to, tls12(), 0);
    }
    assert_int_equal(counters_of(cache).entries, 508);
    session_cache_set_bounds(cache, 1000, 64 * 1024);
    assert_true(counters_of(cache).bytes <= 64 * 1024 && counters_of(cache).entries > 0);
    assert_false(session_cache_is_off(cache));
    session_cache_set_bounds(cache, 0, 0);
    assert_true(session_cache_is_off(cache));
    assert_int_equal(counters_of(cache).entries, 0);
    session_cache_free(cache);
}

static void an_eviction_and_another_key_are_told_from_a_first_contact(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(2, 1);
    struct session_destination one = destination_of(1, "one"), two = destination_of(2, "two"),
                               three = destination_of(3, "three");
    put(cache, &one, tls12(), 0);
    put(cache, &two, tls12(), 0);
    put(cache, &three, tls12(), 0);
    expect_take(cache, &one, 1, NULL, SESSION_MISS_EVICTED);
    struct session_destination changed = destination_of(4, "two");
    expect_take(cache, &changed, 1, NULL, SESSION_MISS_KEY_CHANGED);
    session_cache_report(cache, &changed,
                         &(struct session_report){.use = SESSION_USE_FULL,
                                                  .miss = SESSION_MISS_KEY_CHANGED,
                                                  .cpu_us = 9});
    struct session_destination four = destination_of(5, "four");
    expect_take(cache, &four, 1, NULL, SESSION_MISS_FIRST);
    struct session_cache_counters counters = counters_of(cache);
    assert_int_equal(counters.missed_evicted, 1);
    assert_int_equal(counters.missed_key_changed, 1);
    assert_int_equal(counters.missed_first, 1);
    assert_int_equal(counters.cpu_avoidable_us, 9);
    session_cache_flush(cache, NULL, NULL);
    expect_take(cache, &three, 1, NULL, SESSION_MISS_FIRST);
    expect_take(cache, &changed, 1, NULL, SESSION_MISS_FIRST);
    session_cache_free(cache);
}

static void the_first_look_up_is_the_destinations_own_as_well(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(2, 1);
    struct session_destination to = destination_of(1, "one");
    struct listing listing = {0};
    expect_take(cache, &to, 1, NULL, SESSION_MISS_FIRST);
    session_cache_report(
        cache, &to, &(struct session_report){.use = SESSION_USE_FULL, .miss = SESSION_MISS_FIRST});
    session_cache_each(cache, note_destination, &listing);
    assert_int_equal(listing.counters.lookups, 1);
    assert_int_equal(listing.counters.missed_first, 1);
    session_cache_free(cache);
}

enum { THREADS = 16, ROUNDS = 5000, KEYS = 48 };

/* What goes on beside deliveries: the table, a save, a reload. */
static void look_around(struct session_cache *cache, unsigned i)
{
    struct listing listing = {0};
    struct session_cursor cursor = {0};
    static _Thread_local struct session_saved saved[32];
    session_cache_each(cache, note_destination, &listing);
    for (size_t num; (num = session_cache_copy(cache, &cursor, saved, 32)) > 0;)
        for (size_t k = 0; k < num; k++)
            for (unsigned n = 0; n < saved[k].num; n++)
                SSL_SESSION_free(saved[k].items[n].session);
    session_cache_set_bounds(cache, i % 2000 ? KEYS / 2 : KEYS / 3, 0);
}

static void *hammer(void *arg)
{
    struct session_cache *cache = arg;
    unsigned random = 12345u * (unsigned)(uintptr_t)pthread_self();
    for (unsigned i = 0; i < ROUNDS; i++) {
        random = random * 1664525u + 1013904223u;
        struct session_destination to = destination_of((random >> 8) % KEYS, "hammered");
        struct session_offer offer;
        SSL_SESSION *session = session_cache_take(cache, &to, i, &offer);
        enum session_use use = !session             ? SESSION_USE_FULL
                               : (random & 64) != 0 ? SESSION_USE_RESUMED
                                                    : SESSION_USE_REFUSED;
        report(cache, &to, session, use);
        SSL_SESSION_free(session);
        if (use != SESSION_USE_RESUMED || (random & 128) != 0)
            put(cache, &to, (random & 32) != 0 ? tls13() : tls12(), i);
        if (i % 1000 == 0)
            look_around(cache, i);
    }
    return NULL;
}

static void keeps_its_books_under_sixteen_threads(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(KEYS / 2, 4);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, hammer, cache), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    struct session_cache_counters counters = counters_of(cache);
    assert_int_equal(counters.lookups, THREADS * ROUNDS);
    assert_int_equal(counters.lookups, counters.hits + counters.misses);
    assert_int_equal(counters.lookups, counters.resumed + counters.refused + counters.full);
    assert_true(counters.entries <= KEYS / 2);
    assert_true(counters.sessions <= counters.entries * 4);
    struct listing listing = {0};
    session_cache_each(cache, note_destination, &listing);
    assert_int_equal(listing.num, counters.entries);
    session_cache_free(cache);
}

static int set_up(void **state)
{
    (void)state;
    ctx = SSL_CTX_new(TLS_with_buffers_method());
    return ctx ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    SSL_CTX_free(ctx);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(takes_the_newest_tls13_ticket_once_and_lends_the_last_again),
        cmocka_unit_test(a_fresh_ticket_replaces_a_spent_one),
        cmocka_unit_test(a_full_ring_drops_its_oldest),
        cmocka_unit_test(tls12_sessions_are_lent_until_refused_and_only_the_newest_is_kept),
        cmocka_unit_test(a_failed_handshake_drops_the_session_that_was_offered),
        cmocka_unit_test(expires_by_the_shorter_of_timeout_and_lifetime),
        cmocka_unit_test(a_session_without_lifetime_or_ticket_is_not_stored),
        cmocka_unit_test(the_least_recently_used_destination_is_evicted),
        cmocka_unit_test(never_holds_more_destinations_than_entries),
        cmocka_unit_test(no_entries_switches_it_off_and_still_counts),
        cmocka_unit_test(a_destination_that_never_resumes_is_learned_and_retried),
        cmocka_unit_test(handshakes_broken_by_a_session_are_learned_sooner),
        cmocka_unit_test(a_resumption_forgives_earlier_refusals),
        cmocka_unit_test(counts_per_destination_and_in_total),
        cmocka_unit_test(each_miss_has_its_reason),
        cmocka_unit_test(a_flush_drops_what_it_names_or_all),
        cmocka_unit_test(a_long_label_is_cut),
        cmocka_unit_test(a_report_evicts_nobody),
        cmocka_unit_test(a_destination_may_have_limits_of_its_own),
        cmocka_unit_test(a_session_ends_with_what_it_was_verified_by),
        cmocka_unit_test(stays_within_its_bytes),
        cmocka_unit_test(a_destination_larger_than_the_cache_is_not_kept),
        cmocka_unit_test(other_bounds_keep_what_fits_them),
        cmocka_unit_test(an_eviction_and_another_key_are_told_from_a_first_contact),
        cmocka_unit_test(the_first_look_up_is_the_destinations_own_as_well),
        cmocka_unit_test(keeps_its_books_under_sixteen_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
