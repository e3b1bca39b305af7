/* Rules of the retry schedule, with extremes. */
#include "queue/retry.h"

#include <stdlib.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static const struct retry_policy defaults = {.minimum_ms = 300000,
                                             .maximum_ms = 4000000,
                                             .lifetime_ms = 432000000,
                                             .null_lifetime_ms = 86400000,
                                             .jitter_percent = 10};
enum { MIDDLE = INT32_MAX }; /* of the range of random: no jitter, but for rounding */

static void waits_double_up_to_the_maximum(void **state)
{
    (void)state;
    static const int64_t expected_s[] = {300, 600, 1200, 2400, 4000, 4000};
    for (unsigned i = 0; i < 6; i++) {
        int64_t wait = retry_wait_ms(&defaults, i + 1, MIDDLE);
        assert_in_range(wait, expected_s[i] * 1000 - 1, expected_s[i] * 1000);
    }
    assert_in_range(retry_wait_ms(&defaults, 0, MIDDLE), 299999, 300000);
}

static void jitter_spans_its_percentage_on_both_sides(void **state)
{
    (void)state;
    assert_int_equal(retry_wait_ms(&defaults, 1, 0), 270000);
    assert_int_equal(retry_wait_ms(&defaults, 1, UINT32_MAX), 330000);
    struct retry_policy none = defaults;
    none.jitter_percent = 0;
    assert_int_equal(retry_wait_ms(&none, 1, 0), 300000);
    assert_int_equal(retry_wait_ms(&none, 1, UINT32_MAX), 300000);
}

static void extremes_saturate(void **state)
{
    (void)state;
    static const struct {
        struct retry_policy policy;
        unsigned attempts;
        uint32_t random;
        int64_t wait;
    } rows[] = {
        {{.minimum_ms = INT64_MAX, .maximum_ms = INT64_MAX, .jitter_percent = 100},
         1,
         UINT32_MAX,
         INT64_MAX},
        {{.minimum_ms = 1, .maximum_ms = INT64_MAX}, 4294967295u, 0, INT64_MAX},
        {{.minimum_ms = INT64_MAX / 2 + 1, .maximum_ms = INT64_MAX}, 2, 0, INT64_MAX},
        {{.minimum_ms = 0, .maximum_ms = 0}, 5, 0, 1},
        {{.minimum_ms = INT64_MIN, .maximum_ms = INT64_MIN}, 5, 7, 1},
        {{.minimum_ms = 100, .maximum_ms = 10}, 5, 0, 100},
        {{.minimum_ms = 100, .maximum_ms = 100, .jitter_percent = 4000000000u}, 1, 0, 1},
        {{.minimum_ms = 100, .maximum_ms = 100, .jitter_percent = 4000000000u}, 1, UINT32_MAX, 200},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_true(retry_wait_ms(&rows[i].policy, rows[i].attempts, rows[i].random) ==
                    rows[i].wait);
}

static void expiry_is_the_sooner_of_lifetime_and_deadline(void **state)
{
    (void)state;
    assert_int_equal(retry_expiry_wall_ms(&defaults, 1000, false, 0), 432001000);
    assert_int_equal(retry_expiry_wall_ms(&defaults, 1000, true, 0), 86401000);
    assert_int_equal(retry_expiry_wall_ms(&defaults, 1000, false, 5000), 5000);
    assert_int_equal(retry_expiry_wall_ms(&defaults, 1000, false, INT64_MAX), 432001000);
    assert_true(retry_expiry_wall_ms(&defaults, INT64_MAX - 5, false, 0) == INT64_MAX);
    struct retry_policy odd = {.lifetime_ms = -5};
    assert_int_equal(retry_expiry_wall_ms(&odd, 1000, false, 0), 1000);
}

static void the_last_try_is_at_the_expiry_and_none_after_it(void **state)
{
    (void)state;
    int64_t next = -1;
    assert_true(retry_next_wall_ms(&defaults, 1, MIDDLE, 1000, 5000, &next));
    assert_int_equal(next, 5000);
    assert_false(retry_next_wall_ms(&defaults, 1, MIDDLE, 5000, 5000, &next));
    assert_false(retry_next_wall_ms(&defaults, 1, MIDDLE, 5001, 5000, &next));
    assert_true(retry_next_wall_ms(&defaults, 1, 0, INT64_MAX - 10, INT64_MAX, &next));
    assert_true(next == INT64_MAX);
}

/* Five days of retries for a message that never gets through. */
static void five_days_of_retries(void **state)
{
    (void)state;
    struct retry_policy policy = defaults;
    policy.jitter_percent = 0;
    static const int64_t first_s[] = {0, 300, 900, 2100, 4500, 8500, 12500};
    int64_t expiry = retry_expiry_wall_ms(&policy, 0, false, 0);
    int64_t now = 0;
    unsigned attempts = 1;
    for (int64_t next; retry_next_wall_ms(&policy, attempts, 9, now, expiry, &next); now = next) {
        assert_true(next > now);
        if (attempts < sizeof first_s / sizeof *first_s)
            assert_int_equal(next, first_s[attempts] * 1000);
        attempts++;
        assert_true(attempts < 1000);
    }
    assert_int_equal(now, 432000000);
    /* The attempt at arrival, four at growing distances, one each 4000 s, and the one at expiry. */
    assert_int_equal(attempts, 1 + 4 + (432000 - 4500) / 4000 + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(waits_double_up_to_the_maximum),
        cmocka_unit_test(jitter_spans_its_percentage_on_both_sides),
        cmocka_unit_test(extremes_saturate),
        cmocka_unit_test(expiry_is_the_sooner_of_lifetime_and_deadline),
        cmocka_unit_test(the_last_try_is_at_the_expiry_and_none_after_it),
        cmocka_unit_test(five_days_of_retries),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
