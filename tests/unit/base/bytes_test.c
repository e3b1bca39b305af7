/* Slices, numbers and bounded buffers. */
#include "base/bytes.h"
#include "tests/unit/cmocka_prelude.h"

static void numbers_are_checked_digit_by_digit(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t max;
        bool ok;
        uint64_t value;
    } rows[] = {
        {"0", 0, true, 0},
        {"42", 100, true, 42},
        {"101", 100, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"99999999999999999999999", UINT64_MAX, false, 0},
        {"", 10, false, 0},
        {"-1", 10, false, 0},
        {" 1", 10, false, 0},
        {"1x", 10, false, 0},
        {"5", 3, false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t value = 777;
        assert_int_equal(bytes_to_u64(bytes_of(rows[i].text), rows[i].max, &value), rows[i].ok);
        assert_int_equal(value, rows[i].ok ? rows[i].value : 777);
    }
}

static void case_folds_for_ascii_only(void **state)
{
    (void)state;
    assert_true(bytes_equal_nocase(bytes_of("StartTLS"), bytes_of("STARTTLS")));
    assert_false(bytes_equal_nocase(bytes_of("\xc3\x84"), bytes_of("\xc3\xa4")));
    assert_false(bytes_equal_nocase(bytes_of("a["), bytes_of("a{")));
    assert_true(bytes_starts_nocase(bytes_of("250-SIZE"), "250-size"));
    assert_false(bytes_starts_nocase(bytes_of("250"), "250-"));
}

static void a_slice_past_the_end_is_empty(void **state)
{
    (void)state;
    struct bytes text = bytes_of("abc");
    assert_int_equal(bytes_from(text, 4).len, 0);
    assert_int_equal(bytes_from(text, 1).len, 2);
    assert_int_equal(bytes_first(text, 9).len, 3);
    assert_int_equal(bytes_find(text, 'c'), 2);
    assert_int_equal(bytes_find(text, 'x'), 3);
    assert_true(bytes_equal(bytes_trim(bytes_of(" \t a b\r\n")), bytes_of("a b")));
    assert_int_equal(bytes_trim(bytes_of(" \r\n")).len, 0);
}

static void a_buffer_refuses_what_exceeds_its_bound_and_remembers_it(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 8);
    assert_true(buffer_append_str(&b, "12345678"));
    assert_false(buffer_append_byte(&b, '9'));
    assert_int_equal(b.len, 8);
    assert_true(b.overflow);
    buffer_clear(&b);
    assert_true(buffer_append_str(&b, "ok"));
    buffer_consume(&b, 1);
    assert_true(bytes_equal(buffer_bytes(&b), bytes_of("k")));
    buffer_fini(&b);
}

static void printf_appends_exactly_its_text(void **state)
{
    (void)state;
    struct buffer b;
    buffer_init(&b, 1000);
    buffer_append_str(&b, "a");
    assert_true(buffer_printf(&b, "%d-%s", 7, "x"));
    assert_true(bytes_equal(buffer_bytes(&b), bytes_of("a7-x")));
    buffer_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_checked_digit_by_digit),
        cmocka_unit_test(case_folds_for_ascii_only),
        cmocka_unit_test(a_slice_past_the_end_is_empty),
        cmocka_unit_test(a_buffer_refuses_what_exceeds_its_bound_and_remembers_it),
        cmocka_unit_test(printf_appends_exactly_its_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
