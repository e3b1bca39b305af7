/* Compaction: what still counts of the oldest segment is stored again, then the segment is freed.
 * It frees nothing itself: journal_commit() does, when the copies are durable.
 *
 * Always the oldest first. So when a `removed` record goes, no segment with earlier records of its
 * id is left that it would still have to hide; only copies can lie behind it, and the scan of a
 * commit removes their ids once more (journal_commit.c). */
#include "base/log.h"
#include "base/memory.h"
#include "queue/journal_private.h"

#include <errno.h>
#include <unistd.h>

enum {
    STEP_LEN = 2 * 1024 * 1024, /* of a segment looked at in one commit */
    COPY_ROOM_EIGHTHS = 7       /* without a spare, copies leave the rest to outcomes */
};

static bool copy_record(struct journal *journal, const uint8_t *at, size_t len)
{
    struct journal_record_head head;
    uint8_t *image = mem_alloc(len);
    memcpy(image, at, len);
    memcpy(&head, image, sizeof head);
    head.flags |= JOURNAL_COPY;
    memcpy(image, &head, sizeof head);
    bool ok = journal_store(journal, image, len);
    int error = errno;
    free(image);
    errno = error;
    return ok;
}

static bool counts(const struct journal *journal, const struct journal_record_head *head,
                   bool keep_removed)
{
    if (head->kind == JOURNAL_REMOVED || head->kind == JOURNAL_RESCUED)
        return keep_removed;
    return journal_kind_has_payload(head->kind) &&
           journal_map_is_live(&journal->map, head->id, head->order);
}

bool journal_copy_live(struct journal *journal, const uint8_t *image, size_t limit,
                       const struct journal_seed *seed, uint64_t *offset, uint64_t until,
                       bool keep_removed)
{
    struct journal_record_head head;
    bool skipped = false;
    while (*offset < until && journal_record_next(image, limit, seed, offset, &head, &skipped)) {
        size_t len = (uint32_t)head.mark;
        if (counts(journal, &head, keep_removed) && !copy_record(journal, image + *offset, len))
            return false;
        *offset += len;
    }
    return true;
}

static bool read_image(struct journal_segment *segment, uint8_t *image, size_t len)
{
    for (size_t at = 0; at < len;) {
        ssize_t done = pread(segment->fd, image + at, len - at, (off_t)at);
        if (done == 0 || (done < 0 && errno != EINTR))
            return false;
        if (done > 0)
            at += (size_t)done;
    }
    return true;
}

static bool oldest_pays(const struct journal *journal)
{
    /* What they occupy, not what is stored in them: each start leaves the segment of the run before
     * as it is, nearly empty perhaps, and a router that dies again and again must not pile them up.
     */
    uint64_t used = 0;
    for (size_t i = 0; i < journal->num_view && journal->view[i]->complete; i++)
        used += journal->view[i]->len;
    if (journal->num_view == 0 || !journal->view[0]->complete || journal->view[0]->evacuated)
        return false;
    /* At most half of what is stored is waste, so each octet is copied about once while as much is
     * appended. When no spare can be had, room is worth more than copying. */
    if (journal->told_no_spare)
        return used > journal->map.live_len + journal->segment_len / 2;
    return used > 2 * journal->map.live_len + journal->segment_len;
}

static bool begin_evacuation(struct journal *journal)
{
    struct journal_segment *oldest = journal->view[0];
    size_t end = atomic_load(&oldest->end);
    journal->evacuation_image = mem_alloc(end);
    journal->evacuation_offset = JOURNAL_HEAD_LEN;
    if (!read_image(oldest, journal->evacuation_image, end)) {
        log_warning("journal: cannot read segment %08x for compaction, which stays off: %s",
                    oldest->number, strerror(errno));
        free(journal->evacuation_image);
        journal->evacuation_image = NULL;
        journal->compaction_off = true;
        return false;
    }
    journal->evacuating = oldest;
    return true;
}

bool journal_store_number(struct journal *journal, enum journal_kind kind, uint64_t number)
{
    struct journal_record record = {.kind = kind, .id = number};
    struct buffer image;
    buffer_init(&image, sizeof(struct journal_record_head));
    bool ok = journal_record_encode(&record, &image) && journal_store(journal, image.at, image.len);
    buffer_fini(&image);
    return ok;
}

/* The ids of a freed segment are forgotten; that they were given must not be. */
static bool store_highest(struct journal *journal)
{
    return journal_store_number(journal, JOURNAL_HIGHEST, atomic_load(&journal->highest_id));
}

static bool has_room_for_copies(struct journal *journal)
{
    struct journal_segment *current = atomic_load(&journal->current);
    return atomic_load(&journal->num_spares) > 0 ||
           atomic_load(&current->reserved) < journal->segment_len / 8 * COPY_ROOM_EIGHTHS;
}

void journal_compact_step(struct journal *journal)
{
    if (journal->compaction_off || !has_room_for_copies(journal))
        return;
    if (!journal->evacuating && (!oldest_pays(journal) || !begin_evacuation(journal)))
        return;
    struct journal_segment *oldest = journal->evacuating;
    size_t end = atomic_load(&oldest->end);
    uint64_t until = journal->evacuation_offset + STEP_LEN;
    if (!journal_copy_live(journal, journal->evacuation_image, end, &oldest->seed,
                           &journal->evacuation_offset, until, false))
        return;
    if (journal->evacuation_offset < until && store_highest(journal)) {
        oldest->evacuated = true;
        journal->evacuating = NULL;
        free(journal->evacuation_image);
        journal->evacuation_image = NULL;
    }
}
