/* The cache of answers: clamps, negative answers, failures, stale ones, bounds. */
#include "dns/answer_cache.h"

#include <stdio.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static const struct answer_cache_options options = {.entries = 4,
                                                    .min_ttl_ms = 5000,
                                                    .max_ttl_ms = 100000,
                                                    .max_negative_ttl_ms = 20000,
                                                    .stale_ms = 50000};

static void put(struct answer_cache *cache, const char *name, enum answer_status status,
                uint32_t ttl_s, int64_t now_ms, struct answer_found *out)
{
    struct answer *answer = answer_new(status, "text");
    answer->ttl_s = ttl_s;
    answer_cache_put(cache, name, TYPE_A, answer, now_ms, out);
    answer_unref(answer);
}

static void ttls_are_clamped_by_kind(void **state)
{
    (void)state;
    static const struct {
        enum answer_status status;
        uint32_t ttl_s;
        int64_t life_ms;
    } rows[] = {{ANSWER_RECORDS, 60, 60000},        {ANSWER_RECORDS, 0, 5000},
                {ANSWER_RECORDS, 1000, 100000},     {ANSWER_NODATA, 10, 10000},
                {ANSWER_NXDOMAIN, 60, 20000},       {ANSWER_NXDOMAIN, 0, 5000},
                {ANSWER_RECORDS, INT32_MAX, 100000}};
    struct answer_cache *cache = answer_cache_new(&options);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct answer_found found;
        put(cache, "a", rows[i].status, rows[i].ttl_s, 1000, &found);
        assert_int_equal(found.expires_ms, 1000 + rows[i].life_ms);
        assert_true(answer_cache_find(cache, "a", TYPE_A, 999 + rows[i].life_ms, &found));
        assert_int_equal(found.answer->status, rows[i].status);
        assert_false(found.is_stale);
        assert_false(answer_cache_find(cache, "a", TYPE_A, 1000 + rows[i].life_ms, &found));
    }
    answer_cache_free(cache);
}

static void name_and_type_are_the_key(void **state)
{
    (void)state;
    struct answer_cache *cache = answer_cache_new(&options);
    struct answer_found found;
    put(cache, "a", ANSWER_RECORDS, 60, 0, &found);
    assert_false(answer_cache_find(cache, "b", TYPE_A, 0, &found));
    assert_false(answer_cache_find(cache, "a", TYPE_AAAA, 0, &found));
    assert_true(answer_cache_find(cache, "a", TYPE_A, 0, &found));
    answer_cache_free(cache);
}

static void a_failure_is_remembered_for_a_moment(void **state)
{
    (void)state;
    struct answer_cache *cache = answer_cache_new(&options);
    struct answer_found found;
    put(cache, "a", ANSWER_FAILED, 0, 0, &found);
    assert_int_equal(found.answer->status, ANSWER_FAILED);
    assert_true(answer_cache_find(cache, "a", TYPE_A, FAILURE_TTL_MS - 1, &found));
    assert_int_equal(found.answer->status, ANSWER_FAILED);
    assert_false(answer_cache_find(cache, "a", TYPE_A, FAILURE_TTL_MS, &found));
    answer_cache_free(cache);
}

static void a_stale_answer_stands_in_for_a_failure(void **state)
{
    (void)state;
    struct answer_cache *cache = answer_cache_new(&options);
    struct answer_found found;
    put(cache, "a", ANSWER_RECORDS, 60, 0, &found);
    put(cache, "a", ANSWER_FAILED, 0, 60000, &found);
    assert_int_equal(found.answer->status, ANSWER_RECORDS);
    assert_true(found.is_stale);
    assert_int_equal(found.expires_ms, 60000 + FAILURE_TTL_MS);
    assert_true(answer_cache_find(cache, "a", TYPE_A, 60001, &found));
    assert_true(found.is_stale);
    assert_false(answer_cache_find(cache, "a", TYPE_A, 60000 + FAILURE_TTL_MS, &found));
    put(cache, "a", ANSWER_FAILED, 0, 109999, &found);
    assert_true(found.is_stale);
    put(cache, "a", ANSWER_FAILED, 0, 110000, &found);
    assert_int_equal(found.answer->status, ANSWER_FAILED);
    assert_false(found.is_stale);
    put(cache, "a", ANSWER_RECORDS, 60, 120000, &found);
    assert_false(found.is_stale);
    answer_cache_free(cache);
}

static void the_least_recently_used_goes_first(void **state)
{
    (void)state;
    struct answer_cache *cache = answer_cache_new(&options);
    struct answer_found found;
    char name[2] = "a";
    for (; name[0] < 'e'; name[0]++)
        put(cache, name, ANSWER_RECORDS, 60, 0, &found);
    assert_true(answer_cache_find(cache, "a", TYPE_A, 1, &found));
    put(cache, "e", ANSWER_RECORDS, 60, 1, &found);
    assert_int_equal(answer_cache_num_entries(cache), 4);
    assert_true(answer_cache_find(cache, "a", TYPE_A, 1, &found));
    assert_false(answer_cache_find(cache, "b", TYPE_A, 1, &found));
    answer_cache_free(cache);
}

static void octets_are_bounded_too(void **state)
{
    (void)state;
    struct answer_cache *cache = answer_cache_new(&options);
    struct answer_found found;
    static char text[3 * CACHE_OCTETS_PER_ENTRY];
    memset(text, 'x', sizeof text - 1);
    for (int i = 0; i < 4; i++) {
        char name[8];
        snprintf(name, sizeof name, "n%d", i);
        struct answer *answer = answer_new(ANSWER_NODATA, text);
        answer_cache_put(cache, name, TYPE_A, answer, 0, &found);
        answer_unref(answer);
        assert_string_equal(found.answer->text, text);
    }
    assert_int_equal(answer_cache_num_entries(cache), 1);
    assert_true(answer_cache_find(cache, "n3", TYPE_A, 0, &found));
    answer_cache_free(cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ttls_are_clamped_by_kind),
        cmocka_unit_test(name_and_type_are_the_key),
        cmocka_unit_test(a_failure_is_remembered_for_a_moment),
        cmocka_unit_test(a_stale_answer_stands_in_for_a_failure),
        cmocka_unit_test(the_least_recently_used_goes_first),
        cmocka_unit_test(octets_are_bounded_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
