/* The key under which sessions are shared. */
#include "base/bytes.h"
#include "tls/session_cache.h"

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static struct session_key_parts base_parts(void)
{
    return (struct session_key_parts){.scope = SESSION_SCOPE_ADDRESS,
                                      .destination = bytes_of("192.0.2.1"),
                                      .port = 25,
                                      .peer_name = bytes_of("mx.example.net"),
                                      .sni = bytes_of("mx1.example.net"),
                                      .proof = bytes_of(""),
                                      .settings_digest = bytes_of("settings")};
}

static bool same_key(const struct session_key_parts *a, const struct session_key_parts *b)
{
    struct session_key key_a = session_key_make(a), key_b = session_key_make(b);
    return memcmp(key_a.digest, key_b.digest, SESSION_KEY_LEN) == 0;
}

static void equal_parts_make_equal_keys(void **state)
{
    (void)state;
    struct session_key_parts a = base_parts(), b = base_parts();
    char copy[] = "192.0.2.1";
    b.destination = bytes_of(copy);
    assert_true(same_key(&a, &b));
}

static void any_single_part_changes_the_key(void **state)
{
    (void)state;
    const struct session_key_parts base = base_parts();
    struct session_key_parts other[11];
    size_t num = 0;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        other[i] = base;
    other[num++].scope = SESSION_SCOPE_HOST;
    other[num++].destination = bytes_of("192.0.2.2");
    other[num++].port = 26;
    other[num++].port = (uint16_t)(25 + 256);
    other[num++].peer_name = bytes_of("mx.example.com");
    other[num++].peer_name = bytes_of("");
    other[num++].sni = bytes_of("");
    other[num++].mandatory = true;
    other[num++].proof = bytes_of("proof");
    other[num++].settings_digest = bytes_of("Settings");
    other[num++].settings_digest = bytes_make("settings", 9);
    assert_int_equal(num, sizeof other / sizeof *other);
    for (size_t i = 0; i < num; i++) {
        assert_false(same_key(&base, &other[i]));
        for (size_t j = 0; j < i; j++)
            assert_false(same_key(&other[i], &other[j]));
    }
}

static void octets_that_move_between_parts_change_the_key(void **state)
{
    (void)state;
    static const char *const splits[][4] = {
        {"ab", "c", "d", "e"}, {"a", "bc", "d", "e"}, {"ab", "", "cd", "e"}, {"", "abc", "d", "e"},
        {"abcde", "", "", ""}, {"", "abcde", "", ""}, {"", "", "abcde", ""}, {"", "", "", "abcde"},
    };
    enum { NUM = sizeof splits / sizeof *splits };
    struct session_key_parts parts[NUM];
    for (size_t i = 0; i < NUM; i++) {
        parts[i] = base_parts();
        parts[i].destination = bytes_of(splits[i][0]);
        parts[i].peer_name = bytes_of(splits[i][1]);
        parts[i].sni = bytes_of(splits[i][2]);
        parts[i].settings_digest = bytes_of(splits[i][3]);
        for (size_t j = 0; j < i; j++)
            assert_false(same_key(&parts[i], &parts[j]));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_parts_make_equal_keys),
        cmocka_unit_test(any_single_part_changes_the_key),
        cmocka_unit_test(octets_that_move_between_parts_change_the_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
