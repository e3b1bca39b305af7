/* The timer heap, with a clock that the test moves. */
#include "base/memory.h"
#include "base/timer.h"
#include "tests/unit/cmocka_prelude.h"

#include <stdlib.h>

struct alarm {
    struct timer timer;
    int64_t fired_at;
    struct timer_queue *rearm;
};

static int64_t last_due;

static void on_fire(struct timer *timer, int64_t now_ms)
{
    struct alarm *alarm = container_of(timer, struct alarm, timer);
    assert_true(timer->due_ms >= last_due);
    assert_true(timer->due_ms <= now_ms);
    assert_false(timer_is_armed(timer));
    last_due = timer->due_ms;
    alarm->fired_at = now_ms;
    if (alarm->rearm)
        timer_arm(alarm->rearm, timer, now_ms);
}

static void timers_fire_in_order_whatever_was_armed_moved_or_cancelled(void **state)
{
    (void)state;
    enum { NUM = 500 };
    struct timer_queue queue;
    struct alarm *alarms = mem_zalloc(NUM, sizeof *alarms);
    timer_queue_init(&queue);
    srandom(7);
    for (int i = 0; i < NUM; i++) {
        timer_init(&alarms[i].timer, on_fire);
        timer_arm(&queue, &alarms[i].timer, 1 + random() % 999);
    }
    for (int i = 0; i < NUM; i += 3)
        timer_arm(&queue, &alarms[i].timer, 1 + random() % 999);
    for (int i = 0; i < NUM; i += 5)
        timer_cancel(&queue, &alarms[i].timer);
    timer_cancel(&queue, &alarms[0].timer);
    last_due = 0;
    size_t fired = 0;
    for (int64_t now = 0; now <= 1000; now += 10)
        fired += timer_queue_run(&queue, now, SIZE_MAX);
    assert_int_equal(fired, NUM - NUM / 5);
    assert_int_equal(timer_queue_next_ms(&queue), INT64_MAX);
    for (int i = 0; i < NUM; i++)
        assert_int_equal(alarms[i].fired_at > 0, i % 5 != 0);
    timer_queue_fini(&queue);
    free(alarms);
}

static void a_timer_that_arms_itself_for_now_cannot_starve_the_loop(void **state)
{
    (void)state;
    struct timer_queue queue;
    struct alarm alarm = {.rearm = &queue};
    timer_queue_init(&queue);
    timer_init(&alarm.timer, on_fire);
    last_due = 0;
    timer_arm(&queue, &alarm.timer, 5);
    assert_int_equal(timer_queue_run(&queue, 5, 100), 100);
    assert_true(timer_is_armed(&alarm.timer));
    timer_queue_fini(&queue);
    assert_false(timer_is_armed(&alarm.timer));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_fire_in_order_whatever_was_armed_moved_or_cancelled),
        cmocka_unit_test(a_timer_that_arms_itself_for_now_cannot_starve_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
