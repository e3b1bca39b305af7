/* Many producers, one loop: structs with one owner change threads here, in batches.
 *
 * mailbox_post() may be called by any thread and never blocks; from then on the item belongs to the
 * receiver. The receiver's loop calls on_item once per item, in the order in which each producer
 * posted. One eventfd write wakes the receiver for a whole batch. Bounded by admission, not here.
 */
#ifndef SLUICE_BASE_MAILBOX_H
#define SLUICE_BASE_MAILBOX_H

#include "base/loop.h"

#include <ck_stack.h>
#include <stdatomic.h>

/* Embedded in whatever is posted; an item is in one mailbox at a time. */
struct mailbox_item {
    ck_stack_entry_t link;
    /* Set by the sender to say what the item is; each receiver's header names its kinds. */
    unsigned kind;
};

struct mailbox {
    ck_stack_t stack;
    _Atomic bool signalled; /* an eventfd write is pending */
    struct loop_fd watch;
    struct loop *loop; /* borrowed: the receiver's */
    void (*on_item)(void *ctx, struct mailbox_item *item);
    void (*on_batch_end)(void *ctx); /* may be NULL */
    void *ctx;
};

/* Makes the eventfd and watches it on the receiver's loop; false with errno set. Call it before the
 * threads start. */
bool mailbox_init(struct mailbox *mailbox, struct loop *loop,
                  void (*on_item)(void *ctx, struct mailbox_item *item), void *ctx)
    __attribute__((warn_unused_result));
/* Items left in it are not freed; the receiver drains first (mailbox_drain). */
void mailbox_fini(struct mailbox *mailbox);
void mailbox_post(struct mailbox *mailbox, struct mailbox_item *item);
/* For a sender of many: items without the wake-up, then one wake-up for all of them. Woken by the
 * first, the receiver would run beside the sender and go to sleep after each. An item that was put
 * may be taken before the wake-up, and is only sure to be taken after it. */
void mailbox_put(struct mailbox *mailbox, struct mailbox_item *item);
void mailbox_wake(struct mailbox *mailbox);
/* Receiver only: until the next mailbox_drain() no post wakes the loop. For a receiver that drains
 * by a timer which is armed already, so that a wake-up would only make it gather one item. */
void mailbox_mute(struct mailbox *mailbox);
/* Receiver only: hands out what is there now, without waiting for the wake-up. */
void mailbox_drain(struct mailbox *mailbox);

#endif
