/* The running journal: its segments and who may touch what. Private to the journal's files.
 *
 * An appender enters the current segment (journal_enter), reserves room by one atomic addition,
 * stores, publishes and leaves. Whoever's reservation crosses the end sets `end` and takes the next
 * segment into use (journal_roll). The journal thread alone scans what was published, syncs,
 * compacts and frees.
 *
 * Locks: `mutex` only, held for O(1) work; the exception is an appender that finds no spare and
 * must make one, which is rare and slow for all of them. */
#ifndef SLUICE_QUEUE_JOURNAL_PRIVATE_H
#define SLUICE_QUEUE_JOURNAL_PRIVATE_H

#include "queue/journal_format.h"
#include "queue/journal_map.h"

#include <pthread.h>
#include <stdatomic.h>

enum { JOURNAL_SPARES_MAX = 2 };

/* Its memory is not freed before the journal is closed, only used again: an appender that was
 * preempted between reading `current` and entering touches at most `writers`. */
struct journal_segment {
    struct journal_segment *next_unused; /* when it stands for no file */
    uint32_t number;                     /* of its file's name */
    int fd;                              /* owned */
    uint8_t *map;                        /* owned; NULL once it is complete */
    size_t len;
    struct journal_seed seed;
    _Atomic uint64_t reserved; /* next free octet; runs past the end when it is full */
    _Atomic uint64_t end;      /* of its records; UINT64_MAX while it is current */
    _Atomic uint32_t writers;  /* appenders inside */

    /* Journal thread only. */
    uint64_t scanned; /* published without a gap up to here, and in the map */
    uint64_t synced;  /* durable up to here */
    bool complete;    /* no more writers, all of it scanned and durable */
    bool bad;         /* an fdatasync of it failed */
    bool evacuated;   /* all that counts of it has been stored in later segments */
};

struct journal {
    int folder_fd;    /* borrowed from the spool */
    bool sync, brief; /* as in struct journal_options */
    size_t segment_len;
    _Atomic(struct journal_segment *) current;
    _Atomic unsigned num_spares; /* written under the mutex */
    _Atomic uint64_t highest_id; /* written by the journal thread */

    pthread_mutex_t mutex;
    struct journal_segment *spares[JOURNAL_SPARES_MAX];
    struct journal_segment **segments; /* owned; ascending sequence numbers, the last is current */
    size_t num_segments, cap_segments;
    struct journal_segment *unused;
    uint32_t next_number;
    uint64_t next_seq;
    bool folder_dirty;
    int make_error; /* why the last attempt to make a spare failed; cleared by each commit */

    /* Journal thread only. */
    struct journal_map map;
    struct journal_segment **view; /* owned: the segments as of this commit */
    size_t num_view, cap_view;
    struct journal_segment *evacuating; /* the oldest, being copied; NULL */
    uint8_t *evacuation_image;          /* owned: its content */
    uint64_t evacuation_offset;
    bool compaction_off; /* the oldest segment cannot be read: until the next start */
    bool told_no_spare;
};

/* journal_segment.c: files. 0 or -errno. */
struct journal_segment *journal_segment_new(struct journal *journal); /* under the mutex */
/* Makes a file of zeros and maps it. durable: its blocks are on disk when it returns. */
int journal_segment_make(struct journal *journal, struct journal_segment *segment, bool durable);
int journal_segment_map(struct journal_segment *segment);
void journal_segment_unmap(struct journal_segment *segment);
/* Zeroes both heads, so that no replay takes its old records for live ones. */
int journal_segment_wipe(const struct journal *journal, struct journal_segment *segment);
void journal_segment_unlink(const struct journal *journal, struct journal_segment *segment);
void journal_segment_name(uint32_t number, char out[32]);
bool journal_segment_parse_name(const char *name, uint32_t *out_number);
static inline size_t journal_segment_limit(const struct journal_segment *segment)
{
    return segment->len - JOURNAL_HEAD_LEN;
}

/* journal.c */
/* The next segment becomes current if `full` is. false with errno set when there is none. */
bool journal_roll(struct journal *journal, struct journal_segment *full);
/* Stores an encoded record. false with errno set. */
bool journal_store(struct journal *journal, uint8_t *image, size_t len);
bool journal_add_spare_locked(struct journal *journal, struct journal_segment *segment);
void journal_add_segment_locked(struct journal *journal, struct journal_segment *segment);

/* journal_compact.c, journal thread */
/* Copies the records of an image that still count (tombstones too when keep_removed) from *offset
 * to at most `until`. false with errno set when one cannot be stored; *offset is where to go on. */
bool journal_copy_live(struct journal *journal, const uint8_t *image, size_t limit,
                       const struct journal_seed *seed, uint64_t *offset, uint64_t until,
                       bool keep_removed);
/* A record that is nothing but its kind and a number. false with errno set. */
bool journal_store_number(struct journal *journal, enum journal_kind kind, uint64_t number);
/* A step of compaction when it pays: bounded work. */
void journal_compact_step(struct journal *journal);

#endif
