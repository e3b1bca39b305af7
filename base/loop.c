/* epoll behind a seam: see the phases of a turn in the header.
 * It does not own fds, and it knows nothing of protocols. */
#include "base/loop.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { BATCH = 256, TIMERS_PER_TURN = 4096 };

static void read_clock(struct loop *loop)
{
    loop->now_us = clock_mono_us();
    loop->now_ms = loop->now_us / 1000;
}

bool loop_init(struct loop *loop)
{
    *loop = (struct loop){.epoll_fd = epoll_create1(EPOLL_CLOEXEC)};
    if (loop->epoll_fd < 0)
        return false;
    timer_queue_init(&loop->timers);
    loop->ready = mem_zalloc(BATCH, sizeof *loop->ready);
    read_clock(loop);
    return true;
}

static void free_garbage(struct loop *loop)
{
    while (loop->garbage) {
        struct loop_garbage *garbage = loop->garbage;
        loop->garbage = garbage->next;
        garbage->free(garbage);
    }
}

void loop_fini(struct loop *loop)
{
    free_garbage(loop);
    timer_queue_fini(&loop->timers);
    free(loop->ready);
    close(loop->epoll_fd);
}

static int wait_ms(const struct loop *loop, int max_wait_ms)
{
    int64_t next = timer_queue_next_ms(&loop->timers);
    if (next == INT64_MAX)
        return max_wait_ms;
    int64_t now = clock_mono_us();
    /* Round up: waking a fraction of a millisecond early would spin. */
    int64_t wait = (next * 1000 - now + 999) / 1000;
    if (wait < 0)
        wait = 0;
    if (wait > 3600 * 1000)
        wait = 3600 * 1000;
    return max_wait_ms >= 0 && max_wait_ms < wait ? max_wait_ms : (int)wait;
}

static unsigned events_of(uint32_t bits)
{
    unsigned events = 0;
    if (bits & (EPOLLIN | EPOLLRDHUP))
        events |= LOOP_READ;
    if (bits & EPOLLOUT)
        events |= LOOP_WRITE;
    if (bits & (EPOLLERR | EPOLLHUP))
        events |= LOOP_HANGUP;
    return events;
}

static void dispatch(struct loop *loop, const struct epoll_event *events, unsigned num)
{
    for (unsigned i = 0; i < num; i++) {
        loop->ready[i] = events[i].data.ptr;
        loop->ready[i]->pending = i + 1;
    }
    loop->num_ready = num;
    for (unsigned i = 0; i < num; i++) {
        struct loop_fd *watch = loop->ready[i];
        if (!watch)
            continue;
        watch->pending = 0;
        watch->on_ready(watch, events_of(events[i].events));
    }
    loop->num_ready = 0;
}

void loop_turn(struct loop *loop, int max_wait_ms)
{
    struct epoll_event events[BATCH];
    if (loop->before_sleep)
        loop->before_sleep(loop, loop->before_sleep_ctx);
    int num = epoll_wait(loop->epoll_fd, events, BATCH, wait_ms(loop, max_wait_ms));
    CHECK(num >= 0 || errno == EINTR);
    read_clock(loop);
    dispatch(loop, events, num > 0 ? (unsigned)num : 0);
    timer_queue_run(&loop->timers, loop->now_ms, TIMERS_PER_TURN);
    free_garbage(loop);
}

void loop_run(struct loop *loop)
{
    while (!loop->stopped)
        loop_turn(loop, -1);
}

void loop_stop(struct loop *loop)
{
    loop->stopped = true;
}

static uint32_t bits_of(unsigned events)
{
    return (events & LOOP_READ ? EPOLLIN | EPOLLRDHUP : 0u) | (events & LOOP_WRITE ? EPOLLOUT : 0u);
}

bool loop_watch(struct loop *loop, struct loop_fd *watch, int fd, unsigned events)
{
    CHECK(fd >= 0 && watch->on_ready);
    struct epoll_event event = {.events = bits_of(events), .data.ptr = watch};
    if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) != 0)
        return false;
    watch->fd = fd;
    watch->events = events;
    watch->pending = 0;
    return true;
}

void loop_set_events(struct loop *loop, struct loop_fd *watch, unsigned events)
{
    if (watch->fd < 0 || watch->events == events)
        return;
    struct epoll_event event = {.events = bits_of(events), .data.ptr = watch};
    CHECK(epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, watch->fd, &event) == 0);
    watch->events = events;
}

void loop_unwatch(struct loop *loop, struct loop_fd *watch)
{
    if (watch->fd < 0)
        return;
    CHECK(epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, watch->fd, NULL) == 0);
    if (watch->pending) {
        CHECK(watch->pending <= loop->num_ready && loop->ready[watch->pending - 1] == watch);
        loop->ready[watch->pending - 1] = NULL;
        watch->pending = 0;
    }
    watch->fd = -1;
    watch->events = 0;
}

void loop_free_later(struct loop *loop, struct loop_garbage *garbage,
                     void (*free)(struct loop_garbage *self))
{
    garbage->free = free;
    garbage->next = loop->garbage;
    loop->garbage = garbage;
}
