/* The set of known entries: files are matched by identity, not by inode number alone. */
#include "queue/waiting_set.h"
#include "tests/unit/cmocka_prelude.h"

static void add(struct waiting_set *set, uint64_t id, uint64_t ino, int64_t mtime_ns)
{
    struct journal_message message = {.id = id,
                                      .path = "deferred/aa/x",
                                      .identity = {.ino = ino, .mtime_ns = mtime_ns},
                                      .num_recipients = 1};
    waiting_set_on_live(set, &message);
}

static void a_file_is_found_by_its_whole_identity(void **state)
{
    (void)state;
    struct waiting_set set = {0};
    struct file_identity identity = {.ino = 40, .mtime_ns = 2};
    assert_null(waiting_set_find(&set, &identity));
    assert_false(waiting_set_knows_inode(&set, 40));
    for (uint64_t i = 0; i < 1000; i++)
        add(&set, 5000 - i, i * 7919 % 1000 * 2, 1);
    add(&set, 9000, 40, 2);
    waiting_set_sort_by_inode(&set);
    assert_true(waiting_set_knows_inode(&set, 40));
    assert_false(waiting_set_knows_inode(&set, 41));
    assert_int_equal(waiting_set_find(&set, &identity)->id, 9000);
    identity.mtime_ns = 1;
    assert_int_not_equal(waiting_set_find(&set, &identity)->id, 9000);
    identity.mtime_ns = 3;
    assert_null(waiting_set_find(&set, &identity));
    waiting_set_fini(&set);
    assert_int_equal(set.num, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_is_found_by_its_whole_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
