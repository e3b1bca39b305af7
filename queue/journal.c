/* Appending to the journal: encode, reserve, store, publish, and going on to the next segment.
 * It does not sync or read back: that is journal_commit.c and journal_replay.c. */
#include "queue/journal.h"

#include "base/check.h"
#include "base/memory.h"
#include "queue/journal_private.h"

#include <errno.h>
#include <sys/random.h>

/* Once the current segment is this full and no spare is at hand, no new attempt may begin: the rest
 * is for the outcomes and removals of what has begun. In eighths. */
enum { INTENT_ROOM_EIGHTHS = 6 };

/* A record up to this long is made on the stack, so that recording asks the allocator for nothing:
 * any with one recipient, and some hundreds of recipients that share a reply. */
enum { RECORD_ON_STACK_LEN = 8192 };

enum { FAULT_AROUND_LEN = 64 * 1024 };

/* A segment that is current after the count was raised cannot be unmapped before it is lowered:
 * the journal thread first makes another current and then waits for the count to be 0. Both sides
 * need the total order of sequentially consistent atomics. */
static struct journal_segment *journal_enter(struct journal *journal)
{
    for (;;) {
        struct journal_segment *segment = atomic_load(&journal->current);
        atomic_fetch_add(&segment->writers, 1);
        if (atomic_load(&journal->current) == segment)
            return segment;
        atomic_fetch_sub(&segment->writers, 1);
    }
}

static void journal_leave(struct journal_segment *segment)
{
    atomic_fetch_sub(&segment->writers, 1);
}

/* A load maps the pages around it that are in memory (the kernel's "fault around", 16 of them), a
 * store no more than its own: so whose record is the first in a stretch looks before it writes. */
static void map_ahead(const struct journal_segment *segment, uint64_t offset, size_t len)
{
    uint64_t last = offset + len - 1;
    if ((offset - 1) / FAULT_AROUND_LEN != last / FAULT_AROUND_LEN)
        (void)*(const volatile uint8_t *)(segment->map + last);
}

static void store_record(struct journal_segment *segment, uint8_t *image, size_t len,
                         uint64_t offset)
{
    uint8_t *at = segment->map + offset;
    map_ahead(segment, offset, len);
    uint64_t mark = journal_record_seal(image, len, &segment->seed, offset);
    memcpy(at + sizeof mark, image + sizeof mark, len - sizeof mark);
    /* Last: a process killed before this leaves a hole, never half a record that looks whole. */
    __atomic_store_n((uint64_t *)(void *)at, mark, __ATOMIC_RELEASE);
}

bool journal_store(struct journal *journal, uint8_t *image, size_t len)
{
    if (len > journal->segment_len - 2 * JOURNAL_HEAD_LEN) {
        errno = EMSGSIZE;
        return false;
    }
    for (;;) {
        struct journal_segment *segment = journal_enter(journal);
        uint64_t limit = journal_segment_limit(segment);
        uint64_t offset = atomic_fetch_add(&segment->reserved, len);
        if (offset <= limit && len <= limit - offset) {
            store_record(segment, image, len, offset);
            journal_leave(segment);
            return true;
        }
        /* Exactly one reservation crosses the limit. */
        if (offset <= limit)
            atomic_store(&segment->end, offset);
        journal_leave(segment);
        if (!journal_roll(journal, segment))
            return false;
    }
}

/* Under the mutex: the segment starts anew with a sequence number and a salt that it never had. */
static void install_locked(struct journal *journal, struct journal_segment *segment)
{
    struct journal_segment_head head;
    uint64_t salt;
    CHECK(getrandom(&salt, sizeof salt, 0) == sizeof salt);
    CHECK(journal->next_seq <= UINT32_MAX);
    journal_head_make(&head, journal->next_seq++, salt, segment->len,
                      atomic_load(&journal->highest_id));
    memcpy(segment->map, &head, sizeof head);
    memcpy(segment->map + journal_segment_limit(segment), &head, sizeof head);
    segment->seed = (struct journal_seed){.seq = head.seq, .salt = head.salt};
    atomic_store(&segment->reserved, JOURNAL_HEAD_LEN);
    atomic_store(&segment->end, UINT64_MAX);
    segment->scanned = JOURNAL_HEAD_LEN;
    segment->synced = 0;
    segment->complete = segment->bad = segment->evacuated = false;
    journal_add_segment_locked(journal, segment);
    atomic_store(&journal->current, segment);
}

void journal_add_segment_locked(struct journal *journal, struct journal_segment *segment)
{
    if (journal->num_segments == journal->cap_segments) {
        journal->cap_segments = journal->cap_segments ? journal->cap_segments * 2 : 16;
        journal->segments =
            mem_realloc(journal->segments, journal->cap_segments, sizeof(struct journal_segment *));
    }
    journal->segments[journal->num_segments++] = segment;
}

bool journal_add_spare_locked(struct journal *journal, struct journal_segment *segment)
{
    unsigned num = atomic_load(&journal->num_spares);
    if (num == JOURNAL_SPARES_MAX)
        return false;
    journal->spares[num] = segment;
    atomic_store(&journal->num_spares, num + 1);
    return true;
}

/* An appender's own spare, when the journal thread has not kept up. Not synced here: the commit
 * that covers its records does that. After a failure it waits for a commit to have tried. */
static bool make_spare_locked(struct journal *journal)
{
    if (journal->make_error != 0) {
        errno = journal->make_error;
        return false;
    }
    struct journal_segment *segment = journal_segment_new(journal);
    int result = journal_segment_make(journal, segment, false);
    if (result != 0) {
        segment->next_unused = journal->unused;
        journal->unused = segment;
        journal->make_error = -result;
        errno = -result;
        return false;
    }
    journal->folder_dirty = true;
    return journal_add_spare_locked(journal, segment);
}

bool journal_roll(struct journal *journal, struct journal_segment *full)
{
    bool ok = true;
    int error = 0;
    pthread_mutex_lock(&journal->mutex);
    if (atomic_load(&journal->current) == full) {
        ok = atomic_load(&journal->num_spares) > 0 || make_spare_locked(journal);
        error = errno;
        if (ok) {
            unsigned num = atomic_load(&journal->num_spares) - 1;
            atomic_store(&journal->num_spares, num);
            install_locked(journal, journal->spares[num]);
        }
    }
    pthread_mutex_unlock(&journal->mutex);
    errno = error;
    return ok;
}

static bool current_has_room(struct journal *journal)
{
    struct journal_segment *current = atomic_load(&journal->current);
    return atomic_load(&current->reserved) < journal->segment_len / 8 * INTENT_ROOM_EIGHTHS;
}

enum journal_room journal_room(struct journal *journal, int *out_error)
{
    pthread_mutex_lock(&journal->mutex);
    bool has_spare = atomic_load(&journal->num_spares) > 0;
    *out_error = has_spare ? 0 : journal->make_error;
    pthread_mutex_unlock(&journal->mutex);
    if (*out_error == 0)
        return JOURNAL_ROOM_AMPLE;
    return current_has_room(journal) ? JOURNAL_ROOM_LAST : JOURNAL_ROOM_NONE;
}

static bool has_room_for_attempt(struct journal *journal)
{
    if (atomic_load(&journal->num_spares) > 0 || current_has_room(journal))
        return true;
    pthread_mutex_lock(&journal->mutex);
    bool ok = atomic_load(&journal->num_spares) > 0 || make_spare_locked(journal);
    int error = errno;
    pthread_mutex_unlock(&journal->mutex);
    errno = error;
    return ok;
}

static bool encode_and_store(struct journal *journal, const struct journal_record *record,
                             struct buffer *image)
{
    if (journal_record_encode(record, image))
        return journal_store(journal, image->at, image->len);
    errno = EMSGSIZE;
    return false;
}

static bool append_long(struct journal *journal, const struct journal_record *record)
{
    struct buffer image;
    buffer_init(&image, journal->segment_len);
    bool ok = encode_and_store(journal, record, &image);
    int error = errno;
    buffer_fini(&image);
    errno = error;
    return ok;
}

static bool append(struct journal *journal, struct journal_record *record, const char *path)
{
    _Alignas(JOURNAL_ALIGN) uint8_t room[RECORD_ON_STACK_LEN];
    struct buffer image = {.at = room, .cap = sizeof room, .max = sizeof room};
    CHECK(record->id != 0);
    record->path = path;
    record->path_len = path ? strlen(path) : 0;
    if (encode_and_store(journal, record, &image))
        return true;
    return image.overflow && append_long(journal, record);
}

bool journal_append_intent(struct journal *journal, uint64_t id, const char *path,
                           const struct file_identity *identity, uint32_t attempt,
                           const uint32_t *indexes, uint32_t num_indexes)
{
    struct journal_record record = {.kind = JOURNAL_INTENT,
                                    .id = id,
                                    .identity = *identity,
                                    .attempt = attempt,
                                    .num = num_indexes,
                                    .indexes = indexes};
    return has_room_for_attempt(journal) && append(journal, &record, path);
}

bool journal_append_outcome(struct journal *journal, uint64_t id, const char *path,
                            const struct file_identity *identity, int64_t arrived_wall_ms,
                            const struct journal_attempt *attempt, const uint32_t *indexes,
                            const struct outcome *outcomes, uint32_t num)
{
    struct journal_record record = {.kind = JOURNAL_OUTCOME,
                                    .id = id,
                                    .identity = *identity,
                                    .arrived_wall_ms = arrived_wall_ms,
                                    .attempt = attempt->number,
                                    .attempted_wall_ms = attempt->wall_ms,
                                    .mx = bytes_of(attempt->mx),
                                    .num = num,
                                    .indexes = indexes,
                                    .outcomes = outcomes};
    return append(journal, &record, path);
}

bool journal_append_deferred(struct journal *journal, const struct journal_message *message)
{
    struct journal_record record = {.kind = JOURNAL_DEFERRED,
                                    .id = message->id,
                                    .identity = message->identity,
                                    .arrived_wall_ms = message->arrived_wall_ms,
                                    .digest = message->recipients_digest,
                                    .num = message->num_recipients,
                                    .recipients = message->recipients};
    return append(journal, &record, message->path);
}

bool journal_append_removed(struct journal *journal, uint64_t id)
{
    struct journal_record record = {.kind = JOURNAL_REMOVED, .id = id};
    return append(journal, &record, NULL);
}

uint64_t journal_highest_id(const struct journal *journal)
{
    return atomic_load(&journal->highest_id);
}

void journal_note_id(struct journal *journal, uint64_t id)
{
    if (id > atomic_load(&journal->highest_id))
        atomic_store(&journal->highest_id, id);
}
