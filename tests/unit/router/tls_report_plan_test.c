/* Several days of sending TLS reports, on a clock of the test's own. */
#include "base/memory.h"
#include "router/tls_report_plan.h"
#include "tests/unit/cmocka_prelude.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MINUTE = 60 * 1000, HOUR = 60 * MINUTE, DAY = 24 * HOUR, NUM_DOMAINS = 200 };

struct world {
    struct tls_report_plan plan;
    int64_t now_ms;
    enum tls_report_result result; /* of every attempt */
    struct tls_report_step last;   /* its texts are void */
    unsigned num_attempts, num_at_once;
    int64_t first_due_ms, last_due_ms;
    bool is_slow; /* attempts do not end by themselves */
    struct tls_report_entry *open;
};

static void on_due(void *ctx, struct tls_report_entry *entry, int64_t now_wall_ms)
{
    struct world *world = ctx;
    world->num_attempts++;
    world->num_at_once++;
    if (!world->first_due_ms)
        world->first_due_ms = now_wall_ms;
    world->last_due_ms = now_wall_ms;
    if (world->is_slow) {
        world->open = entry;
        return;
    }
    tls_report_plan_ended(entry, world->result, now_wall_ms, &world->last);
    tls_report_plan_settle(entry, &world->last);
}

static void begin(struct world *world, int64_t delay_ms)
{
    *world = (struct world){.plan = {.hostname = "mta.test",
                                     .delay_ms = delay_ms,
                                     .retry_ms = 15 * MINUTE,
                                     .on_due = on_due}};
    tls_report_plan_init(&world->plan);
    world->plan.ctx = world;
    world->now_ms = tls_report_day_begin_s("2026-11-25") * 1000;
}

static void add(struct world *world, const char *domain, const struct tls_report_step *last)
{
    tls_report_plan_add(&world->plan, "2026-11-24", domain, mem_strdup("{}"), last);
}

/* From one due time to the next, as the thread does. */
static void pass(struct world *world, int64_t until_ms)
{
    while (tls_report_plan_next_ms(&world->plan) <= until_ms) {
        if (world->now_ms < tls_report_plan_next_ms(&world->plan))
            world->now_ms = tls_report_plan_next_ms(&world->plan);
        world->num_at_once = 0;
        tls_report_plan_run(&world->plan, world->now_ms, 8);
    }
    world->now_ms = until_ms;
}

static void reports_are_spread_over_the_delay(void **state)
{
    struct world world;
    char domain[20];
    unsigned halves[2] = {0, 0};
    (void)state;
    begin(&world, 4 * HOUR);
    int64_t midnight_ms = world.now_ms;
    for (int i = 0; i < NUM_DOMAINS; i++) {
        snprintf(domain, sizeof domain, "d%d.test", i);
        add(&world, domain, NULL);
        int64_t due_ms = tls_report_plan_due_ms(&world.plan, "2026-11-24", domain) - midnight_ms;
        assert_in_range(due_ms, TLS_REPORT_SETTLE_MS, TLS_REPORT_SETTLE_MS + 4 * HOUR);
        halves[due_ms < 2 * HOUR]++;
    }
    assert_true(halves[0] > NUM_DOMAINS / 3 && halves[1] > NUM_DOMAINS / 3);
    pass(&world, midnight_ms + TLS_REPORT_SETTLE_MS - 1);
    assert_int_equal(world.num_attempts, 0);
    pass(&world, midnight_ms + DAY);
    assert_int_equal(world.num_attempts, NUM_DOMAINS);
    assert_true(world.last_due_ms - world.first_due_ms > 3 * HOUR);
    assert_null(world.plan.first);
    tls_report_plan_fini(&world.plan);
}

static void the_due_time_depends_on_sender_day_and_domain_alone(void **state)
{
    struct world a, b;
    (void)state;
    begin(&a, 4 * HOUR);
    begin(&b, 4 * HOUR);
    int64_t due_ms = tls_report_plan_due_ms(&a.plan, "2026-11-24", "a.test");
    assert_int_equal(due_ms, tls_report_plan_due_ms(&b.plan, "2026-11-24", "a.test"));
    assert_int_not_equal(due_ms, tls_report_plan_due_ms(&a.plan, "2026-11-24", "b.test"));
    assert_int_not_equal(due_ms + DAY, tls_report_plan_due_ms(&a.plan, "2026-11-25", "a.test"));
    b.plan.hostname = "mta2.test";
    assert_int_not_equal(due_ms, tls_report_plan_due_ms(&b.plan, "2026-11-24", "a.test"));
    a.plan.delay_ms = 0;
    assert_int_equal(tls_report_plan_due_ms(&a.plan, "2026-11-24", "a.test"),
                     a.now_ms + TLS_REPORT_SETTLE_MS);
}

static void what_nobody_takes_is_given_up_after_a_day(void **state)
{
    struct world world;
    (void)state;
    begin(&world, 0);
    world.result = TLS_REPORT_REFUSED;
    add(&world, "a.test", NULL);
    static const int64_t waits_ms[] = {15 * MINUTE, 30 * MINUTE, HOUR,     2 * HOUR,
                                       4 * HOUR,    4 * HOUR,    4 * HOUR, 4 * HOUR};
    int64_t first_ms = world.now_ms + TLS_REPORT_SETTLE_MS, at_ms = first_ms;
    for (size_t i = 0; i < sizeof waits_ms / sizeof *waits_ms; i++) {
        pass(&world, at_ms);
        assert_int_equal(world.num_attempts, i + 1);
        assert_int_equal(world.last.state, TLS_REPORT_RETRY);
        assert_int_equal(world.last.next_wall_ms, at_ms + waits_ms[i]);
        at_ms += waits_ms[i];
    }
    pass(&world, first_ms + DAY - 1);
    assert_int_equal(world.last.state, TLS_REPORT_RETRY);
    pass(&world, first_ms + DAY);
    assert_int_equal(world.last.state, TLS_REPORT_FAILED);
    assert_int_equal(world.last.first_wall_ms, first_ms);
    unsigned num = world.num_attempts;
    pass(&world, first_ms + 5 * DAY);
    assert_int_equal(world.num_attempts, num);
    tls_report_plan_fini(&world.plan);
}

static void results_end_in_steps(void **state)
{
    static const struct {
        enum tls_report_result result;
        enum tls_report_state state;
    } rows[] = {{TLS_REPORT_TAKEN, TLS_REPORT_SENT},
                {TLS_REPORT_REFUSED, TLS_REPORT_RETRY},
                {TLS_REPORT_HOPELESS, TLS_REPORT_FAILED},
                {TLS_REPORT_UNASKED, TLS_REPORT_NOT_WANTED}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world world;
        begin(&world, 0);
        world.result = rows[i].result;
        add(&world, "a.test", NULL);
        pass(&world, world.now_ms + TLS_REPORT_SETTLE_MS);
        assert_int_equal(world.num_attempts, 1);
        assert_int_equal(world.last.state, rows[i].state);
        assert_int_equal(world.last.attempts, 1);
        tls_report_plan_fini(&world.plan);
    }
}

/* The machine was off: at midnight, between attempts, longer than the day of tries. */
static void a_restart_goes_on_where_the_ledger_ends(void **state)
{
    struct world world;
    (void)state;
    begin(&world, 4 * HOUR);
    world.now_ms += 2 * DAY;
    add(&world, "late.test", NULL);
    pass(&world, world.now_ms);
    assert_int_equal(world.num_attempts, 1);
    struct tls_report_step step = {.domain = "sent.test", .state = TLS_REPORT_SENT};
    add(&world, "sent.test", &step);
    step.state = TLS_REPORT_FAILED;
    add(&world, "failed.test", &step);
    step.state = TLS_REPORT_NOT_WANTED;
    add(&world, "unasked.test", &step);
    assert_null(world.plan.first);
    step = (struct tls_report_step){.domain = "retry.test",
                                    .state = TLS_REPORT_RETRY,
                                    .attempts = 3,
                                    .first_wall_ms = world.now_ms - HOUR,
                                    .next_wall_ms = world.now_ms + HOUR};
    add(&world, "retry.test", &step);
    world.result = TLS_REPORT_REFUSED;
    pass(&world, world.now_ms + HOUR - 1);
    assert_int_equal(world.num_attempts, 1);
    pass(&world, world.now_ms + 1);
    assert_int_equal(world.num_attempts, 2);
    assert_int_equal(world.last.attempts, 4);
    assert_int_equal(world.last.first_wall_ms, step.first_wall_ms);
    tls_report_plan_fini(&world.plan);
    begin(&world, 0);
    world.result = TLS_REPORT_REFUSED;
    step.first_wall_ms = world.now_ms - 30 * HOUR;
    step.next_wall_ms = world.now_ms - 10 * HOUR;
    add(&world, "over.test", &step);
    pass(&world, world.now_ms);
    assert_int_equal(world.num_attempts, 1);
    assert_int_equal(world.last.state, TLS_REPORT_FAILED);
    tls_report_plan_fini(&world.plan);
}

static void no_more_begin_at_once_than_asked_for(void **state)
{
    struct world world;
    char domain[20];
    (void)state;
    begin(&world, 0);
    for (int i = 0; i < NUM_DOMAINS; i++) {
        snprintf(domain, sizeof domain, "d%d.test", i);
        add(&world, domain, NULL);
    }
    tls_report_plan_run(&world.plan, world.now_ms + DAY, 8);
    assert_int_equal(world.num_at_once, 8);
    tls_report_plan_run(&world.plan, world.now_ms + DAY, 0);
    assert_int_equal(world.num_at_once, 8);
    tls_report_plan_fini(&world.plan);
}

/* An attempt under way has no due time, and may be dropped with the plan. */
static void an_attempt_under_way_is_not_due(void **state)
{
    struct world world;
    (void)state;
    begin(&world, 0);
    world.is_slow = true;
    add(&world, "a.test", NULL);
    pass(&world, world.now_ms + DAY);
    assert_int_equal(world.num_attempts, 1);
    assert_ptr_equal(world.open, world.plan.first);
    assert_true(tls_report_plan_next_ms(&world.plan) == INT64_MAX);
    tls_report_plan_fini(&world.plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_are_spread_over_the_delay),
        cmocka_unit_test(the_due_time_depends_on_sender_day_and_domain_alone),
        cmocka_unit_test(what_nobody_takes_is_given_up_after_a_day),
        cmocka_unit_test(results_end_in_steps),
        cmocka_unit_test(a_restart_goes_on_where_the_ledger_ends),
        cmocka_unit_test(no_more_begin_at_once_than_asked_for),
        cmocka_unit_test(an_attempt_under_way_is_not_due),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
