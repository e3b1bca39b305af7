/* The site's window, promises and back-off, with time as an argument. */
#include "base/memory.h"
#include "router/site.h"
#include "tests/unit/cmocka_prelude.h"

static const struct destination_settings settings = {
    .connections = 8, .connections_initial = 3, .max_deliveries = 100};
static const struct retry_policy policy = {.minimum_ms = 1000,
                                           .maximum_ms = 8000,
                                           .lifetime_ms = 100000,
                                           .null_lifetime_ms = 10000,
                                           .jitter_percent = 0};
static const struct outcome refused = {
    .kind = OUTCOME_DEFERRED, .phase = PHASE_CONNECT, .text = "connection refused"};

struct mail {
    struct message message;
    struct delivery *deliveries[32];
};

static struct mail *mail_new(int priority)
{
    struct mail *mail = mem_zalloc(1, sizeof *mail);
    mail->message.envelope.priority = priority;
    for (unsigned i = 0; i < 32; i++)
        mail->deliveries[i] = delivery_new(&mail->message, 1);
    return mail;
}

static void mail_free(struct mail *mail)
{
    for (unsigned i = 0; i < 32; i++)
        delivery_free(mail->deliveries[i]);
    free(mail);
}

static unsigned open_all(struct site *site, int64_t now_ms)
{
    unsigned num = 0;
    unsigned worker = 0;
    while (site_next_wish(site, now_ms, &worker) == SITE_WISH_OPEN)
        num++;
    return num;
}

static void connections_are_no_more_than_deliveries_and_no_more_than_the_window(void **state)
{
    (void)state;
    struct site *site = site_new("k", "n", &settings, 2);
    struct mail *mail = mail_new(5);
    site_add(site, mail->deliveries[0]);
    assert_int_equal(open_all(site, 0), 1);
    for (unsigned i = 1; i < 20; i++)
        site_add(site, mail->deliveries[i]);
    assert_int_equal(open_all(site, 0), 2);
    assert_int_equal(site->open, 3);
    assert_non_null(site_take_all(site));
    site->open = 0;
    site_free(site);
    mail_free(mail);
}

static void an_idle_connection_is_used_before_a_new_one_is_opened(void **state)
{
    (void)state;
    struct site *site = site_new("k", "n", &settings, 2);
    struct mail *mail = mail_new(5);
    unsigned worker = 9;
    site->wakes[1].idle = 1;
    site_add(site, mail->deliveries[0]);
    assert_int_equal(site_next_wish(site, 0, &worker), SITE_WISH_SERVE_IDLE);
    assert_int_equal(worker, 1);
    assert_int_equal(site_next_wish(site, 0, &worker), SITE_WISH_NONE);
    assert_ptr_equal(site_take(site), mail->deliveries[0]);
    site_free(site);
    mail_free(mail);
}

static void a_site_is_dead_only_after_its_whole_cohort_failed(void **state)
{
    (void)state;
    struct site *site = site_new("k", "n", &settings, 1);
    struct mail *mail = mail_new(5);
    int64_t until = 0;
    for (unsigned i = 0; i < 10; i++)
        site_add(site, mail->deliveries[i]);
    assert_int_equal(open_all(site, 0), 3);
    site->starting = 0;
    for (unsigned i = 0; i < 2; i++) {
        assert_false(site_failed(site, &refused, &policy, 0, 100));
        site->open--;
        assert_int_equal(open_all(site, 100), 0); /* nobody joins a cohort that fails */
    }
    assert_true(site_failed(site, &refused, &policy, 0, 100));
    site->open--;
    assert_int_equal(site_admits(site, 100, 101, &until), SITE_SUSPENDED);
    assert_true(until > 101);
    assert_non_null(site_take_all(site));

    /* Back from suspension: one probe, then everything. */
    int64_t later = until + 1;
    assert_int_equal(site_admits(site, 100, later, &until), SITE_ADMITTED);
    site->in_memory = 1;
    site_add(site, mail->deliveries[0]);
    site_add(site, mail->deliveries[1]);
    assert_int_equal(open_all(site, later), 1);
    assert_int_equal(site_admits(site, 100, later, &until), SITE_SUSPENDED);
    site_succeeded(site);
    assert_int_equal(site_admits(site, 100, later, &until), SITE_ADMITTED);
    site->starting = 0;
    assert_int_equal(open_all(site, later), 2);
    site_take_all(site);
    site->open = 0;
    site_free(site);
    mail_free(mail);
}

static void a_failure_beside_a_working_session_costs_window_only(void **state)
{
    (void)state;
    struct site *site = site_new("k", "n", &settings, 1);
    site->window_milli = 8000;
    site->open = 4;
    site->ready = 1;
    assert_false(site_failed(site, &refused, &policy, 0, 0));
    assert_int_equal(site->window_milli, 4000);
    assert_int_equal(site->suspended_until_ms, 0);
    site->open = 0;
    site_free(site);
}

static void the_window_grows_to_its_limit_and_never_falls_below_one(void **state)
{
    (void)state;
    struct site *site = site_new("k", "n", &settings, 1);
    for (unsigned i = 0; i < 1000; i++)
        site_succeeded(site);
    assert_int_equal(site->window_milli, 8000);
    for (unsigned i = 0; i < 100; i++)
        site_slow_down(site);
    assert_int_equal(site->window_milli, 1000);
    site_free(site);
}

static void urgent_mail_goes_first_and_order_is_kept_within_a_class(void **state)
{
    (void)state;
    struct site *site = site_new("k", "n", &settings, 1);
    struct mail *bulk = mail_new(1);
    struct mail *urgent = mail_new(9);
    site_add(site, bulk->deliveries[0]);
    site_add(site, urgent->deliveries[0]);
    site_add(site, urgent->deliveries[1]);
    assert_ptr_equal(site_take(site), urgent->deliveries[0]);
    site_put_back(site, urgent->deliveries[0]);
    assert_ptr_equal(site_take(site), urgent->deliveries[0]);
    assert_ptr_equal(site_take(site), urgent->deliveries[1]);
    assert_ptr_equal(site_take(site), bulk->deliveries[0]);
    assert_null(site_take(site));
    site_free(site);
    mail_free(bulk);
    mail_free(urgent);
}

static void a_site_over_its_share_takes_no_more(void **state)
{
    (void)state;
    struct site *site = site_new("k", "n", &settings, 1);
    int64_t until = 0;
    site->in_memory = 10;
    assert_int_equal(site_admits(site, 10, 0, &until), SITE_FULL);
    assert_int_equal(site_admits(site, 11, 0, &until), SITE_ADMITTED);
    site_free(site);
}

static void room_wakes_half_a_share_and_never_nobody(void **state)
{
    (void)state;
    static const struct {
        size_t share, in_memory, num;
    } rows[] = {{10, 9, 0}, {10, 6, 0}, {10, 5, 5}, {10, 4, 1}, {10, 1, 1}, {10, 0, 5},
                {1, 0, 1},  {2, 1, 1},  {3, 2, 0},  {3, 1, 1},  {3, 0, 1}};
    struct site *site = site_new("k", "n", &settings, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        site->in_memory = rows[i].in_memory;
        assert_int_equal(site_num_to_wake(site, rows[i].share), rows[i].num);
    }
    site->in_memory = 0;
    site_free(site);
}

static void who_was_parked_first_comes_first(void **state)
{
    (void)state;
    struct site *site = site_new("k", "n", &settings, 1);
    uint64_t next_in = 0, next_out = 0, id;
    assert_false(site_unpark(site, &id));
    /* More come than go, so that the ring grows with its beginning anywhere. */
    for (unsigned round = 0; round < 100; round++) {
        for (unsigned i = 0; i < 7; i++)
            site_park(site, next_in++);
        for (unsigned i = 0; i < 5; i++) {
            assert_true(site_unpark(site, &id));
            assert_int_equal(id, next_out++);
        }
    }
    while (site_unpark(site, &id))
        assert_int_equal(id, next_out++);
    assert_int_equal(next_out, next_in);
    site_free(site);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(connections_are_no_more_than_deliveries_and_no_more_than_the_window),
        cmocka_unit_test(an_idle_connection_is_used_before_a_new_one_is_opened),
        cmocka_unit_test(a_site_is_dead_only_after_its_whole_cohort_failed),
        cmocka_unit_test(a_failure_beside_a_working_session_costs_window_only),
        cmocka_unit_test(the_window_grows_to_its_limit_and_never_falls_below_one),
        cmocka_unit_test(urgent_mail_goes_first_and_order_is_kept_within_a_class),
        cmocka_unit_test(a_site_over_its_share_takes_no_more),
        cmocka_unit_test(room_wakes_half_a_share_and_never_nobody),
        cmocka_unit_test(who_was_parked_first_comes_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
