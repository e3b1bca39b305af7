/* Group commit and the file operations that may only follow it.
 * It decides nothing about mail: the dispatcher did. */
#include "router/journal_thread.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "router/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { JOURNAL_THREAD_STOP = 60 };

static void pause_for_journal(struct journal_thread *thread, int error)
{
    pauses_begin(thread->services.pauses, PAUSE_JOURNAL, error, clock_wall_ms());
}

static void pause_for_files(struct journal_thread *thread, int error)
{
    thread->files_error = error;
    pauses_begin(thread->services.pauses, PAUSE_FILES, error, clock_wall_ms());
}

static void keep_message(struct journal_thread *thread, struct message *message)
{
    message->next = NULL;
    if (thread->last_message)
        thread->last_message->next = message;
    else
        thread->first_message = message;
    thread->last_message = message;
}

static bool record_outcomes(struct journal_thread *thread, struct delivery *delivery)
{
    if (!delivery->recorded)
        delivery->recorded = delivery_record(delivery, thread->services.journal);
    if (!delivery->recorded)
        pause_for_journal(thread, errno);
    return delivery->recorded;
}

static bool stays(const struct message *message)
{
    return message->item.kind == MESSAGE_DEFER || message->item.kind == MESSAGE_HOLD;
}

/* Where a message's file will be until the next decision. */
static void path_to_stay(const struct message *message, char out[SPOOL_PATH_MAX])
{
    if (message->item.kind == MESSAGE_HOLD)
        spool_hold_path(message->id, out);
    else if (message->item.kind == MESSAGE_DEFER)
        spool_deferred_path(message->id, out);
    else
        snprintf(out, SPOOL_PATH_MAX, "%s", message->path);
}

/* A complete snapshot, which replaces all that the journal knows of the message. */
static bool record_snapshot(struct journal_thread *thread, struct message *message,
                            const char *path)
{
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
    pause_for_journal(thread, errno);
    return false;
}

/* Into tmp/ only: nobody is told before the journal knows it. What cannot be said is not due any
 * more. */
static void write_report(struct journal_thread *thread, struct message *message)
{
    const struct config *config = thread->services.config;
    const struct spool *spool = thread->services.spool;
    struct buffer dsn;
    char name[DSN_NAME_MAX];
    int rc = 0;
    if (message->has_draft || !message->reports)
        return;
    message->reports = report_compose(message, config, spool, clock_wall_ms(), &dsn);
    if (message->reports) {
        dsn_name(message->id, message->event, name);
        rc = spool_write_draft(spool, name, buffer_bytes(&dsn), config_syncs(config));
        message->has_draft = rc == 0;
    }
    buffer_fini(&dsn);
    if (rc < 0)
        pause_for_files(thread, -rc);
}

/* Files behind the recorded reports become messages. */
static bool publish_reports(struct journal_thread *thread)
{
    const struct spool *spool = thread->services.spool;
    char name[DSN_NAME_MAX];
    int rc = 0;
    for (struct message *m = thread->first_message; m && rc == 0; m = m->next) {
        if (!m->has_draft || !m->recorded)
            continue;
        dsn_name(m->id, m->event, name);
        rc = spool_publish_draft(spool, name);
        if (rc == -ENOENT) {
            log_error("%s: the report to its sender has vanished from tmp/", m->id_text);
            rc = 0;
        }
        m->has_draft = rc != 0;
        thread->new_is_dirty = true;
    }
    if (rc == 0 && thread->new_is_dirty && config_syncs(thread->services.config))
        rc = spool_sync_new(spool);
    thread->new_is_dirty &= rc != 0;
    if (rc < 0)
        pause_for_files(thread, -rc);
    return rc == 0;
}

/* All reports of this commit, durable in tmp/. Before any snapshot is stored: the kernel may write
 * a page of the journal at any time, and what it says of a report must not come before the report.
 * False: the drafts are there and not durable. */
static bool write_reports(struct journal_thread *thread)
{
    bool any = false;
    for (struct message *m = thread->first_message; m; m = m->next) {
        if (!m->recorded)
            write_report(thread, m);
        any |= m->has_draft;
    }
    int rc = any && config_syncs(thread->services.config)
                 ? spool_sync_drafts(thread->services.spool)
                 : 0;
    if (rc < 0)
        pause_for_files(thread, -rc);
    return rc == 0;
}

/* What must be durable before its file moves: with a report, that its sender was told. */
static bool prepare_message(struct journal_thread *thread, struct message *message)
{
    char path[SPOOL_PATH_MAX];
    if (message->reports && !message->has_draft)
        return false;
    if (!stays(message) && !message->has_draft)
        return true;
    report_mark(message);
    path_to_stay(message, path);
    return record_snapshot(thread, message, path);
}

/* False: not all outcomes could be stored; try again later. Messages that are not ready stay
 * behind by themselves. */
static bool prepare(struct journal_thread *thread)
{
    for (struct delivery *d = thread->first_delivery; d; d = d->next) {
        if (!record_outcomes(thread, d))
            return false;
    }
    bool are_synced = write_reports(thread);
    for (struct message *m = thread->first_message; m; m = m->next)
        if (!m->recorded && (are_synced || !m->has_draft))
            m->recorded = prepare_message(thread, m);
    return true;
}

static int move_to_stay(struct journal_thread *thread, struct message *message)
{
    const struct spool *spool = thread->services.spool;
    bool syncs = config_syncs(thread->services.config);
    char to[SPOOL_PATH_MAX];
    path_to_stay(message, to);
    if (!message->is_moved) {
        if (strcmp(message->path, to) == 0)
            return 0;
        int rc = spool_move(spool, message->path, to, &message->identity, syncs);
        if (rc < 0)
            return rc;
        message->is_moved = true;
    }
    int rc = syncs ? spool_sync_move(spool, message->path, to) : 0;
    if (rc < 0)
        return rc;
    message->is_moved = false;
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

/* -ENOENT: somebody removed it, which was what we wanted; -ESTALE: another file stands there now
 * and is new mail. Either way the journal may forget this message. */
static bool is_gone(const struct message *message)
{
    return !stays(message) && (message->result_errno == 0 || message->result_errno == ENOENT ||
                               message->result_errno == ESTALE);
}

/* One fsync for each run of neighbours in the same folder: messages mostly come from one. Those
 * whose removal is not durable get the error instead: done again, it finds nothing to remove. */
static void sync_folders(struct journal_thread *thread, struct message *first)
{
    const char *synced = NULL;
    size_t synced_len = 0;
    int error = 0;
    if (!config_syncs(thread->services.config))
        return;
    for (struct message *m = first; m; m = m->next) {
        const char *slash = strrchr(m->path, '/');
        size_t len = slash ? (size_t)(slash - m->path) : 0;
        if (!m->recorded || !is_gone(m))
            continue;
        if (!synced || len != synced_len || memcmp(synced, m->path, len) != 0)
            error = -spool_sync_left_folder_of(thread->services.spool, m->path);
        synced = m->path;
        synced_len = len;
        if (error)
            m->result_errno = error;
    }
}

/* True: back to the dispatcher; false: it stays here and is tried again. */
static bool is_finished(struct journal_thread *thread, struct message *message)
{
    if (!message->recorded)
        return false;
    if (pause_error_is_of_the_system(message->result_errno)) {
        pause_for_files(thread, message->result_errno);
        return false;
    }
    if (is_gone(message) && !journal_append_removed(thread->services.journal, message->id)) {
        pause_for_journal(thread, errno);
        return false;
    }
    return true;
}

static void hand_back_messages(struct journal_thread *thread)
{
    struct message *message = thread->first_message;
    if (!message)
        return;
    thread->first_message = thread->last_message = NULL;
    for (struct message *m = message; m; m = m->next)
        if (m->recorded)
            m->result_errno = -carry_out(thread, m);
    sync_folders(thread, message);
    while (message) {
        struct message *next = message->next;
        if (is_finished(thread, message))
            mailbox_put(thread->services.dispatcher, &message->item);
        else
            keep_message(thread, message);
        message = next;
    }
    mailbox_wake(thread->services.dispatcher);
}

static void hand_back_deliveries(struct journal_thread *thread)
{
    struct delivery *delivery = thread->first_delivery;
    if (!delivery)
        return;
    thread->first_delivery = thread->last_delivery = NULL;
    while (delivery) {
        struct delivery *next = delivery->next;
        mailbox_put(thread->services.dispatcher, &delivery->item);
        delivery = next;
    }
    mailbox_wake(thread->services.dispatcher);
}

static void hand_back_waits(struct journal_thread *thread, int error)
{
    struct commit_wait *wait = thread->first_wait;
    thread->first_wait = NULL;
    while (wait) {
        struct commit_wait *next = wait->next;
        wait->error = error;
        wait->item.kind = WORKER_COMMITTED;
        mailbox_post(wait->worker, &wait->item);
        wait = next;
    }
}

/* The journal as a whole after a commit: whether attempts may begin. */
static void judge_journal(struct journal_thread *thread)
{
    int error;
    enum journal_room room = journal_room(thread->services.journal, &error);
    if (room == JOURNAL_ROOM_NONE)
        pause_for_journal(thread, error);
    else
        pauses_end(thread->services.pauses, PAUSE_JOURNAL, clock_wall_ms());
    thread->wants_room = room != JOURNAL_ROOM_AMPLE;
}

/* The journal is committed even when not all could be stored in it: that is what makes room. */
static bool commit(struct journal_thread *thread)
{
    thread->last_commit_ms = thread->loop.now_ms;
    thread->files_error = 0;
    bool prepared = prepare(thread);
    int64_t began_us = clock_mono_us();
    int rc = journal_commit(thread->services.journal);
    atomic_store(&thread->commit_us, clock_mono_us() - began_us);
    hand_back_waits(thread, -rc);
    if (rc < 0)
        pause_for_journal(thread, -rc);
    if (rc < 0 || !prepared)
        return false;
    judge_journal(thread);
    atomic_store(&thread->pending_since_ms, 0);
    commit_gate_end(thread->services.commit_gate, thread->loop.now_ms);
    hand_back_deliveries(thread);
    if (!publish_reports(thread))
        return false;
    hand_back_messages(thread);
    if (thread->files_error == 0)
        pauses_end(thread->services.pauses, PAUSE_FILES, clock_wall_ms());
    return !thread->first_message && !thread->wants_room;
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
    commit_gate_begin(thread->services.commit_gate);
    bool committed = commit(thread);
    if (thread->stopping)
        loop_stop(&thread->loop);
    else if (!committed)
        arm_commit(thread, now_ms + PAUSE_RETRY_MS);
}

/* Commits at once when the last commit is long enough ago, else when the interval has passed: an
 * idle router answers quickly, a busy one gathers. With strict, where connections wait, what came
 * during a commit is gathered and no more. */
static void on_batch_end(void *ctx)
{
    struct journal_thread *thread = ctx;
    if (thread->committing || timer_is_armed(&thread->commit_timer))
        return;
    atomic_store(&thread->pending_since_ms, thread->loop.now_ms);
    const struct config *config = thread->services.config;
    bool gathers = config->queue.durability != DURABILITY_STRICT;
    int64_t due_ms = thread->last_commit_ms + (gathers ? config->queue.commit_interval_ms : 0);
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
    message->recorded = message->has_draft = message->is_moved = false;
    keep_message(thread, message);
}

static void add_wait(struct journal_thread *thread, struct commit_wait *wait)
{
    wait->next = thread->first_wait;
    thread->first_wait = wait;
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct journal_thread *thread = ctx;
    if (item->kind == JOURNAL_THREAD_STOP)
        thread->stopping = true;
    else if (item->kind == COMMIT_WAIT)
        add_wait(thread, container_of(item, struct commit_wait, item));
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
    while (thread->first_delivery) {
        struct delivery *delivery = thread->first_delivery;
        thread->first_delivery = delivery->next;
        delivery_free(delivery);
    }
    while (thread->first_message) {
        struct message *message = thread->first_message;
        thread->first_message = message->next;
        message_free(message);
    }
    mailbox_fini(&thread->mailbox);
    loop_fini(&thread->loop);
}
