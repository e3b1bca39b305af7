/* Concurrency Kit's lock-free stack, popped whole and reversed, behind one eventfd.
 * It does not bound its length: what is under way is bounded by admission. */
#include "base/mailbox.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ThreadSanitizer cannot see the order that Concurrency Kit's inline assembly makes. Under it this
 * file is not instrumented (base/CMakeLists.txt), and what a push and a pop order is said here. */
#if defined(SLUICE_TSAN)
#include <sanitizer/tsan_interface.h>
#define TSAN_RELEASE(at) __tsan_release(at)
#define TSAN_ACQUIRE(at) __tsan_acquire(at)
#else
#define TSAN_RELEASE(at) ((void)(at))
#define TSAN_ACQUIRE(at) ((void)(at))
#endif

static void on_wake(struct loop_fd *watch, unsigned events)
{
    (void)events;
    struct mailbox *mailbox = container_of(watch, struct mailbox, watch);
    eventfd_t count;
    int rc = eventfd_read(watch->fd, &count);
    CHECK(rc == 0 || errno == EAGAIN || errno == EINTR);
    mailbox_drain(mailbox);
}

bool mailbox_init(struct mailbox *mailbox, struct loop *loop,
                  void (*on_item)(void *ctx, struct mailbox_item *item), void *ctx)
{
    *mailbox = (struct mailbox){.loop = loop, .on_item = on_item, .ctx = ctx};
    ck_stack_init(&mailbox->stack);
    mailbox->watch = (struct loop_fd){.fd = -1, .on_ready = on_wake};
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (fd < 0)
        return false;
    if (!loop_watch(loop, &mailbox->watch, fd, LOOP_READ)) {
        close(fd);
        return false;
    }
    return true;
}

void mailbox_fini(struct mailbox *mailbox)
{
    int fd = mailbox->watch.fd;
    loop_unwatch(mailbox->loop, &mailbox->watch);
    close(fd);
}

void mailbox_post(struct mailbox *mailbox, struct mailbox_item *item)
{
    mailbox_put(mailbox, item);
    mailbox_wake(mailbox);
}

void mailbox_put(struct mailbox *mailbox, struct mailbox_item *item)
{
    TSAN_RELEASE(mailbox);
    ck_stack_push_mpmc(&mailbox->stack, &item->link);
}

void mailbox_wake(struct mailbox *mailbox)
{
    if (!atomic_exchange(&mailbox->signalled, true)) {
        int rc = eventfd_write(mailbox->watch.fd, 1);
        CHECK(rc == 0);
    }
}

void mailbox_mute(struct mailbox *mailbox)
{
    /* A post that came before this line has written the eventfd: it still wakes, and nothing is
     * lost. */
    atomic_store(&mailbox->signalled, true);
}

static ck_stack_entry_t *reversed(ck_stack_entry_t *entry)
{
    ck_stack_entry_t *first = NULL;
    while (entry) {
        ck_stack_entry_t *next = entry->next;
        entry->next = first;
        first = entry;
        entry = next;
    }
    return first;
}

void mailbox_drain(struct mailbox *mailbox)
{
    /* Cleared before the pop: whoever pushes after the pop writes the eventfd again. */
    atomic_store(&mailbox->signalled, false);
    ck_stack_entry_t *entry = ck_stack_batch_pop_mpmc(&mailbox->stack);
    TSAN_ACQUIRE(mailbox);
    entry = reversed(entry);
    bool any = entry != NULL;
    while (entry) {
        ck_stack_entry_t *next = entry->next;
        mailbox->on_item(mailbox->ctx, container_of(entry, struct mailbox_item, link));
        entry = next;
    }
    if (any && mailbox->on_batch_end)
        mailbox->on_batch_end(mailbox->ctx);
}
