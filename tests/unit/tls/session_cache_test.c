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

static struct session_key key_of(unsigned n)
{
    char name[32];
    snprintf(name, sizeof name, "192.0.2.%u", n);
    return session_key_make(&(struct session_key_parts){.destination = bytes_of(name)});
}

static struct session_cache *make_cache(size_t entries, unsigned tickets, unsigned stripes)
{
    return session_cache_new(&(struct session_cache_options){.entries = entries,
                                                             .timeout_ms = HOUR,
                                                             .tickets_per_destination = tickets,
                                                             .stripes = stripes});
}

static struct session_cache_counters counters_of(struct session_cache *cache)
{
    struct session_cache_counters counters;
    session_cache_read_counters(cache, &counters);
    return counters;
}

/* Takes, checks which one came, and gives the reference back. */
static void expect_take(struct session_cache *cache, const struct session_key *key, int64_t now_ms,
                        const SSL_SESSION *expected, enum session_miss expected_miss)
{
    enum session_miss miss;
    SSL_SESSION *session = session_cache_take(cache, key, now_ms, &miss);
    assert_ptr_equal(session, expected);
    assert_int_equal(miss, expected_miss);
    SSL_SESSION_free(session);
}

static void takes_the_newest_tls13_ticket_once_and_lends_the_last_again(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4, 1);
    struct session_key key = key_of(1);
    SSL_SESSION *a = tls13(), *b = tls13(), *c = tls13();
    session_cache_put(cache, &key, "one", a, 0);
    session_cache_put(cache, &key, "one", b, 1);
    session_cache_put(cache, &key, "one", c, 2);
    expect_take(cache, &key, 3, c, SESSION_HIT);
    expect_take(cache, &key, 3, b, SESSION_HIT);
    expect_take(cache, &key, 3, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).relent, 0);
    expect_take(cache, &key, 3, a, SESSION_HIT);
    expect_take(cache, &key, 3, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).relent, 2);
    assert_int_equal(counters_of(cache).sessions, 1);
    session_cache_free(cache);
}

static void a_fresh_ticket_replaces_a_spent_one(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4, 1);
    struct session_key key = key_of(1);
    SSL_SESSION *a = tls13(), *b = tls13();
    session_cache_put(cache, &key, "one", a, 0);
    expect_take(cache, &key, 1, a, SESSION_HIT);
    session_cache_put(cache, &key, "one", b, 2);
    assert_int_equal(counters_of(cache).sessions, 1);
    expect_take(cache, &key, 3, b, SESSION_HIT);
    expect_take(cache, &key, 3, b, SESSION_HIT);
    session_cache_free(cache);
}

static void a_full_ring_drops_its_oldest(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 2, 1);
    struct session_key key = key_of(1);
    SSL_SESSION *a = tls13(), *b = tls13(), *c = tls13();
    session_cache_put(cache, &key, "one", a, 0);
    session_cache_put(cache, &key, "one", b, 0);
    session_cache_put(cache, &key, "one", c, 0);
    assert_int_equal(counters_of(cache).sessions, 2);
    assert_int_equal(counters_of(cache).stored, 3);
    expect_take(cache, &key, 1, c, SESSION_HIT);
    expect_take(cache, &key, 1, b, SESSION_HIT);
    session_cache_free(cache);
}

static void tls12_sessions_are_lent_until_refused_and_only_the_newest_is_kept(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4, 1);
    struct session_key key = key_of(1);
    SSL_SESSION *a = tls12(), *b = tls12();
    session_cache_put(cache, &key, "one", a, 0);
    for (int i = 0; i < 10; i++)
        expect_take(cache, &key, 1, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).relent, 0);
    session_cache_put(cache, &key, "one", b, 0);
    assert_int_equal(counters_of(cache).sessions, 1);
    expect_take(cache, &key, 1, b, SESSION_HIT);
    session_cache_report(cache, &key, "one", b, SESSION_USE_RESUMED, 7);
    expect_take(cache, &key, 1, b, SESSION_HIT);
    session_cache_report(cache, &key, "one", b, SESSION_USE_REFUSED, 7);
    expect_take(cache, &key, 1, NULL, SESSION_MISS_USED_UP);
    session_cache_free(cache);
}

static void a_failed_handshake_drops_the_session_that_was_offered(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4, 1);
    struct session_key key = key_of(1);
    SSL_SESSION *a = tls13();
    session_cache_put(cache, &key, "one", a, 0);
    enum session_miss miss;
    SSL_SESSION *lent = session_cache_take(cache, &key, 1, &miss);
    session_cache_report(cache, &key, "one", lent, SESSION_USE_FAILED, 7);
    SSL_SESSION_free(lent);
    expect_take(cache, &key, 1, NULL, SESSION_MISS_USED_UP);
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
        struct session_cache *cache = make_cache(16, 4, 1);
        struct session_key key = key_of(1);
        SSL_SESSION *a = make_session(TLS1_2_VERSION, rows[i].lifetime_s);
        session_cache_put(cache, &key, "one", a, 500);
        expect_take(cache, &key, 500 + rows[i].expires_ms - 1, a, SESSION_HIT);
        expect_take(cache, &key, 500 + rows[i].expires_ms, NULL, SESSION_MISS_EXPIRED);
        expect_take(cache, &key, 500 + rows[i].expires_ms, NULL, SESSION_MISS_USED_UP);
        assert_int_equal(counters_of(cache).expired, 1);
        assert_int_equal(counters_of(cache).sessions, 0);
        session_cache_free(cache);
    }
}

static void a_session_without_lifetime_or_ticket_is_not_stored(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4, 1);
    struct session_key key = key_of(1);
    session_cache_put(cache, &key, "one", make_session(TLS1_2_VERSION, 0), 0);
    SSL_SESSION *no_ticket = SSL_SESSION_new(ctx);
    SSL_SESSION_set_timeout(no_ticket, 100);
    session_cache_put(cache, &key, "one", no_ticket, 0);
    assert_int_equal(counters_of(cache).stored, 0);
    expect_take(cache, &key, 0, NULL, SESSION_MISS_FIRST);
    session_cache_free(cache);
}

static void the_least_recently_used_destination_is_evicted(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(2, 4, 1);
    struct session_key one = key_of(1), two = key_of(2), three = key_of(3);
    SSL_SESSION *a = tls12(), *b = tls12(), *c = tls12();
    session_cache_put(cache, &one, "one", a, 0);
    session_cache_put(cache, &two, "two", b, 0);
    expect_take(cache, &one, 1, a, SESSION_HIT);
    session_cache_put(cache, &three, "three", c, 2);
    expect_take(cache, &two, 3, NULL, SESSION_MISS_FIRST);
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
        struct session_cache *cache = make_cache(rows[i].entries, 2, rows[i].stripes);
        for (unsigned n = 0; n < 5000; n++) {
            struct session_key key = key_of(n);
            session_cache_put(cache, &key, "n", tls12(), 0);
            session_cache_report(cache, &key, "n", NULL, SESSION_USE_FULL, 7);
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
    struct session_cache *cache = make_cache(0, 4, 0);
    struct session_key key = key_of(1);
    session_cache_put(cache, &key, "one", tls12(), 0);
    expect_take(cache, &key, 1, NULL, SESSION_MISS_FIRST);
    session_cache_report(cache, &key, "one", NULL, SESSION_USE_FULL, 7);
    struct session_cache_counters counters = counters_of(cache);
    assert_int_equal(counters.entries, 0);
    assert_int_equal(counters.misses, 1);
    assert_int_equal(counters.full, 1);
    session_cache_free(cache);
}

/* Offers what there is and is refused. */
static void refuse_once(struct session_cache *cache, const struct session_key *key,
                        enum session_use use)
{
    enum session_miss miss;
    SSL_SESSION *session = session_cache_take(cache, key, 1, &miss);
    assert_non_null(session);
    session_cache_report(cache, key, "one", session, use, 7);
    SSL_SESSION_free(session);
}

static void a_destination_that_never_resumes_is_learned_and_retried(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4, 1);
    struct session_key key = key_of(1);
    for (int i = 0; i < SESSION_REFUSALS_MAX; i++) {
        assert_int_equal(counters_of(cache).never_resume, 0);
        session_cache_put(cache, &key, "one", tls13(), 0);
        session_cache_put(cache, &key, "one", tls13(), 0);
        refuse_once(cache, &key, SESSION_USE_REFUSED);
    }
    assert_int_equal(counters_of(cache).never_resume, 1);
    assert_int_equal(counters_of(cache).sessions, 0);
    uint64_t stored = counters_of(cache).stored;
    for (int i = 0; i < SESSION_RETRY_EVERY - 1; i++)
        session_cache_put(cache, &key, "one", tls13(), 0);
    expect_take(cache, &key, 1, NULL, SESSION_MISS_USED_UP);
    assert_int_equal(counters_of(cache).unwanted, SESSION_RETRY_EVERY - 1);
    assert_int_equal(counters_of(cache).stored, stored);
    session_cache_put(cache, &key, "one", tls13(), 0);
    refuse_once(cache, &key, SESSION_USE_REFUSED);
    assert_int_equal(counters_of(cache).never_resume, 1);
    for (int i = 0; i < SESSION_RETRY_EVERY; i++)
        session_cache_put(cache, &key, "one", tls13(), 0);
    refuse_once(cache, &key, SESSION_USE_RESUMED);
    assert_int_equal(counters_of(cache).never_resume, 0);
    session_cache_put(cache, &key, "one", tls13(), 0);
    assert_int_equal(counters_of(cache).sessions, 1);
    session_cache_free(cache);
}

static void handshakes_broken_by_a_session_are_learned_sooner(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4, 1);
    struct session_key key = key_of(1);
    for (int i = 0; i < SESSION_REFUSALS_MAX / SESSION_FAILURE_WEIGHT; i++) {
        assert_int_equal(counters_of(cache).never_resume, 0);
        session_cache_put(cache, &key, "one", tls13(), 0);
        refuse_once(cache, &key, SESSION_USE_FAILED);
    }
    assert_int_equal(counters_of(cache).never_resume, 1);
    session_cache_free(cache);
}

static void a_resumption_forgives_earlier_refusals(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4, 1);
    struct session_key key = key_of(1);
    for (int i = 0; i < 3 * SESSION_REFUSALS_MAX; i++) {
        session_cache_put(cache, &key, "one", tls13(), 0);
        refuse_once(cache, &key, i % 10 == 9 ? SESSION_USE_RESUMED : SESSION_USE_REFUSED);
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
    struct session_cache *cache = make_cache(16, 4, 4);
    struct session_key key = key_of(1);
    SSL_SESSION *a = tls12();
    session_cache_report(cache, &key, "mx.example.net [192.0.2.1]:25", NULL, SESSION_USE_FULL, 7);
    session_cache_put(cache, &key, "another", a, 0);
    expect_take(cache, &key, 1, a, SESSION_HIT);
    session_cache_report(cache, &key, "another", a, SESSION_USE_RESUMED, 7);
    expect_take(cache, &key, 1, a, SESSION_HIT);
    session_cache_report(cache, &key, "another", a, SESSION_USE_REFUSED, 7);
    expect_take(cache, &key, 1, NULL, SESSION_MISS_USED_UP);
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
                                                    .entries = 1};
    assert_memory_equal(&total, &expected, sizeof total);
    session_cache_free(cache);
}

static void each_miss_has_its_reason(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(16, 4, 1);
    struct session_key key = key_of(1);
    expect_take(cache, &key, 0, NULL, SESSION_MISS_FIRST);
    session_cache_report(cache, &key, "one", NULL, SESSION_USE_FULL, 7);
    expect_take(cache, &key, 0, NULL, SESSION_MISS_NO_TICKET);
    session_cache_put(cache, &key, "one", make_session(TLS1_2_VERSION, 1), 0);
    expect_take(cache, &key, 1000, NULL, SESSION_MISS_EXPIRED);
    expect_take(cache, &key, 1000, NULL, SESSION_MISS_USED_UP);
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
    struct session_cache *cache = make_cache(64, 4, 4);
    for (unsigned i = 0; i < 20; i++) {
        struct session_key key = key_of(i);
        session_cache_put(cache, &key, i % 2 ? "odd" : "even", tls12(), 0);
    }
    assert_int_equal(session_cache_flush(cache, is_labelled, "none"), 0);
    assert_int_equal(session_cache_flush(cache, is_labelled, "odd"), 10);
    assert_int_equal(counters_of(cache).sessions, 10);
    struct session_key even = key_of(2);
    enum session_miss miss;
    SSL_SESSION *session = session_cache_take(cache, &even, 1, &miss);
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
    struct session_cache *cache = make_cache(16, 4, 4);
    struct session_key key = key_of(1);
    char label[2 * SESSION_LABEL_MAX];
    memset(label, 'x', sizeof label - 1);
    label[sizeof label - 1] = 0;
    session_cache_put(cache, &key, label, tls12(), 0);
    struct listing listing = {0};
    session_cache_each(cache, note_destination, &listing);
    assert_int_equal(strlen(listing.label), SESSION_LABEL_MAX);
    session_cache_free(cache);
}

static void a_report_evicts_nobody(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(1, 4, 1);
    struct session_key one = key_of(1), two = key_of(2);
    SSL_SESSION *a = tls12();
    session_cache_put(cache, &one, "one", a, 0);
    session_cache_report(cache, &two, "two", NULL, SESSION_USE_FULL, 7);
    expect_take(cache, &one, 1, a, SESSION_HIT);
    assert_int_equal(counters_of(cache).full, 1);
    session_cache_free(cache);
}

enum { THREADS = 4, ROUNDS = 20000, KEYS = 48 };

static void *hammer(void *arg)
{
    struct session_cache *cache = arg;
    unsigned random = 12345u * (unsigned)(uintptr_t)pthread_self();
    for (unsigned i = 0; i < ROUNDS; i++) {
        random = random * 1664525u + 1013904223u;
        struct session_key key = key_of((random >> 8) % KEYS);
        enum session_miss miss;
        SSL_SESSION *session = session_cache_take(cache, &key, i, &miss);
        enum session_use use = !session             ? SESSION_USE_FULL
                               : (random & 64) != 0 ? SESSION_USE_RESUMED
                                                    : SESSION_USE_REFUSED;
        session_cache_report(cache, &key, "hammered", session, use, 7);
        SSL_SESSION_free(session);
        if (use != SESSION_USE_RESUMED || (random & 128) != 0)
            session_cache_put(cache, &key, "hammered", (random & 32) != 0 ? tls13() : tls12(), i);
        if (i % 1000 == 0) {
            struct listing listing = {0};
            session_cache_each(cache, note_destination, &listing);
        }
    }
    return NULL;
}

static void keeps_its_books_under_four_threads(void **state)
{
    (void)state;
    struct session_cache *cache = make_cache(KEYS / 2, 4, 4);
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
        cmocka_unit_test(keeps_its_books_under_four_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
