/* Whom a pool of sites wakes when little is left to be sent.
 * What a single site decides stands in site_test.c. */
#include "router/site_pool.h"
#include "tests/unit/cmocka_prelude.h"

static bool wakes(struct loop *loop, const struct mailbox *mailbox)
{
    bool woken = atomic_load(&mailbox->signalled);
    loop_turn(loop, 0);
    return woken;
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    (void)ctx;
    (void)item;
}

static void its_loader_is_woken_when_what_is_ahead_falls_to_the_low_water(void **state)
{
    (void)state;
    static const struct config config;
    struct loop loop;
    struct mailbox loader;
    struct site_pool *pool = site_pool_new(&config, 1);
    assert_true(loop_init(&loop));
    assert_true(mailbox_init(&loader, &loop, on_item, NULL));
    site_pool_set_loader(pool, &loader, 2);
    atomic_store(site_pool_num_ahead(pool), 4);
    site_pool_leave_ahead(pool, 0);
    assert_false(wakes(&loop, &loader));
    site_pool_leave_ahead(pool, 1);
    assert_false(wakes(&loop, &loader));
    site_pool_leave_ahead(pool, 1);
    assert_true(wakes(&loop, &loader));
    site_pool_leave_ahead(pool, 1);
    assert_false(wakes(&loop, &loader));
    atomic_store(site_pool_num_ahead(pool), 9);
    site_pool_leave_ahead(pool, 9);
    assert_true(wakes(&loop, &loader));
    mailbox_fini(&loader);
    loop_fini(&loop);
    site_pool_free(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(its_loader_is_woken_when_what_is_ahead_falls_to_the_low_water),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
