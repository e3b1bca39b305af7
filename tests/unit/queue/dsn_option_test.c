/* NOTIFY, ORCPT and xtext: what is taken, what is refused, and there and back. */
#include "base/memory.h"
#include "queue/dsn_option.h"
#include "tests/unit/cmocka_prelude.h"

#include <cmocka.h>
#include <stdlib.h>

static void notify_has_one_printed_form(void **state)
{
    static const struct {
        const char *text;
        const char *printed; /* NULL: refused */
    } rows[] = {
        {"NEVER", "NEVER"},
        {"never", "NEVER"},
        {"DELAY,FAILURE,SUCCESS", "SUCCESS,FAILURE,DELAY"},
        {"failure , delay", "FAILURE,DELAY"},
        {"failure,failure", "FAILURE"},
        {"", NULL},
        {",", NULL},
        {"FAILURE,", NULL},
        {"NEVER,DELAY", NULL},
        {"FAIL", NULL},
        {"FAILURES", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t notify = 0;
        char printed[DSN_NOTIFY_TEXT];
        bool taken = dsn_notify_parse(bytes_of(rows[i].text), &notify);
        if (taken != (rows[i].printed != NULL))
            fail_msg("%s: %d", rows[i].text, taken);
        dsn_notify_print(notify, printed);
        assert_string_equal(printed, taken ? rows[i].printed : "");
    }
}

static void every_octet_survives_xtext(void **state)
{
    (void)state;
    uint8_t octets[256];
    struct buffer xtext, back;
    for (size_t i = 0; i < sizeof octets; i++)
        octets[i] = (uint8_t)i;
    buffer_init(&xtext, 4096);
    buffer_init(&back, 4096);
    xtext_encode(bytes_make(octets, sizeof octets), &xtext);
    for (size_t i = 0; i < xtext.len; i++)
        assert_true(xtext.at[i] > ' ' && xtext.at[i] <= '~' && xtext.at[i] != '=');
    assert_true(xtext_decode(buffer_bytes(&xtext), &back));
    assert_int_equal(back.len, sizeof octets);
    assert_memory_equal(back.at, octets, sizeof octets);
    buffer_fini(&xtext);
    buffer_fini(&back);
}

static void what_is_no_xtext_is_refused(void **state)
{
    static const char *const rows[] = {"a b", "a=b", "+", "+4", "+4g", "+2b", "\xc3\xa4", "a\tb"};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer out;
        buffer_init(&out, 100);
        if (xtext_decode(bytes_of(rows[i]), &out))
            fail_msg("taken: %s", rows[i]);
        buffer_fini(&out);
    }
}

static void orcpt_has_a_type_and_a_printable_address(void **state)
{
    static const struct {
        const char *text, *orcpt;
    } rows[] = {
        {"rfc822;kim@example.net", "rfc822;kim@example.net"},
        {"rfc822;kim+2B40x+20y@example.net", "rfc822;kim+40x y@example.net"},
        {"utf-8;j\\x{F6}rg@example.net", "utf-8;j\\x{F6}rg@example.net"},
        {"rfc822;", NULL},
        {";kim@example.net", NULL},
        {"kim@example.net", NULL},
        {"rfc 822;kim", NULL},
        {"rfc822;kim+0A@example.net", NULL},
        {"rfc822;k\xc3\xadm", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *orcpt = dsn_orcpt_parse(bytes_of(rows[i].text));
        if (!orcpt != !rows[i].orcpt || (orcpt && strcmp(orcpt, rows[i].orcpt) != 0))
            fail_msg("%s: %s", rows[i].text, orcpt ? orcpt : "refused");
        free(orcpt);
    }
    char longest[DSN_ORCPT_MAX + 2];
    memset(longest, 'a', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    longest[3] = ';';
    assert_null(dsn_orcpt_parse(bytes_of(longest)));
    longest[DSN_ORCPT_MAX] = '\0';
    char *orcpt = dsn_orcpt_parse(bytes_of(longest));
    assert_non_null(orcpt);
    free(orcpt);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notify_has_one_printed_form),
        cmocka_unit_test(every_octet_survives_xtext),
        cmocka_unit_test(what_is_no_xtext_is_refused),
        cmocka_unit_test(orcpt_has_a_type_and_a_printable_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
