/* Intrusive timers in a binary heap, driven by a loop or by a test.
 *
 * A timer is embedded in what it belongs to and borrowed by the queue while it is armed. One
 * thread. Instants are milliseconds of whatever clock the driver passes. Arm, cancel: O(log n). */
#ifndef SLUICE_BASE_TIMER_H
#define SLUICE_BASE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
    int64_t due_ms;
    size_t slot; /* position in the heap + 1; 0: not armed */
    void (*fire)(struct timer *timer, int64_t now_ms);
};

struct timer_queue {
    struct timer **heap; /* owned array of borrowed timers */
    size_t num;
    size_t cap;
};

void timer_queue_init(struct timer_queue *queue);
/* Frees the array; timers that are still armed are forgotten. */
void timer_queue_fini(struct timer_queue *queue);
void timer_init(struct timer *timer, void (*fire)(struct timer *timer, int64_t now_ms));
static inline bool timer_is_armed(const struct timer *timer)
{
    return timer->slot != 0;
}
/* Arms it, or moves it if it was armed. */
void timer_arm(struct timer_queue *queue, struct timer *timer, int64_t due_ms);
void timer_cancel(struct timer_queue *queue, struct timer *timer);
/* INT64_MAX when nothing is armed. */
int64_t timer_queue_next_ms(const struct timer_queue *queue);
/* Disarms and fires, in order, all that is due at now_ms, also what those arm for now_ms or before,
 * but at most `most` of them, so that timers cannot starve the loop. Returns how many fired. */
size_t timer_queue_run(struct timer_queue *queue, int64_t now_ms, size_t most);

#endif
