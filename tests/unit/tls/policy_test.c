/* The table "level x event", row by row. */
#include "tls/policy.h"

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

enum { AFTER = 300000, NOW = 1000000 };

static void decides_as_the_table_of_levels_says(void **state)
{
    (void)state;
    static const struct {
        enum tls_level level;
        enum tls_event event;
        int64_t since;
        enum tls_action action;
    } rows[] = {
        {TLS_LEVEL_NONE, TLS_NOT_OFFERED, 0, TLS_ACTION_PLAINTEXT},
        {TLS_LEVEL_NONE, TLS_REFUSED, 0, TLS_ACTION_PLAINTEXT},
        {TLS_LEVEL_NONE, TLS_HANDSHAKE_FAILED, 0, TLS_ACTION_PLAINTEXT},
        {TLS_LEVEL_MAY, TLS_NOT_OFFERED, 0, TLS_ACTION_PLAINTEXT},
        {TLS_LEVEL_MAY, TLS_NOT_OFFERED, NOW, TLS_ACTION_PLAINTEXT},
        {TLS_LEVEL_MAY, TLS_REFUSED, 0, TLS_ACTION_PLAINTEXT},
        {TLS_LEVEL_MAY, TLS_HANDSHAKE_FAILED, 0, TLS_ACTION_NEXT_HOST},
        {TLS_LEVEL_MAY, TLS_HANDSHAKE_FAILED, NOW, TLS_ACTION_NEXT_HOST},
        {TLS_LEVEL_MAY, TLS_HANDSHAKE_FAILED, NOW - AFTER + 1, TLS_ACTION_NEXT_HOST},
        {TLS_LEVEL_MAY, TLS_HANDSHAKE_FAILED, NOW - AFTER, TLS_ACTION_PLAINTEXT},
        {TLS_LEVEL_MAY, TLS_HANDSHAKE_FAILED, 1, TLS_ACTION_PLAINTEXT},
        {TLS_LEVEL_ENCRYPT, TLS_NOT_OFFERED, 0, TLS_ACTION_NEXT_HOST},
        {TLS_LEVEL_ENCRYPT, TLS_REFUSED, 0, TLS_ACTION_NEXT_HOST},
        {TLS_LEVEL_ENCRYPT, TLS_HANDSHAKE_FAILED, 0, TLS_ACTION_NEXT_HOST},
        {TLS_LEVEL_ENCRYPT, TLS_NOT_OFFERED, 1, TLS_ACTION_NEXT_HOST},
        {TLS_LEVEL_ENCRYPT, TLS_REFUSED, 1, TLS_ACTION_NEXT_HOST},
        {TLS_LEVEL_ENCRYPT, TLS_HANDSHAKE_FAILED, 1, TLS_ACTION_NEXT_HOST},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(tls_policy_decide(rows[i].level, rows[i].event, rows[i].since, AFTER, NOW),
                         rows[i].action);
}

static void asks_for_starttls_unless_none_or_long_broken_under_may(void **state)
{
    (void)state;
    assert_false(tls_policy_wants_tls(TLS_LEVEL_NONE, 0, AFTER, NOW));
    assert_true(tls_policy_wants_tls(TLS_LEVEL_MAY, 0, AFTER, NOW));
    assert_true(tls_policy_wants_tls(TLS_LEVEL_MAY, NOW - AFTER + 1, AFTER, NOW));
    assert_false(tls_policy_wants_tls(TLS_LEVEL_MAY, NOW - AFTER, AFTER, NOW));
    assert_true(tls_policy_wants_tls(TLS_LEVEL_ENCRYPT, 1, AFTER, NOW));
}

static void names_and_levels_are_one_to_one(void **state)
{
    (void)state;
    for (int i = TLS_LEVEL_NONE; i <= TLS_LEVEL_ENCRYPT; i++) {
        enum tls_level level;
        assert_true(tls_level_parse(tls_level_name((enum tls_level)i), &level));
        assert_int_equal(level, i);
    }
    enum tls_level level = TLS_LEVEL_ENCRYPT;
    static const char *const wrong[] = {"", "MAY", "encrypted", "enc", "dane"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(tls_level_parse(wrong[i], &level));
    assert_int_equal(level, TLS_LEVEL_ENCRYPT);
    assert_int_equal(tls_level_max(TLS_LEVEL_MAY, TLS_LEVEL_NONE), TLS_LEVEL_MAY);
    assert_int_equal(tls_level_max(TLS_LEVEL_MAY, TLS_LEVEL_ENCRYPT), TLS_LEVEL_ENCRYPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decides_as_the_table_of_levels_says),
        cmocka_unit_test(asks_for_starttls_unless_none_or_long_broken_under_may),
        cmocka_unit_test(names_and_levels_are_one_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
