/* Policies as text, also those that are longer than what may be said of them. */
#include "router/policy_text.h"
#include "tests/unit/cmocka_prelude.h"

#include <stdio.h>
#include <string.h>

static void a_record_is_shown_as_a_zone_has_it(void **state)
{
    (void)state;
    static const uint8_t data[POLICY_TEXT_TLSA_MAX + 1] = {0xab, 0x01};
    struct tlsa_record record = {.usage = 3, .selector = 1, .matching = 1, .len = 2, .data = data};
    struct buffer text;
    buffer_init(&text, 1024);
    policy_text_tlsa(&text, &record);
    assert_string_equal(policy_text_string(&text), "3 1 1 ab01");
    buffer_clear(&text);
    record.len = sizeof data;
    policy_text_tlsa(&text, &record);
    assert_int_equal(strlen(policy_text_string(&text)), 6 + 2 * POLICY_TEXT_TLSA_MAX);
    buffer_fini(&text);
}

static void a_policy_is_shown_by_its_lines(void **state)
{
    (void)state;
    char *mx[] = {"mx.a.test", "*.b.test"};
    struct sts_policy sts = {.mode = STS_TESTING, .max_age_s = 86400, .num_mx = 2, .mx = mx};
    struct buffer text, patterns;
    buffer_init(&text, 1024);
    buffer_init(&patterns, 1024);
    policy_text_sts(&text, &patterns, &sts);
    assert_string_equal(
        policy_text_string(&text),
        "version: STSv1\nmode: testing\nmx: mx.a.test\nmx: *.b.test\nmax_age: 86400");
    assert_string_equal(policy_text_string(&patterns), "mx.a.test\n*.b.test");
    buffer_fini(&text);
    buffer_fini(&patterns);
}

static void what_does_not_fit_still_ends_as_a_string(void **state)
{
    (void)state;
    char *mx[] = {"a-long-name-of-a-host.a.test", "a-long-name-of-a-host.b.test"};
    struct sts_policy sts = {.mode = STS_ENFORCE, .max_age_s = 86400, .num_mx = 2, .mx = mx};
    for (size_t max = 1; max < 130; max++) {
        struct buffer text, patterns;
        buffer_init(&text, max);
        buffer_init(&patterns, max);
        policy_text_sts(&text, &patterns, &sts);
        size_t len = text.len, patterns_len = patterns.len;
        assert_int_equal(strlen(policy_text_string(&text)), len);
        assert_int_equal(strlen(policy_text_string(&patterns)), patterns_len);
        buffer_fini(&text);
        buffer_fini(&patterns);
    }
}

static void nothing_is_an_empty_string(void **state)
{
    (void)state;
    struct buffer text;
    buffer_init(&text, 16);
    assert_string_equal(policy_text_string(&text), "");
    buffer_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_is_shown_as_a_zone_has_it),
        cmocka_unit_test(a_policy_is_shown_by_its_lines),
        cmocka_unit_test(what_does_not_fit_still_ends_as_a_string),
        cmocka_unit_test(nothing_is_an_empty_string),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
