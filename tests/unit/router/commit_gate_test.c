/* When an intent waits for a commit. */
#include "router/commit_gate.h"
#include "tests/unit/cmocka_prelude.h"

struct fixture {
    struct config config;
    struct commit_gate gate;
};

static void set_up(struct fixture *f, enum durability durability)
{
    *f = (struct fixture){.config.queue = {.durability = durability, .commit_lag_ms = 1000}};
    commit_gate_init(&f->gate, &f->config);
}

static bool is_lagging(struct fixture *f)
{
    return atomic_load(&f->gate.is_lagging);
}

static void strict_always_waits_and_none_never(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, DURABILITY_STRICT);
    assert_true(commit_gate_is_closed(&f.gate, 5));
    assert_int_equal(f.gate.num_waits, 1);
    assert_false(is_lagging(&f));
    set_up(&f, DURABILITY_NONE);
    commit_gate_stored(&f.gate, 1);
    assert_false(commit_gate_is_closed(&f.gate, 100000));
}

static void group_waits_once_an_outcome_is_older_than_the_lag(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, DURABILITY_GROUP);
    assert_false(commit_gate_is_closed(&f.gate, 100000)); /* nothing to be made durable */
    commit_gate_stored(&f.gate, 100000);
    commit_gate_stored(&f.gate, 100900); /* the oldest counts */
    assert_false(commit_gate_is_closed(&f.gate, 101000));
    assert_true(commit_gate_is_closed(&f.gate, 101001));
    assert_true(is_lagging(&f));
    commit_gate_begin(&f.gate);
    commit_gate_stored(&f.gate, 101100);
    assert_true(commit_gate_is_closed(&f.gate, 101200)); /* under way is not done */
    commit_gate_begin(&f.gate);                          /* it failed, and is tried again */
    assert_true(commit_gate_is_closed(&f.gate, 101300));
    commit_gate_end(&f.gate, 101400);
    assert_false(commit_gate_is_closed(&f.gate, 101500));
    assert_false(is_lagging(&f));
    assert_int_equal(f.gate.num_waits, 3);
}

static void a_commit_that_leaves_a_lag_behind_goes_on_lagging(void **state)
{
    (void)state;
    struct fixture f;
    set_up(&f, DURABILITY_GROUP);
    commit_gate_stored(&f.gate, 1000);
    commit_gate_begin(&f.gate);
    commit_gate_stored(&f.gate, 1500);
    assert_true(commit_gate_is_closed(&f.gate, 2600));
    commit_gate_end(&f.gate, 2600);
    assert_true(is_lagging(&f));
    assert_true(commit_gate_is_closed(&f.gate, 2600));
    commit_gate_begin(&f.gate);
    commit_gate_end(&f.gate, 2700);
    assert_false(is_lagging(&f));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_always_waits_and_none_never),
        cmocka_unit_test(group_waits_once_an_outcome_is_older_than_the_lag),
        cmocka_unit_test(a_commit_that_leaves_a_lag_behind_goes_on_lagging),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
