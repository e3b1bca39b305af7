/* An event loop: fd interest, timers, wake-ups. The only room that knows epoll.
 *
 * One thread runs a loop and alone may call its functions, except mailbox_post() (base/mailbox.h).
 * A turn has these phases, in this order:
 *   1. before_sleep hook (flush batches), 2. wait for events or the next timer, 3. `now` is read
 *   once and stays fixed, 4. fd callbacks, 5. timers, 6. end-of-tick frees.
 * So a callback may close and "free" the very object whose callback runs: loop_free_later() keeps
 * its memory until the end of the tick, and an event that was already fetched for an unwatched fd
 * is dropped. Level-triggered. */
#ifndef SLUICE_BASE_LOOP_H
#define SLUICE_BASE_LOOP_H

#include "base/timer.h"

#include <stdbool.h>
#include <stdint.h>

enum { LOOP_READ = 1, LOOP_WRITE = 2, LOOP_HANGUP = 4 };

/* Embedded in the owner of the fd. The fd stays the owner's to close, after loop_unwatch(). */
struct loop_fd {
    int fd;           /* -1: not watched */
    unsigned events;  /* LOOP_READ | LOOP_WRITE asked for */
    unsigned pending; /* index + 1 in the batch being dispatched; 0: none */
    /* events: what is ready; LOOP_HANGUP (error or hang-up) may come with any of them. */
    void (*on_ready)(struct loop_fd *self, unsigned events);
};

/* Embedded in what loop_free_later() is to free. */
struct loop_garbage {
    struct loop_garbage *next;
    void (*free)(struct loop_garbage *self);
};

struct loop {
    int epoll_fd;
    int64_t now_us; /* monotonic, fixed during a turn */
    int64_t now_ms;
    struct timer_queue timers;
    struct loop_garbage *garbage;
    struct loop_fd **ready; /* the batch being dispatched: borrowed, NULL where unwatched since */
    unsigned num_ready;
    bool stopped;
    void (*before_sleep)(struct loop *loop, void *ctx); /* may be NULL */
    void *before_sleep_ctx;
};

/* false with errno set when the system has no epoll instance for us. */
bool loop_init(struct loop *loop) __attribute__((warn_unused_result));
void loop_fini(struct loop *loop);
/* Turns until loop_stop(). */
void loop_run(struct loop *loop);
/* One turn that waits at most max_wait_ms (-1: as long as it takes). */
void loop_turn(struct loop *loop, int max_wait_ms);
void loop_stop(struct loop *loop);

/* false with errno set (ENOSPC, ENOMEM) when the kernel refuses. */
bool loop_watch(struct loop *loop, struct loop_fd *watch, int fd, unsigned events)
    __attribute__((warn_unused_result));
void loop_set_events(struct loop *loop, struct loop_fd *watch, unsigned events);
/* Idempotent. Call before close(). */
void loop_unwatch(struct loop *loop, struct loop_fd *watch);
void loop_free_later(struct loop *loop, struct loop_garbage *garbage,
                     void (*free)(struct loop_garbage *self));

/* loop->now_ms based arming. */
static inline void loop_arm(struct loop *loop, struct timer *timer, int64_t delay_ms)
{
    timer_arm(&loop->timers, timer, loop->now_ms + delay_ms);
}
static inline void loop_cancel(struct loop *loop, struct timer *timer)
{
    timer_cancel(&loop->timers, timer);
}

#endif
