/* The board of pauses: who pauses, since when, why. */
#include "router/pauses.h"
#include "tests/unit/cmocka_prelude.h"

#include <string.h>

static void nothing_pauses_at_first(void **state)
{
    (void)state;
    struct pauses pauses;
    struct pause pause;
    pauses_init(&pauses);
    for (int room = 0; room < PAUSE_ROOMS; room++)
        assert_false(pauses_read(&pauses, room, &pause));
    pauses_fini(&pauses);
}

static void a_pause_keeps_its_beginning_and_tells_its_latest_reason(void **state)
{
    (void)state;
    struct pauses pauses;
    struct pause pause;
    pauses_init(&pauses);
    pauses_begin(&pauses, PAUSE_JOURNAL, 1000, "No space left on device");
    pauses_begin(&pauses, PAUSE_JOURNAL, 5000, "Input/output error");
    assert_true(pauses_read(&pauses, PAUSE_JOURNAL, &pause));
    assert_int_equal(pause.since_wall_ms, 1000);
    assert_string_equal(pause.reason, "Input/output error");
    assert_false(pauses_read(&pauses, PAUSE_PICKUP, &pause));
    pauses_end(&pauses, PAUSE_JOURNAL);
    pauses_end(&pauses, PAUSE_JOURNAL);
    assert_false(pauses_read(&pauses, PAUSE_JOURNAL, &pause));
    pauses_begin(&pauses, PAUSE_JOURNAL, 9000, "again");
    assert_true(pauses_read(&pauses, PAUSE_JOURNAL, &pause));
    assert_int_equal(pause.since_wall_ms, 9000);
    pauses_fini(&pauses);
}

static void a_long_reason_is_cut(void **state)
{
    (void)state;
    struct pauses pauses;
    struct pause pause;
    char reason[2 * PAUSE_REASON_MAX];
    memset(reason, 'x', sizeof reason - 1);
    reason[sizeof reason - 1] = '\0';
    pauses_init(&pauses);
    pauses_begin(&pauses, PAUSE_PICKUP, 1, reason);
    assert_true(pauses_read(&pauses, PAUSE_PICKUP, &pause));
    assert_int_equal(strlen(pause.reason), PAUSE_REASON_MAX - 1);
    pauses_fini(&pauses);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_pauses_at_first),
        cmocka_unit_test(a_pause_keeps_its_beginning_and_tells_its_latest_reason),
        cmocka_unit_test(a_long_reason_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
