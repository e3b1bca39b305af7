/* Rules of queue ids: strictly rising, whatever the clock does; text sorts as numbers. */
#include "queue/queue_id.h"

#include <stdlib.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static void ids_follow_the_clock_and_never_repeat(void **state)
{
    (void)state;
    struct queue_id_source source = {0};
    assert_int_equal(queue_id_next(&source, 1000), 1000);
    assert_int_equal(queue_id_next(&source, 1000), 1001);
    assert_int_equal(queue_id_next(&source, 5), 1002);
    assert_int_equal(queue_id_next(&source, -7), 1003);
    assert_int_equal(queue_id_next(&source, 2000), 2000);
}

static void ids_go_past_the_highest_of_an_earlier_run(void **state)
{
    (void)state;
    struct queue_id_source source = {.last = UINT64_C(1) << 52};
    assert_true(queue_id_next(&source, 1700000000000000) > UINT64_C(1) << 50);
    assert_true(source.last == (UINT64_C(1) << 52) + 1);
}

static void text_round_trips(void **state)
{
    (void)state;
    static const struct {
        uint64_t id;
        const char *text;
    } rows[] = {
        {0, "0000000000000"},          {31, "000000000000z"},
        {32, "0000000000010"},         {1700000000000000, "001ga4gc1wg00"},
        {UINT64_MAX, "fzzzzzzzzzzzz"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[QUEUE_ID_LEN + 1];
        uint64_t back = 1;
        queue_id_format(rows[i].id, text);
        assert_string_equal(text, rows[i].text);
        assert_true(queue_id_parse(bytes_of(text), &back));
        assert_true(back == rows[i].id);
    }
}

static void text_sorts_as_numbers(void **state)
{
    (void)state;
    uint64_t id = 1;
    char before[QUEUE_ID_LEN + 1], after[QUEUE_ID_LEN + 1];
    for (int i = 0; i < 60; i++, id = id * 2 + 1) {
        queue_id_format(id, before);
        queue_id_format(id * 2, after);
        assert_true(strcmp(before, after) < 0);
    }
}

static void anything_else_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "000000000000",
        "00000000000000",
        "000000000000Z",
        "000000000000i",
        "000000000000l",
        "000000000000o",
        "000000000000u",
        "00000 0000000",
        "g000000000000", /* the 65th bit */
        "../../../etc/",
    };
    uint64_t id = 42;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_false(queue_id_parse(bytes_of(rows[i]), &id));
    assert_false(queue_id_parse(bytes_make("000000\0"
                                           "000000",
                                           13),
                                &id));
    assert_int_equal(id, 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_follow_the_clock_and_never_repeat),
        cmocka_unit_test(ids_go_past_the_highest_of_an_earlier_run),
        cmocka_unit_test(text_round_trips),
        cmocka_unit_test(text_sorts_as_numbers),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
