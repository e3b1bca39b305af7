/* Group commit and the file operations that may only follow it.
 * It decides nothing about mail: the dispatcher did. */
#include "router/journal_thread.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "queue/dsn.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { JOURNAL_THREAD_STOP = 60, RETRY_MS = 1000, COMPLAIN_EVERY_MS = 10000 };

static void complain(struct journal_thread *thread, const char *what, int error)
{
    char reason[PAUSE_REASON_MAX];
    snprintf(reason, sizeof reason, "%s: %s", what, strerror(error));
    pauses_begin(thread->services.pauses, PAUSE_JOURNAL, clock_wall_ms(), reason);
    thread->is_paused = true;
    if (thread->complained_ms && thread->loop.now_ms - thread->complained_ms < COMPLAIN_EVERY_MS)
        return;
    thread->complained_ms = thread->loop.now_ms;
    log_error("%s: %s; deliveries wait until the disk works again", what, strerror(error));
}

static bool record_outcomes(struct journal_thread *thread, struct delivery *delivery)
{
    if (!delivery->recorded)
        delivery->recorded = delivery_record(delivery, thread->services.journal);
    if (!delivery->recorded)
        complain(thread, "the journal cannot store an outcome", errno);
    return delivery->recorded;
}

static bool stays(const struct message *message)
{
    return message->item.kind == MESSAGE_DEFER || message->item.kind == MESSAGE_HOLD;
}

/* Where a message that stays in the spool goes. */
static void path_to_stay(const struct message *message, char out[SPOOL_PATH_MAX])
{
    if (message->item.kind == MESSAGE_HOLD)
        spool_hold_path(message->id, out);
    else
        spool_deferred_path(message->id, out);
}

static bool record_snapshot(struct journal_thread *thread, struct message *message)
{
    char path[SPOOL_PATH_MAX];
    path_to_stay(message, path);
    struct journal_message snapshot = {
        .id = message->id,
        .path = path,
        .identity = message->identity,
        .arrived_wall_ms = message->arrived_wall_ms,
        .recipients_digest = message->recipients_digest,
        .num_recipients = (uint32_t)message->envelope.recipients.num,
        .recipients = message->recipients,
    };
    if (journal_append_deferred(thread->services.journal, &snapshot))
        return true;
    complain(thread, "the journal cannot store a deferral", errno);
    return false;
}

static bool write_dsn(struct journal_thread *thread, struct message *message)
{
    char name[64];
    if (message->dsn.len == 0)
        return true;
    dsn_name(message->id, message->event, name);
    int rc = spool_write_new(thread->services.spool, name, buffer_bytes(&message->dsn),
                             thread->services.config->queue.sync);
    if (rc < 0) {
        complain(thread, "cannot write a bounce into the spool", -rc);
        return false;
    }
    buffer_fini(&message->dsn);
    return true;
}

/* A message of the null sender has nobody who could be told: its bounced recipients stay so, and it
 * ends in bad/. */
static void mark_notified(struct message *message)
{
    if (message->envelope.sender.mailbox[0] == '\0')
        return;
    for (size_t i = 0; i < message->envelope.recipients.num; i++)
        if (message->recipients[i].status == RECIPIENT_BOUNCED)
            message->recipients[i].status = RECIPIENT_NOTIFIED;
}

/* Everything that must be durable before files move. False: not all of it could be stored; try
 * again later. */
static bool prepare(struct journal_thread *thread)
{
    for (struct delivery *d = thread->first_delivery; d; d = d->next) {
        if (!record_outcomes(thread, d))
            return false;
    }
    for (struct message *m = thread->first_message; m; m = m->next) {
        if (m->recorded)
            continue;
        if (!write_dsn(thread, m))
            return false;
        if (stays(m)) {
            mark_notified(m);
            if (!record_snapshot(thread, m))
                return false;
        }
        m->recorded = true;
    }
    return true;
}

static int move_to_stay(struct journal_thread *thread, struct message *message)
{
    const struct spool *spool = thread->services.spool;
    bool sync = thread->services.config->queue.sync;
    char to[SPOOL_PATH_MAX];
    path_to_stay(message, to);
    if (strcmp(message->path, to) == 0)
        return 0;
    int rc = spool_move(spool, message->path, to, &message->identity, sync);
    if (rc < 0)
        return rc;
    if (sync) {
        int error = spool_sync_folder_of(spool, to);
        if (error == 0)
            error = spool_sync_folder_of(spool, message->path);
        if (error < 0)
            complain(thread, "cannot sync a folder of the spool", -error);
    }
    free(message->path);
    message->path = mem_strdup(to);
    return 0;
}

static int carry_out(struct journal_thread *thread, struct message *message)
{
    const struct spool *spool = thread->services.spool;
    switch ((enum message_item_kind)message->item.kind) {
    case MESSAGE_DEFER:
    case MESSAGE_HOLD:
        return move_to_stay(thread, message);
    case MESSAGE_BAD:
        return spool_move_to_bad(spool, message->path, &message->identity, message->bad_reason);
    case MESSAGE_REMOVE:
        return spool_unlink(spool, message->path, &message->identity);
    }
    return -EINVAL;
}

/* One fsync for each run of neighbours in the same folder: messages mostly come from one. */
static void sync_folders(struct journal_thread *thread, const struct message *first)
{
    const char *synced = NULL;
    size_t synced_len = 0;
    if (!thread->services.config->queue.sync)
        return;
    for (const struct message *m = first; m; m = m->next) {
        const char *slash = strrchr(m->path, '/');
        size_t len = slash ? (size_t)(slash - m->path) : 0;
        if (stays(m) || (synced && len == synced_len && memcmp(synced, m->path, len) == 0))
            continue;
        int rc = spool_sync_folder_of(thread->services.spool, m->path);
        if (rc < 0)
            complain(thread, "cannot sync a folder of the spool", -rc);
        synced = m->path;
        synced_len = len;
    }
}

/* -ENOENT: somebody removed it, which was what we wanted; -ESTALE: another file stands there now
 * and is new mail. Either way the journal may forget this message. */
static bool is_gone(const struct message *message)
{
    return !stays(message) && (message->result_errno == 0 || message->result_errno == ENOENT ||
                               message->result_errno == ESTALE);
}

static void hand_back_messages(struct journal_thread *thread)
{
    struct message *message = thread->first_message;
    thread->first_message = thread->last_message = NULL;
    for (struct message *m = message; m; m = m->next)
        m->result_errno = -carry_out(thread, m);
    sync_folders(thread, message);
    while (message) {
        struct message *next = message->next;
        if (is_gone(message) && !journal_append_removed(thread->services.journal, message->id))
            complain(thread, "the journal cannot store a removal", errno);
        mailbox_post(thread->services.dispatcher, &message->item);
        message = next;
    }
}

static void hand_back_deliveries(struct journal_thread *thread)
{
    struct delivery *delivery = thread->first_delivery;
    thread->first_delivery = thread->last_delivery = NULL;
    while (delivery) {
        struct delivery *next = delivery->next;
        mailbox_post(thread->services.dispatcher, &delivery->item);
        delivery = next;
    }
}

static bool commit(struct journal_thread *thread)
{
    thread->last_commit_ms = thread->loop.now_ms;
    if (!prepare(thread))
        return false;
    int64_t began_us = clock_mono_us();
    int rc = journal_commit(thread->services.journal);
    atomic_store(&thread->commit_us, clock_mono_us() - began_us);
    if (rc < 0) {
        complain(thread, "cannot commit the journal", -rc);
        return false;
    }
    if (thread->is_paused)
        pauses_end(thread->services.pauses, PAUSE_JOURNAL);
    thread->is_paused = false;
    atomic_store(&thread->pending_since_ms, 0);
    hand_back_deliveries(thread);
    hand_back_messages(thread);
    return true;
}

/* The next commit; until then nobody needs to wake us: what comes waits for it anyway. */
static void arm_commit(struct journal_thread *thread, int64_t due_ms)
{
    mailbox_mute(&thread->mailbox);
    timer_arm(&thread->loop.timers, &thread->commit_timer, due_ms);
}

static void on_commit_due(struct timer *timer, int64_t now_ms)
{
    struct journal_thread *thread = container_of(timer, struct journal_thread, commit_timer);
    thread->committing = true;
    mailbox_drain(&thread->mailbox);
    thread->committing = false;
    bool committed = commit(thread);
    if (thread->stopping)
        loop_stop(&thread->loop);
    else if (!committed)
        arm_commit(thread, now_ms + RETRY_MS);
}

/* Commits at once when the last commit is long enough ago, else when the interval has passed: an
 * idle router answers quickly, a busy one gathers. */
static void on_batch_end(void *ctx)
{
    struct journal_thread *thread = ctx;
    if (thread->committing || timer_is_armed(&thread->commit_timer))
        return;
    atomic_store(&thread->pending_since_ms, thread->loop.now_ms);
    int64_t due_ms = thread->last_commit_ms + thread->services.config->queue.commit_interval_ms;
    arm_commit(thread, due_ms > thread->loop.now_ms ? due_ms : thread->loop.now_ms);
}

static void add_delivery(struct journal_thread *thread, struct delivery *delivery)
{
    delivery->next = NULL;
    if (thread->last_delivery)
        thread->last_delivery->next = delivery;
    else
        thread->first_delivery = delivery;
    thread->last_delivery = delivery;
}

static void add_message(struct journal_thread *thread, struct message *message)
{
    message->next = NULL;
    message->recorded = false;
    if (thread->last_message)
        thread->last_message->next = message;
    else
        thread->first_message = message;
    thread->last_message = message;
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct journal_thread *thread = ctx;
    if (item->kind == JOURNAL_THREAD_STOP)
        thread->stopping = true;
    else if (item->kind == DELIVERY_ATTEMPTED)
        add_delivery(thread, container_of(item, struct delivery, item));
    else
        add_message(thread, container_of(item, struct message, item));
}

bool journal_thread_init(struct journal_thread *thread,
                         const struct journal_thread_services *services)
{
    *thread = (struct journal_thread){.services = *services};
    if (!loop_init(&thread->loop))
        return false;
    timer_init(&thread->commit_timer, on_commit_due);
    if (!mailbox_init(&thread->mailbox, &thread->loop, on_item, thread)) {
        loop_fini(&thread->loop);
        return false;
    }
    thread->mailbox.on_batch_end = on_batch_end;
    return true;
}

static void *thread_main(void *ctx)
{
    struct journal_thread *thread = ctx;
    loop_run(&thread->loop);
    return NULL;
}

bool journal_thread_start(struct journal_thread *thread)
{
    int rc = pthread_create(&thread->thread, NULL, thread_main, thread);
    if (rc != 0) {
        errno = rc;
        return false;
    }
    pthread_setname_np(thread->thread, "journal");
    return true;
}

void journal_thread_stop(struct journal_thread *thread)
{
    thread->stop_item.kind = JOURNAL_THREAD_STOP;
    mailbox_post(&thread->mailbox, &thread->stop_item);
}

void journal_thread_join(struct journal_thread *thread)
{
    pthread_join(thread->thread, NULL);
}

void journal_thread_fini(struct journal_thread *thread)
{
    mailbox_fini(&thread->mailbox);
    loop_fini(&thread->loop);
}
