/* A binary heap of borrowed timers.
 * It does not ask the time: the caller says what `now` is. */
#include "base/timer.h"

#include "base/check.h"
#include "base/memory.h"

void timer_queue_init(struct timer_queue *queue)
{
    *queue = (struct timer_queue){0};
}

void timer_queue_fini(struct timer_queue *queue)
{
    for (size_t i = 0; i < queue->num; i++)
        queue->heap[i]->slot = 0;
    free(queue->heap);
    *queue = (struct timer_queue){0};
}

void timer_init(struct timer *timer, void (*fire)(struct timer *timer, int64_t now_ms))
{
    *timer = (struct timer){.fire = fire};
}

static void place(struct timer_queue *queue, size_t i, struct timer *timer)
{
    queue->heap[i] = timer;
    timer->slot = i + 1;
}

static void sift_up(struct timer_queue *queue, size_t i, struct timer *timer)
{
    while (i > 0) {
        size_t parent = (i - 1) / 2;
        if (queue->heap[parent]->due_ms <= timer->due_ms)
            break;
        place(queue, i, queue->heap[parent]);
        i = parent;
    }
    place(queue, i, timer);
}

static void sift_down(struct timer_queue *queue, size_t i, struct timer *timer)
{
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= queue->num)
            break;
        if (child + 1 < queue->num && queue->heap[child + 1]->due_ms < queue->heap[child]->due_ms)
            child++;
        if (timer->due_ms <= queue->heap[child]->due_ms)
            break;
        place(queue, i, queue->heap[child]);
        i = child;
    }
    place(queue, i, timer);
}

void timer_arm(struct timer_queue *queue, struct timer *timer, int64_t due_ms)
{
    CHECK(timer->fire);
    if (timer->slot) {
        size_t i = timer->slot - 1;
        bool earlier = due_ms < timer->due_ms;
        timer->due_ms = due_ms;
        if (earlier)
            sift_up(queue, i, timer);
        else
            sift_down(queue, i, timer);
        return;
    }
    if (queue->num == queue->cap) {
        queue->cap = queue->cap ? queue->cap * 2 : 16;
        queue->heap = mem_realloc(queue->heap, queue->cap, sizeof *queue->heap);
    }
    timer->due_ms = due_ms;
    sift_up(queue, queue->num++, timer);
}

void timer_cancel(struct timer_queue *queue, struct timer *timer)
{
    if (!timer->slot)
        return;
    size_t i = timer->slot - 1;
    CHECK(i < queue->num && queue->heap[i] == timer);
    timer->slot = 0;
    struct timer *last = queue->heap[--queue->num];
    if (last == timer)
        return;
    if (i > 0 && last->due_ms < queue->heap[(i - 1) / 2]->due_ms)
        sift_up(queue, i, last);
    else
        sift_down(queue, i, last);
}

int64_t timer_queue_next_ms(const struct timer_queue *queue)
{
    return queue->num ? queue->heap[0]->due_ms : INT64_MAX;
}

size_t timer_queue_run(struct timer_queue *queue, int64_t now_ms, size_t most)
{
    size_t fired = 0;
    while (fired < most && queue->num && queue->heap[0]->due_ms <= now_ms) {
        struct timer *timer = queue->heap[0];
        timer_cancel(queue, timer);
        timer->fire(timer, now_ms);
        fired++;
    }
    return fired;
}
