/* The board of pauses: what pauses, since when, why, and what may go on meanwhile. */
#include "base/log.h"
#include "router/pauses.h"
#include "tests/unit/cmocka_prelude.h"

#include <errno.h>

static struct pauses pauses;

static int set_up(void **state)
{
    (void)state;
    pauses_init(&pauses);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    pauses_fini(&pauses);
    return 0;
}

static void nothing_pauses_at_first(void **state)
{
    (void)state;
    struct pause pause;
    for (enum pause_room room = 0; room < PAUSE_ROOMS; room++)
        assert_false(pauses_read(&pauses, room, &pause));
    assert_false(pauses_any(&pauses));
    assert_true(pauses_allow_deliveries(&pauses));
}

static void the_first_time_and_the_latest_reason_are_told(void **state)
{
    (void)state;
    struct pause pause;
    pauses_begin(&pauses, PAUSE_FILES, ENOSPC, 1000);
    pauses_begin(&pauses, PAUSE_FILES, EROFS, 5000);
    assert_true(pauses_read(&pauses, PAUSE_FILES, &pause));
    assert_int_equal(pause.since_wall_ms, 1000);
    assert_non_null(strstr(pause.reason, strerror(EROFS)));
    assert_false(pauses_read(&pauses, PAUSE_SPOOL, &pause));
    pauses_end(&pauses, PAUSE_FILES, 6000);
    pauses_end(&pauses, PAUSE_FILES, 6000);
    assert_false(pauses_read(&pauses, PAUSE_FILES, &pause));
    assert_false(pauses_any(&pauses));
    pauses_begin(&pauses, PAUSE_FILES, EIO, 9000);
    assert_true(pauses_read(&pauses, PAUSE_FILES, &pause));
    assert_int_equal(pause.since_wall_ms, 9000);
}

static void nothing_is_begun_while_it_cannot_be_recorded(void **state)
{
    (void)state;
    pauses_begin(&pauses, PAUSE_JOURNAL, ENOSPC, 1000);
    assert_true(pauses_any(&pauses));
    assert_false(pauses_allow_deliveries(&pauses));
    pauses_end(&pauses, PAUSE_JOURNAL, 2000);
    pauses_begin(&pauses, PAUSE_SPOOL, ENOENT, 1000);
    assert_false(pauses_allow_deliveries(&pauses));
}

static void what_is_loaded_goes_on_without_descriptors_or_room_for_files(void **state)
{
    (void)state;
    pauses_begin(&pauses, PAUSE_LIMITS, EMFILE, 1000);
    pauses_begin(&pauses, PAUSE_FILES, ENOSPC, 1000);
    assert_true(pauses_any(&pauses));
    assert_true(pauses_allow_deliveries(&pauses));
}

static void one_that_is_over_leaves_the_others(void **state)
{
    (void)state;
    pauses_begin(&pauses, PAUSE_JOURNAL, EIO, 1000);
    pauses_begin(&pauses, PAUSE_FILES, EIO, 1000);
    pauses_end(&pauses, PAUSE_JOURNAL, 2000);
    assert_true(pauses_any(&pauses));
    assert_true(pauses_allow_deliveries(&pauses));
}

static void errors_of_one_file_are_not_of_the_system(void **state)
{
    (void)state;
    static const int system[] = {ENOSPC, EDQUOT, EROFS, EIO, EMFILE, ENFILE, ENOMEM};
    static const int file[] = {0, ENOENT, ESTALE, EACCES, EPERM, EEXIST, EISDIR};
    for (size_t i = 0; i < sizeof system / sizeof *system; i++)
        assert_true(pause_error_is_of_the_system(system[i]));
    for (size_t i = 0; i < sizeof file / sizeof *file; i++)
        assert_false(pause_error_is_of_the_system(file[i]));
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    log_set_level(LOG_LEVEL_ERROR + 1);
    const struct CMUnitTest tests[] = {
        TEST(nothing_pauses_at_first),
        TEST(the_first_time_and_the_latest_reason_are_told),
        TEST(nothing_is_begun_while_it_cannot_be_recorded),
        TEST(what_is_loaded_goes_on_without_descriptors_or_room_for_files),
        TEST(one_that_is_over_leaves_the_others),
        TEST(errors_of_one_file_are_not_of_the_system),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
