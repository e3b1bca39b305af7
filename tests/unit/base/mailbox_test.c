/* Mailboxes between threads, and the loop's promises about closing and freeing. */
#include "base/mailbox.h"
#include "base/memory.h"
#include "tests/unit/cmocka_prelude.h"

#include <pthread.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PRODUCERS = 4, ITEMS = 20000 };

struct numbered {
    struct mailbox_item item;
    unsigned producer, number;
};

struct receiver {
    struct loop loop;
    struct mailbox mailbox;
    unsigned next[PRODUCERS];
    unsigned total;
};

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct receiver *receiver = ctx;
    struct numbered *numbered = container_of(item, struct numbered, item);
    assert_int_equal(numbered->number, receiver->next[numbered->producer]);
    receiver->next[numbered->producer]++;
    free(numbered);
    if (++receiver->total == PRODUCERS * ITEMS)
        loop_stop(&receiver->loop);
}

struct producer {
    struct receiver *receiver;
    unsigned index;
};

static void *produce(void *ctx)
{
    struct producer *producer = ctx;
    for (unsigned i = 0; i < ITEMS; i++) {
        struct numbered *numbered = mem_zalloc(1, sizeof *numbered);
        numbered->producer = producer->index;
        numbered->number = i;
        mailbox_post(&producer->receiver->mailbox, &numbered->item);
    }
    return NULL;
}

static void every_item_arrives_once_and_in_its_producers_order(void **state)
{
    (void)state;
    struct receiver receiver = {.total = 0};
    struct producer producers[PRODUCERS];
    pthread_t threads[PRODUCERS];
    assert_true(loop_init(&receiver.loop));
    assert_true(mailbox_init(&receiver.mailbox, &receiver.loop, on_item, &receiver));
    for (unsigned i = 0; i < PRODUCERS; i++) {
        producers[i] = (struct producer){&receiver, i};
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &producers[i]), 0);
    }
    loop_run(&receiver.loop);
    for (unsigned i = 0; i < PRODUCERS; i++)
        pthread_join(threads[i], NULL);
    assert_int_equal(receiver.total, PRODUCERS * ITEMS);
    mailbox_fini(&receiver.mailbox);
    loop_fini(&receiver.loop);
}

static void count_item(void *ctx, struct mailbox_item *item)
{
    (void)item;
    (*(unsigned *)ctx)++;
}

static void a_muted_mailbox_wakes_nobody_until_it_is_drained(void **state)
{
    (void)state;
    struct loop loop;
    struct mailbox mailbox;
    struct mailbox_item items[3] = {{.kind = 0}};
    unsigned num = 0;
    assert_true(loop_init(&loop));
    assert_true(mailbox_init(&mailbox, &loop, count_item, &num));
    mailbox_mute(&mailbox);
    mailbox_post(&mailbox, &items[0]);
    loop_turn(&loop, 0);
    assert_int_equal(num, 0);
    mailbox_drain(&mailbox);
    assert_int_equal(num, 1);
    mailbox_post(&mailbox, &items[1]);
    loop_turn(&loop, 1000);
    assert_int_equal(num, 2);
    /* A post that came before the muting has its wake-up under way. */
    mailbox_post(&mailbox, &items[2]);
    mailbox_mute(&mailbox);
    loop_turn(&loop, 1000);
    assert_int_equal(num, 3);
    mailbox_fini(&mailbox);
    loop_fini(&loop);
}

static void what_is_put_waits_for_one_wake_up(void **state)
{
    (void)state;
    struct loop loop;
    struct mailbox mailbox;
    struct mailbox_item items[2] = {{.kind = 0}};
    unsigned num = 0;
    assert_true(loop_init(&loop));
    assert_true(mailbox_init(&mailbox, &loop, count_item, &num));
    mailbox_put(&mailbox, &items[0]);
    mailbox_put(&mailbox, &items[1]);
    loop_turn(&loop, 0);
    assert_int_equal(num, 0);
    mailbox_wake(&mailbox);
    loop_turn(&loop, 1000);
    assert_int_equal(num, 2);
    mailbox_fini(&mailbox);
    loop_fini(&loop);
}

struct peer {
    struct loop_fd watch;
    struct loop_garbage garbage;
    struct loop *loop;
    struct peer *other;
    unsigned *num_called;
};

static void free_peer(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct peer, garbage));
}

static void close_peer(struct peer *peer)
{
    int fd = peer->watch.fd;
    loop_unwatch(peer->loop, &peer->watch);
    close(fd);
    loop_free_later(peer->loop, &peer->garbage, free_peer);
}

static void on_peer_ready(struct loop_fd *watch, unsigned events)
{
    (void)events;
    struct peer *peer = container_of(watch, struct peer, watch);
    (*peer->num_called)++;
    close_peer(peer->other);
    close_peer(peer);
}

/* Both sockets are ready in one batch; the first callback closes and frees both. */
static void an_event_fetched_for_a_closed_fd_is_dropped(void **state)
{
    (void)state;
    struct loop loop;
    int fds[2];
    unsigned num_called = 0;
    assert_true(loop_init(&loop));
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    assert_int_equal(write(fds[0], "x", 1), 1);
    assert_int_equal(write(fds[1], "x", 1), 1);
    struct peer *peers[2] = {mem_zalloc(1, sizeof **peers), mem_zalloc(1, sizeof **peers)};
    for (unsigned i = 0; i < 2; i++) {
        *peers[i] = (struct peer){.watch = {.fd = -1, .on_ready = on_peer_ready},
                                  .loop = &loop,
                                  .other = peers[1 - i],
                                  .num_called = &num_called};
        assert_true(loop_watch(&loop, &peers[i]->watch, fds[i], LOOP_READ));
    }
    loop_turn(&loop, 1000);
    assert_int_equal(num_called, 1);
    loop_turn(&loop, 0);
    loop_fini(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_arrives_once_and_in_its_producers_order),
        cmocka_unit_test(a_muted_mailbox_wakes_nobody_until_it_is_drained),
        cmocka_unit_test(what_is_put_waits_for_one_wake_up),
        cmocka_unit_test(an_event_fetched_for_a_closed_fd_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
