/* Reading a journal back: files -> live messages with merged states. Private to the journal.
 *
 * First all segments are walked once and a reference of 24 octets is kept per record; sorted by id,
 * the records that count are read again one message at a time. So a million waiting messages need
 * some dozens of MB, not their states all at once. One thread. */
#ifndef SLUICE_QUEUE_JOURNAL_REPLAY_H
#define SLUICE_QUEUE_JOURNAL_REPLAY_H

#include "queue/journal_format.h"

struct journal_replay_file {
    int fd; /* owned until taken (set to -1) */
    uint32_t number;
    struct journal_segment_head head;
    uint64_t limit; /* records end there at the latest */
    uint64_t end;   /* of its last valid record; JOURNAL_HEAD_LEN: there is none */
};

struct journal_replay_ref {
    uint64_t id;
    uint64_t order;
    uint32_t offset;
    uint32_t file_kind; /* index of the file << 3 | enum journal_kind */
};

struct journal_replay {
    struct journal_replay_file *files; /* owned; ascending sequence numbers */
    size_t num_files, cap_files;
    struct journal_replay_ref *refs; /* owned */
    size_t num_refs, cap_refs;
    uint64_t *rescued; /* owned: sequence numbers of segments that went out of turn */
    size_t num_rescued, cap_rescued;
    uint64_t highest_id;
    uint32_t highest_number; /* of a file's name */
    uint64_t num_damaged;    /* places where octets were passed to find the next record */
    uint64_t num_lost;       /* records that were there at first and not when read again */
    int error; /* why the disk did not give what it has: what was not read is not known to be there
                  or not, so nothing may be concluded from the rest; 0: all was read */
    struct buffer image; /* what was read last of a file */
    uint32_t image_file; /* its index */
    uint32_t image_offset;
};

/* What a walk over the live messages calls; any may be NULL. */
struct journal_replay_calls {
    void (*on_live)(void *ctx, const struct journal_message *message);
    void *ctx;
    /* One record that counts, in order. */
    void (*on_record)(void *ctx, const struct journal_replay_ref *ref, size_t len);
    /* A removed id of which a copy lies behind its `removed`. */
    void (*on_zombie)(void *ctx, uint64_t id);
    void *own_ctx; /* of on_record and on_zombie */
};

enum journal_replay_mode {
    JOURNAL_REPLAY_READ, /* changes nothing */
    JOURNAL_REPLAY_OWN   /* opens for writing; sets files without a valid head aside, removes
                            unused ones */
};

void journal_replay_init(struct journal_replay *replay);
void journal_replay_fini(struct journal_replay *replay);
/* Adds the folder's files and walks them. */
bool journal_replay_load(struct journal_replay *replay, int folder_fd,
                         enum journal_replay_mode mode, char why[SPOOL_WHY_MAX]);
/* Adds one segment file; false when it has no valid head, or (error is set) cannot be read. fd is
 * owned from then on if true. */
bool journal_replay_add(struct journal_replay *replay, int fd, uint32_t number);
/* When all are added: finds their records. */
void journal_replay_walk(struct journal_replay *replay);
/* Segments are taken into use and freed in order, so a number that is missing between two of them
 * is a loss: calls on_gap with the files before and after and how many are missing. */
void journal_replay_each_gap(const struct journal_replay *replay,
                             void (*on_gap)(void *ctx, const struct journal_replay_file *before,
                                            const struct journal_replay_file *after, uint64_t num),
                             void *ctx);
/* Whether none of the files was freed or used anew since it was added. */
bool journal_replay_is_current(const struct journal_replay *replay);
/* Afterwards error says whether all could be read again. */
void journal_replay_run(struct journal_replay *replay, const struct journal_replay_calls *calls);

#endif
