/* What the session cache counts and lists, also under many threads. */
#include "tests/support/made_sessions.h"

#include <pthread.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counts_per_destination_and_in_total),
        cmocka_unit_test(each_miss_has_its_reason),
        cmocka_unit_test(an_eviction_and_another_key_are_told_from_a_first_contact),
        cmocka_unit_test(the_first_look_up_is_the_destinations_own_as_well),
        cmocka_unit_test(a_flush_drops_what_it_names_or_all),
        cmocka_unit_test(a_long_label_is_cut),
        cmocka_unit_test(keeps_its_books_under_sixteen_threads),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
