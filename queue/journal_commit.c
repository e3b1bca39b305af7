/* The journal thread's side: scan what was published, make it durable, free what is dead.
 * Order of a commit: scan, copies (compaction, failed segments), fdatasync, then free. */
#include "base/log.h"
#include "base/memory.h"
#include "queue/journal_private.h"

#include <errno.h>
#include <unistd.h>

/* Segments change hands only by their place in this list, so a copy of it serves a whole commit. */
static void refresh_view(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    if (journal->cap_view < journal->num_segments) {
        journal->cap_view = journal->cap_segments;
        journal->view =
            mem_realloc(journal->view, journal->cap_view, sizeof(struct journal_segment *));
    }
    memcpy(journal->view, journal->segments,
           journal->num_segments * sizeof(struct journal_segment *));
    journal->num_view = journal->num_segments;
    journal->make_error = 0;
    pthread_mutex_unlock(&journal->mutex);
}

static void append_removed_again(struct journal *journal, uint64_t id)
{
    /* When the disk is full the id comes back at the next start, without a file: that is noticed
     * there, so this failure needs no other answer. */
    (void)!journal_append_removed(journal, id);
}

static void account(struct journal *journal, const struct journal_record_head *head, size_t len)
{
    if (head->kind == JOURNAL_RESCUED)
        return;
    if (head->id > atomic_load(&journal->highest_id))
        atomic_store(&journal->highest_id, head->id);
    if (head->kind == JOURNAL_HIGHEST)
        return;
    if (head->kind == JOURNAL_REMOVED) {
        journal_map_remove(&journal->map, head->id);
        return;
    }
    if (!(head->flags & JOURNAL_COPY))
        journal_map_add(&journal->map, head->id, head->order, len, head->kind == JOURNAL_DEFERRED);
    else if (!journal_map_has(&journal->map, head->id))
        /* Removed while it was being copied: a tombstone must stand behind the copy. */
        append_removed_again(journal, head->id);
}

/* Walks from the last scanned record over all that are published. The mark of a record is read
 * before anything else of it; what an earlier use of the file left has another tag. True when the
 * segment's end is reached. */
static bool scan_segment(struct journal *journal, struct journal_segment *segment)
{
    uint64_t limit = journal_segment_limit(segment);
    for (;;) {
        uint64_t at = segment->scanned;
        if (at == atomic_load(&segment->end))
            return true;
        if (limit - at < sizeof(struct journal_record_head))
            return false;
        uint64_t mark = __atomic_load_n((uint64_t *)(void *)(segment->map + at), __ATOMIC_ACQUIRE);
        if (mark >> 32 != segment->seed.salt >> 32)
            return false;
        struct journal_record_head head;
        memcpy(&head, segment->map + at, sizeof head);
        account(journal, &head, (uint32_t)mark);
        segment->scanned = at + (uint32_t)mark;
    }
}

/* In order, and never past a record that is still being stored: a record that was caused by another
 * must not be seen before it. */
static void scan(struct journal *journal)
{
    for (size_t i = 0; i < journal->num_view; i++)
        if (!journal->view[i]->complete && !scan_segment(journal, journal->view[i]))
            return;
}

static uint64_t stored_end(struct journal_segment *segment)
{
    uint64_t reserved = atomic_load(&segment->reserved), end = atomic_load(&segment->end);
    return end < reserved ? end : reserved;
}

/* No record may be stored in it any more. */
static bool close_current(struct journal *journal, struct journal_segment *segment)
{
    uint64_t limit = journal_segment_limit(segment);
    uint64_t offset = atomic_fetch_add(&segment->reserved, limit + 1);
    if (offset <= limit)
        atomic_store(&segment->end, offset);
    return journal_roll(journal, segment);
}

static int sync_segment(struct journal *journal, struct journal_segment *segment)
{
    uint64_t scanned = segment->scanned;
    if (segment->synced == stored_end(segment) || !journal->sync) {
        segment->synced = scanned;
        return 0;
    }
    if (fdatasync(segment->fd) == 0) {
        segment->synced = scanned;
        return 0;
    }
    int error = errno;
    log_error("journal: segment %08x could not be written: %s; its records go to a new one",
              segment->number, strerror(error));
    segment->bad = true;
    return -error;
}

static bool is_finished(struct journal *journal, struct journal_segment *segment)
{
    return segment != atomic_load(&journal->current) && atomic_load(&segment->writers) == 0 &&
           segment->scanned == atomic_load(&segment->end);
}

/* All of a segment whose fdatasync failed is stored again, from memory: what the kernel says of it
 * later cannot be believed. 0, or why that is not done yet. */
static int rescue(struct journal *journal, struct journal_segment *segment)
{
    uint64_t offset = JOURNAL_HEAD_LEN, end;
    if (segment == atomic_load(&journal->current) && !close_current(journal, segment))
        return -errno;
    if (!is_finished(journal, segment))
        return -EIO;
    end = segment->scanned;
    if (!journal_copy_live(journal, segment->map, end, &segment->seed, &offset, end, true))
        return -errno;
    if (!journal_store_number(journal, JOURNAL_RESCUED, segment->seed.seq))
        return -errno;
    segment->evacuated = true;
    return 0;
}

static int rescue_bad(struct journal *journal)
{
    int result = 0;
    for (size_t i = 0; i < journal->num_view; i++) {
        struct journal_segment *segment = journal->view[i];
        if (segment->bad && !segment->evacuated) {
            int rescued = rescue(journal, segment);
            result = result ? result : rescued;
        }
    }
    return result;
}

static int sync_folder(struct journal *journal)
{
    pthread_mutex_lock(&journal->mutex);
    bool dirty = journal->folder_dirty;
    journal->folder_dirty = false;
    pthread_mutex_unlock(&journal->mutex);
    if (!dirty || !journal->sync || fsync(journal->folder_fd) == 0)
        return 0;
    int error = errno;
    log_error("journal: its folder could not be written: %s", strerror(error));
    pthread_mutex_lock(&journal->mutex);
    journal->folder_dirty = true;
    pthread_mutex_unlock(&journal->mutex);
    return -error;
}

static int sync_all(struct journal *journal)
{
    int result = sync_folder(journal);
    for (size_t i = 0; i < journal->num_view; i++) {
        struct journal_segment *segment = journal->view[i];
        if (segment->complete || segment->bad)
            continue;
        int synced = sync_segment(journal, segment);
        result = result ? result : synced;
        if (synced == 0 && segment->synced == segment->scanned && is_finished(journal, segment)) {
            segment->complete = true;
            journal_segment_unmap(segment);
        }
    }
    return result;
}

static void forget_segment_locked(struct journal *journal, struct journal_segment *segment)
{
    size_t kept = 0;
    for (size_t i = 0; i < journal->num_segments; i++)
        if (journal->segments[i] != segment)
            journal->segments[kept++] = journal->segments[i];
    journal->num_segments = kept;
}

/* Used again as a spare if one is wanted and its disk is to be believed; else unlinked. */
static void free_segment(struct journal *journal, struct journal_segment *segment)
{
    bool reuse = !segment->bad && segment->len == journal->segment_len &&
                 atomic_load(&journal->num_spares) < JOURNAL_SPARES_MAX &&
                 journal_segment_wipe(journal, segment) == 0 && journal_segment_map(segment) == 0;
    if (!reuse)
        journal_segment_unlink(journal, segment);
    pthread_mutex_lock(&journal->mutex);
    forget_segment_locked(journal, segment);
    bool added = reuse && journal_add_spare_locked(journal, segment);
    pthread_mutex_unlock(&journal->mutex);
    /* An appender may have made its own spare in the meantime. */
    if (reuse && !added)
        journal_segment_unlink(journal, segment);
    if (added)
        return;
    pthread_mutex_lock(&journal->mutex);
    segment->next_unused = journal->unused;
    journal->unused = segment;
    pthread_mutex_unlock(&journal->mutex);
}

static void free_evacuated(struct journal *journal)
{
    for (size_t i = 0; i < journal->num_view; i++)
        if (journal->view[i]->evacuated)
            free_segment(journal, journal->view[i]);
}

static void tell_about_spare(struct journal *journal, int error)
{
    if (error != 0 && !journal->told_no_spare)
        log_error("journal: no room for another segment: %s; no new attempts when this one is full",
                  strerror(error));
    else if (error == 0 && journal->told_no_spare)
        log_info("journal: there is room again");
    journal->told_no_spare = error != 0;
}

static void keep_spare(struct journal *journal)
{
    if (journal->brief)
        return;
    if (atomic_load(&journal->num_spares) > 0) {
        tell_about_spare(journal, 0);
        return;
    }
    pthread_mutex_lock(&journal->mutex);
    struct journal_segment *segment = journal_segment_new(journal);
    pthread_mutex_unlock(&journal->mutex);
    int result = journal_segment_make(journal, segment, true);
    pthread_mutex_lock(&journal->mutex);
    bool added = result == 0 && journal_add_spare_locked(journal, segment);
    journal->folder_dirty |= added;
    journal->make_error = -result;
    pthread_mutex_unlock(&journal->mutex);
    if (result == 0 && !added)
        journal_segment_unlink(journal, segment);
    if (!added) {
        pthread_mutex_lock(&journal->mutex);
        segment->next_unused = journal->unused;
        journal->unused = segment;
        pthread_mutex_unlock(&journal->mutex);
    }
    tell_about_spare(journal, -result);
}

int journal_commit(struct journal *journal)
{
    refresh_view(journal);
    scan(journal);
    int result = rescue_bad(journal);
    journal_compact_step(journal);
    /* Copies may have taken new segments into use. */
    refresh_view(journal);
    int synced = sync_all(journal);
    result = result ? result : synced;
    if (result == 0)
        free_evacuated(journal);
    keep_spare(journal);
    return result;
}
