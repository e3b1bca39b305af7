/* The bounds of the session cache: entries, octets, and who makes way. */
#include "tests/support/made_sessions.h"

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_least_recently_used_destination_is_evicted),
        cmocka_unit_test(never_holds_more_destinations_than_entries),
        cmocka_unit_test(no_entries_switches_it_off_and_still_counts),
        cmocka_unit_test(a_report_evicts_nobody),
        cmocka_unit_test(stays_within_its_bytes),
        cmocka_unit_test(a_destination_larger_than_the_cache_is_not_kept),
        cmocka_unit_test(other_bounds_keep_what_fits_them),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
