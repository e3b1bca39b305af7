/* Opening, closing and reading a journal: replay, then the segments that hold what counts are taken
 * over as they are. What is waste in them goes by compaction, so a start with a million waiting
 * messages writes nothing but one new segment. */
#include "base/log.h"
#include "base/memory.h"
#include "queue/journal_private.h"
#include "queue/journal_replay.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { READ_TRIES_MAX = 5 };

static void note_record(void *ctx, const struct journal_replay_ref *ref, size_t len)
{
    struct journal *journal = ctx;
    journal_map_add(&journal->map, ref->id, ref->order, len,
                    (ref->file_kind & 7) == JOURNAL_DEFERRED);
}

static void note_zombie(void *ctx, uint64_t id)
{
    if (!journal_append_removed(ctx, id))
        log_warning("journal: a removed message cannot be marked so again: %s", strerror(errno));
}

/* The replay keeps its own descriptor. NULL with errno set when there is none to be had. */
static struct journal_segment *take_over(struct journal *journal,
                                         const struct journal_replay_file *file)
{
    int fd = fcntl(file->fd, F_DUPFD_CLOEXEC, 0);
    if (fd < 0)
        return NULL;
    struct journal_segment *segment = mem_zalloc(1, sizeof *segment);
    segment->number = file->number;
    segment->fd = fd;
    segment->len = file->head.len;
    segment->seed = (struct journal_seed){.seq = file->head.seq, .salt = file->head.salt};
    atomic_store(&segment->reserved, file->end);
    atomic_store(&segment->end, file->end);
    segment->scanned = segment->synced = file->end;
    segment->complete = true;
    journal_add_segment_locked(journal, segment);
    return segment;
}

/* What a crash left unsynced is made durable once, so that nothing that replay believed can go. */
static bool take_over_all(struct journal *journal, const struct journal_replay *replay,
                          char why[SPOOL_WHY_MAX])
{
    for (size_t i = 0; i < replay->num_files; i++) {
        const struct journal_replay_file *file = &replay->files[i];
        char name[32];
        journal_segment_name(file->number, name);
        if (file->end == JOURNAL_HEAD_LEN) {
            (void)unlinkat(journal->folder_fd, name, 0);
        } else if ((journal->sync && fdatasync(file->fd) != 0) || !take_over(journal, file)) {
            snprintf(why, SPOOL_WHY_MAX, "journal/%s: %s", name, strerror(errno));
            return false;
        }
    }
    return true;
}

/* Writes only where something stands: nearly all of it is zero, and what is written has to be
 * synced. */
static void clear(uint8_t *at, size_t len)
{
    static const uint8_t zeros[4096];
    for (size_t part; len > 0; at += part, len -= part) {
        part = len < sizeof zeros ? len : sizeof zeros;
        if (memcmp(at, zeros, part) != 0)
            memset(at, 0, part);
    }
}

/* On a full disk, and for brief use, the newest segment is used on, behind its last record: so a
 * router can start and bring what is under way to its end. What a crash left behind that record is
 * cleared: half a record may have its mark, and the scan of a running journal trusts marks. */
static bool continue_newest(struct journal *journal)
{
    struct journal_segment *newest =
        journal->num_segments ? journal->segments[journal->num_segments - 1] : NULL;
    struct stat st;
    if (!newest || newest->len != journal->segment_len || fstat(newest->fd, &st) != 0 ||
        (uint64_t)st.st_size != newest->len || journal_segment_map(newest) != 0)
        return false;
    clear(newest->map + newest->scanned, journal_segment_limit(newest) - newest->scanned);
    newest->complete = false;
    newest->synced = 0;
    atomic_store(&newest->end, UINT64_MAX);
    atomic_store(&journal->current, newest);
    return true;
}

static bool start_segment(struct journal *journal, char why[SPOOL_WHY_MAX])
{
    if (journal->brief && continue_newest(journal))
        return true;
    pthread_mutex_lock(&journal->mutex);
    struct journal_segment *segment = journal_segment_new(journal);
    int result = journal_segment_make(journal, segment, true);
    if (result == 0)
        journal_add_spare_locked(journal, segment);
    else
        free(segment);
    pthread_mutex_unlock(&journal->mutex);
    journal->folder_dirty = true;
    if (result == 0)
        return journal_roll(journal, NULL);
    snprintf(why, SPOOL_WHY_MAX, "journal: cannot make a segment: %s", strerror(-result));
    return continue_newest(journal);
}

static size_t usable_len(size_t len)
{
    len = len ? len : JOURNAL_SEGMENT_LEN;
    len = len < JOURNAL_SEGMENT_LEN_MIN ? JOURNAL_SEGMENT_LEN_MIN : len;
    len = len > JOURNAL_SEGMENT_LEN_MAX ? JOURNAL_SEGMENT_LEN_MAX : len;
    return len / 4096 * 4096;
}

static void free_segments(struct journal *journal)
{
    for (unsigned i = 0; i < journal->num_spares; i++) {
        journal_segment_unmap(journal->spares[i]);
        close(journal->spares[i]->fd);
        free(journal->spares[i]);
    }
    for (size_t i = 0; i < journal->num_segments; i++) {
        journal_segment_unmap(journal->segments[i]);
        close(journal->segments[i]->fd);
        free(journal->segments[i]);
    }
    while (journal->unused) {
        struct journal_segment *next = journal->unused->next_unused;
        free(journal->unused);
        journal->unused = next;
    }
}

static void journal_free(struct journal *journal)
{
    free_segments(journal);
    journal_map_fini(&journal->map);
    free(journal->evacuation_image);
    free(journal->segments);
    free(journal->view);
    pthread_mutex_destroy(&journal->mutex);
    free(journal);
}

static void tell_gap(void *ctx, const struct journal_replay_file *before,
                     const struct journal_replay_file *after, uint64_t num)
{
    (void)ctx;
    log_error("journal: missing: %llu segment%s between %08x.segment (sequence number %llu) and "
              "%08x.segment (%llu), lost by the disk or taken away; what only they knew is "
              "forgotten, so mail may be sent twice",
              (unsigned long long)num, num == 1 ? "" : "s", before->number,
              (unsigned long long)before->head.seq, after->number,
              (unsigned long long)after->head.seq);
}

/* Those without records go at each start: their numbers are given again, so that the rest have no
 * gaps. */
static uint64_t next_seq(const struct journal_replay *replay)
{
    for (size_t i = replay->num_files; i > 0; i--)
        if (replay->files[i - 1].end > JOURNAL_HEAD_LEN)
            return replay->files[i - 1].head.seq + 1;
    return 1;
}

static bool all_was_read(const struct journal_replay *replay, char why[SPOOL_WHY_MAX])
{
    if (replay->error)
        snprintf(why, SPOOL_WHY_MAX, "journal: %s", strerror(replay->error));
    return replay->error == 0;
}

struct journal *journal_open(const struct spool *spool, const struct journal_options *options,
                             void (*on_live)(void *ctx, const struct journal_message *message),
                             void *ctx, char why[SPOOL_WHY_MAX])
{
    struct journal_replay replay;
    struct journal *journal = mem_zalloc(1, sizeof *journal);
    struct journal_replay_calls calls = {.on_live = on_live,
                                         .ctx = ctx,
                                         .on_record = note_record,
                                         .on_zombie = note_zombie,
                                         .own_ctx = journal};
    journal->folder_fd = spool->journal_fd;
    journal->sync = options->sync;
    journal->brief = options->brief;
    journal->segment_len = usable_len(options->segment_len);
    pthread_mutex_init(&journal->mutex, NULL);
    journal_replay_init(&replay);
    bool ok = journal_replay_load(&replay, spool->journal_fd, JOURNAL_REPLAY_OWN, why);
    if (ok) {
        journal->next_number = replay.highest_number + 1;
        journal->next_seq = next_seq(&replay);
        journal_replay_each_gap(&replay, tell_gap, NULL);
        atomic_store(&journal->highest_id, replay.highest_id);
        ok = take_over_all(journal, &replay, why) && start_segment(journal, why);
    }
    if (ok) {
        journal_replay_run(&replay, &calls);
        ok = all_was_read(&replay, why);
    }
    if (ok && (replay.num_damaged || replay.num_lost))
        log_warning("journal: %llu damaged places passed over, %llu records unreadable",
                    (unsigned long long)replay.num_damaged, (unsigned long long)replay.num_lost);
    journal_replay_fini(&replay);
    if (ok)
        return journal;
    journal_free(journal);
    return NULL;
}

void journal_close(struct journal *journal)
{
    int result = journal_commit(journal);
    if (result != 0)
        log_error("journal: the last commit failed: %s", strerror(-result));
    journal_free(journal);
}

bool journal_read(const struct spool *spool,
                  void (*on_live)(void *ctx, const struct journal_message *message), void *ctx,
                  char why[SPOOL_WHY_MAX])
{
    struct journal_report report;
    return journal_read_report(spool, on_live, ctx, &report, why);
}

bool journal_read_report(const struct spool *spool,
                         void (*on_live)(void *ctx, const struct journal_message *message),
                         void *ctx, struct journal_report *out, char why[SPOOL_WHY_MAX])
{
    struct journal_replay replay;
    struct journal_replay_calls calls = {.on_live = on_live, .ctx = ctx};
    bool ok = false, current = false;
    for (int tries = 0; tries < READ_TRIES_MAX && !current; tries++) {
        journal_replay_init(&replay);
        ok = journal_replay_load(&replay, spool->journal_fd, JOURNAL_REPLAY_READ, why);
        current = !ok || journal_replay_is_current(&replay) || tries == READ_TRIES_MAX - 1;
        if (!current)
            journal_replay_fini(&replay);
    }
    if (ok) {
        journal_replay_run(&replay, &calls);
        ok = all_was_read(&replay, why);
    }
    *out = (struct journal_report){.num_damaged = replay.num_damaged, .num_lost = replay.num_lost};
    journal_replay_fini(&replay);
    return ok;
}
