/* When a policy is used, renewed or fetched, and what is kept between runs. */
#include "base/memory.h"
#include "tests/unit/cmocka_prelude.h"
#include "tls/sts_cache.h"

#include <stdlib.h>

enum { RETRY_S = 300, NOW_S = 1000000, MAX_AGE_S = 1000 };

static struct sts_cache *cache_of(size_t entries)
{
    const struct sts_cache_options options = {.entries = entries, .retry_s = RETRY_S};
    return sts_cache_new(&options);
}

static void put(struct sts_cache *cache, const char *domain, const char *id, int64_t max_age_s,
                int64_t now_s)
{
    struct sts_policy_text text = {.mode = STS_ENFORCE,
                                   .max_age_s = max_age_s,
                                   .num_mx = 2,
                                   .mx = {bytes_of("mx.example"), bytes_of("*.example")}};
    struct sts_policy *policy = sts_policy_new(&text, id);
    sts_cache_put(cache, domain, policy, now_s);
    sts_policy_unref(policy);
}

/* A policy of edition "1" fetched at NOW_S, where has_policy; a failure `failed_id` at failed_s. */
static void says_when_to_fetch(void **state)
{
    static const struct {
        bool has_policy;
        const char *failed_id;
        int64_t failed_s;
        const char *id;
        int64_t at_s;
        enum sts_advice advice;
        bool found;
    } rows[] = {
        {false, NULL, 0, NULL, 0, STS_USE, false},
        {false, NULL, 0, "1", 0, STS_FETCH, false},
        {false, "1", 0, "1", RETRY_S - 1, STS_USE, false},
        {false, "1", 0, "1", RETRY_S, STS_FETCH, false},
        {false, "1", 0, "1", -1, STS_FETCH, false},
        {false, "1", 0, "2", 1, STS_FETCH, false},
        {true, NULL, 0, "1", 0, STS_USE, true},
        {true, NULL, 0, NULL, MAX_AGE_S / 2 - 1, STS_USE, true},
        {true, NULL, 0, NULL, MAX_AGE_S / 2, STS_REFRESH, true},
        {true, NULL, 0, "1", MAX_AGE_S / 2, STS_REFRESH, true},
        {true, "1", 500, "1", 501, STS_USE, true},
        {true, "1", 500, NULL, 501, STS_USE, true},
        {true, "1", 500, "1", 500 + RETRY_S, STS_REFRESH, true},
        {true, NULL, 0, "2", 1, STS_FETCH, true},
        {true, "2", 1, "2", 2, STS_USE, true},
        {true, "2", 1, "3", 2, STS_FETCH, true},
        {true, "2", 1, "2", 1 + RETRY_S, STS_FETCH, true},
        {true, NULL, 0, NULL, MAX_AGE_S, STS_USE, false},
        {true, NULL, 0, "1", MAX_AGE_S, STS_FETCH, false},
        {true, NULL, 0, "1", -5000, STS_USE, true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sts_cache *cache = cache_of(10);
        struct sts_found found;
        if (rows[i].has_policy)
            put(cache, "d.example", "1", MAX_AGE_S, NOW_S);
        if (rows[i].failed_id)
            sts_cache_failed(cache, "d.example", rows[i].failed_id, STS_FAILURE_FETCH, "why",
                             NOW_S + rows[i].failed_s);
        enum sts_advice advice =
            sts_cache_find(cache, "d.example", rows[i].id, NOW_S + rows[i].at_s, &found);
        if (advice != rows[i].advice || (found.policy != NULL) != rows[i].found)
            fail_msg("row %zu: %d, %p", i, advice, (void *)found.policy);
        if (found.policy)
            assert_in_range(found.expires_s - NOW_S - rows[i].at_s, 1, MAX_AGE_S);
        sts_cache_free(cache);
    }
}

static void name_it(void *ctx, const char *domain)
{
    strcat(ctx, domain);
    strcat(ctx, " ");
}

static void assert_due(const struct sts_cache *cache, int64_t at_s, size_t max, const char *wanted)
{
    char names[100] = "";
    sts_cache_each_due(cache, NOW_S + at_s, max, name_it, names);
    assert_string_equal(names, wanted);
}

/* A day after they were fetched, or at half of their life, but short-lived ones not at all. */
static void policies_are_renewed_before_they_are_over(void **state)
{
    (void)state;
    enum { HOUR_S = 3600, DAY_S = 24 * HOUR_S };
    struct sts_cache *cache = cache_of(10);
    struct sts_found found;
    put(cache, "week", "1", 7 * DAY_S, NOW_S);
    put(cache, "day", "1", DAY_S, NOW_S);
    put(cache, "hour", "1", HOUR_S, NOW_S);
    sts_cache_failed(cache, "unknown", "1", STS_FAILURE_FETCH, "no", NOW_S);
    assert_due(cache, HOUR_S - 1, 10, "");
    assert_due(cache, DAY_S / 2 - 1, 10, "");
    assert_due(cache, DAY_S / 2, 10, "day ");
    assert_int_equal(sts_cache_find(cache, "week", "1", NOW_S + DAY_S - 1, &found), STS_USE);
    assert_due(cache, DAY_S, 10, "week ");
    assert_int_equal(sts_cache_find(cache, "week", "1", NOW_S + DAY_S, &found), STS_REFRESH);
    sts_cache_failed(cache, "week", "2", STS_FAILURE_FETCH, "no", NOW_S + DAY_S);
    assert_due(cache, DAY_S + RETRY_S - 1, 10, "");
    put(cache, "other", "1", 7 * DAY_S, NOW_S);
    assert_due(cache, DAY_S + RETRY_S, 10, "week other ");
    assert_due(cache, DAY_S + RETRY_S, 1, "week ");
    assert_due(cache, 7 * DAY_S, 10, "");
    sts_cache_free(cache);
}

static void the_least_recently_used_domain_makes_way(void **state)
{
    struct sts_cache *cache = cache_of(2);
    struct sts_found found;
    (void)state;
    put(cache, "a.example", "1", MAX_AGE_S, NOW_S);
    put(cache, "b.example", "1", MAX_AGE_S, NOW_S);
    (void)sts_cache_find(cache, "a.example", "1", NOW_S, &found);
    put(cache, "c.example", "1", MAX_AGE_S, NOW_S);
    assert_int_equal(sts_cache_num_entries(cache), 2);
    (void)sts_cache_find(cache, "b.example", "1", NOW_S, &found);
    assert_null(found.policy);
    (void)sts_cache_find(cache, "a.example", "1", NOW_S, &found);
    assert_non_null(found.policy);
    sts_cache_free(cache);
}

static void what_lives_is_written_and_read_back(void **state)
{
    struct sts_cache *cache = cache_of(10), *again = cache_of(10);
    struct sts_found found;
    struct buffer text, second;
    (void)state;
    buffer_init(&text, SIZE_MAX);
    buffer_init(&second, SIZE_MAX);
    put(cache, "a.example", "A1", MAX_AGE_S, NOW_S);
    put(cache, "over.example", "1", 10, NOW_S);
    sts_cache_failed(cache, "failed.example", "1", STS_FAILURE_FETCH, "why", NOW_S);
    sts_cache_write(cache, NOW_S + 20, &text);
    assert_true(sts_cache_read(again, buffer_bytes(&text), NOW_S + 20));
    assert_int_equal(sts_cache_num_entries(again), 1);
    assert_int_equal(sts_cache_find(again, "a.example", "A1", NOW_S + 20, &found), STS_USE);
    assert_int_equal(found.expires_s, NOW_S + MAX_AGE_S);
    assert_true(sts_policy_allows(found.policy, "x.example"));
    sts_cache_write(again, NOW_S + 20, &second);
    assert_true(bytes_equal(buffer_bytes(&text), buffer_bytes(&second)));
    sts_cache_free(cache);
    sts_cache_free(again);
    buffer_fini(&text);
    buffer_fini(&second);
}

static void a_file_with_any_octet_changed_is_not_read(void **state)
{
    struct sts_cache *cache = cache_of(10), *again = cache_of(10);
    struct buffer text;
    (void)state;
    buffer_init(&text, SIZE_MAX);
    put(cache, "a.example", "1", MAX_AGE_S, NOW_S);
    sts_cache_write(cache, NOW_S, &text);
    for (size_t i = 0; i < text.len; i++) {
        text.at[i] ^= 1;
        assert_false(sts_cache_read(again, buffer_bytes(&text), NOW_S));
        text.at[i] ^= 1;
        assert_false(sts_cache_read(again, bytes_first(buffer_bytes(&text), i), NOW_S));
    }
    assert_int_equal(sts_cache_num_entries(again), 0);
    assert_true(sts_cache_read(again, buffer_bytes(&text), NOW_S));
    sts_cache_free(cache);
    sts_cache_free(again);
    buffer_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_when_to_fetch),
        cmocka_unit_test(policies_are_renewed_before_they_are_over),
        cmocka_unit_test(the_least_recently_used_domain_makes_way),
        cmocka_unit_test(what_lives_is_written_and_read_back),
        cmocka_unit_test(a_file_with_any_octet_changed_is_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
