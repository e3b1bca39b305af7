/* The journal on disk, and its records in memory. Private to the journal's files and their tests.
 *
 * A segment is a file journal/NNNNNNNN.segment of fixed length: a head, records, the head's copy.
 *
 *   offset 0                       struct journal_segment_head (64 octets)
 *   offset 64                      records, one behind the other, each a multiple of 8 octets
 *   offset len - 64                the head again, because without its salt no record can be told
 *
 * A head of zeros: a spare that was never used, or was freed. Numbers are little-endian.
 *
 * A record is valid when the upper half of its mark is its segment's tag, its length fits, and its
 * sum is that over all octets behind the sum, seeded with the segment's salt, its sequence number
 * and the record's offset. The salt is random and new for each use of a file, so neither what an
 * earlier use left there nor octets that a stranger sends us in a reply can pass for a record. The
 * mark is stored last: it publishes the record to other threads of this process.
 *
 * `order` is the position (sequence number << 32 | offset) at which a record was first stored.
 * Copies that compaction makes keep it, so a copy made late never outranks what happened in
 * between. */
#ifndef SLUICE_QUEUE_JOURNAL_FORMAT_H
#define SLUICE_QUEUE_JOURNAL_FORMAT_H

#include "queue/journal.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "the journal's format is little-endian; conversions are missing here"
#endif

#define JOURNAL_MAGIC UINT64_C(0x31304c4e524a4c53) /* "SLJRNL01" */
#define JOURNAL_SUFFIX ".segment"

enum {
    JOURNAL_SEGMENT_LEN = 16 * 1024 * 1024,
    JOURNAL_SEGMENT_LEN_MIN = 16 * 1024,
    JOURNAL_SEGMENT_LEN_MAX = 1024 * 1024 * 1024,
    JOURNAL_ALIGN = 8,
    JOURNAL_HEAD_LEN = 64,
    JOURNAL_RECIPIENTS_MAX = 128 * 1024 /* of one message: bounds what a damaged record can claim */
};

struct journal_segment_head {
    uint64_t magic;
    uint64_t seq;  /* 1, 2, 3 ...: the order in which segments were taken into use; below 2^32 */
    uint64_t salt; /* random; its upper half is the tag of the segment's marks */
    uint64_t len;  /* of the file */
    uint64_t highest_id; /* at least that of every segment that was freed before */
    uint64_t reserved[2];
    uint64_t sum; /* over the seven numbers before it */
};

enum journal_kind {
    JOURNAL_INTENT = 1,
    JOURNAL_OUTCOME = 2,
    JOURNAL_DEFERRED = 3,
    JOURNAL_REMOVED = 4,
    JOURNAL_HIGHEST = 5, /* id is the highest id ever seen; nothing else is meant */
    JOURNAL_RESCUED = 6  /* id is the sequence number of a segment whose records were all stored
                          * anew, out of turn, because its disk failed: that it is gone is no loss */
};

static inline bool journal_kind_has_payload(enum journal_kind kind)
{
    return kind >= JOURNAL_INTENT && kind <= JOURNAL_DEFERRED;
}

struct journal_record_head {
    uint64_t mark; /* tag << 32 | length of the whole record */
    uint64_t sum;
    uint64_t id;
    uint64_t order;
    uint8_t kind;  /* enum journal_kind */
    uint8_t flags; /* JOURNAL_COPY, JOURNAL_EXTENDED */
    uint16_t path_len;
    uint32_t num; /* of recipients that the payload speaks of */
};
enum {
    JOURNAL_COPY = 1,    /* made by compaction */
    JOURNAL_EXTENDED = 2 /* the payload goes on behind the path */
};

_Static_assert(sizeof(struct journal_segment_head) == JOURNAL_HEAD_LEN, "layout of the head");
_Static_assert(sizeof(struct journal_record_head) == 40, "layout of a record's head");

/* The payload follows the head, packed, zero octets up to the alignment:
 *
 *   intent    identity (5 x 8: dev, ino, btime, mtime, size), attempt 4, num x { index 4 }, path
 *   outcome   identity, arrived 8, attempt 4, num x { index 4, outcome }, path
 *   deferred  identity, arrived 8, digest 4, num x { status 1, attempts 2, next 8, outcome }, path
 *   removed, highest, rescued: nothing
 *
 *   an outcome is kind 1, phase 1, in_doubt 1, code 2, enhanced 3, text_len 1, text; text_len 255
 *   says: the same text as the recipient before (thousands of recipients share one reply).
 *
 * Behind the path, with JOURNAL_EXTENDED (without it, as in records of earlier versions, all of
 * this is zero; those versions do not look behind the path):
 *
 *   outcome   end of the attempt 8, num x { hop 1 }, mx_len 1, mx
 *   deferred  num x { told 1, end of the attempt 8, hop 1, mx_len 1, mx }; mx_len 255 says: the
 * same host as the recipient before */
enum { JOURNAL_SAME_TEXT = 255 };

/* The parts of a record that is being made or was read. */
struct journal_record {
    enum journal_kind kind;
    uint8_t flags;
    uint64_t id;
    uint64_t order;
    const char *path; /* borrowed; NULL without payload */
    size_t path_len;
    struct file_identity identity;
    int64_t arrived_wall_ms;
    uint32_t attempt;
    int64_t attempted_wall_ms; /* outcome */
    struct bytes mx;           /* outcome; borrowed */
    uint32_t digest;
    uint32_t num;
    const uint32_t *indexes;                  /* intent, outcome */
    const struct outcome *outcomes;           /* outcome */
    const struct recipient_state *recipients; /* deferred */
};

struct journal_seed {
    uint64_t seq;
    uint64_t salt;
};

/* Appends head and payload with mark, sum and order still 0. false: beyond what a record may hold.
 */
bool journal_record_encode(const struct journal_record *record, struct buffer *out);
/* Fills in order (unless it is a copy, which has one), sum and returns the mark, which goes to the
 * record's first octets when all others are stored. image: a whole record, 8-aligned. */
uint64_t journal_record_seal(uint8_t *image, size_t len, const struct journal_seed *seed,
                             uint64_t offset);

/* at: what a segment has at offset, `have` octets up to where its records end. The length of a
 * valid record, else 0. */
size_t journal_record_check(const uint8_t *at, size_t have, uint64_t offset,
                            const struct journal_seed *seed, struct journal_record_head *out);
/* The first valid record at or after offset, which is moved to it; false when there is none. Sets
 * *out_skipped when octets had to be passed to find it: a hole, or damage. (What follows the last
 * record is no damage: nothing, what an earlier use of the file left, or a record cut by a crash.)
 */
bool journal_record_next(const uint8_t *image, size_t limit, const struct journal_seed *seed,
                         uint64_t *offset, struct journal_record_head *out, bool *out_skipped);

/* A record read back: the arrays of one belong to its scratch and live until the next decode. */
struct journal_scratch {
    uint32_t *indexes;                  /* owned */
    struct outcome *outcomes;           /* owned */
    struct recipient_state *recipients; /* owned */
    uint32_t cap;                       /* of each */
};
/* image: a record that journal_record_check() found valid. false when its payload is none of the
 * form above (only a bug or a forger with the salt can make such). */
bool journal_record_decode(struct bytes image, struct journal_scratch *scratch,
                           struct journal_record *out);
void journal_scratch_fini(struct journal_scratch *scratch);

void journal_head_make(struct journal_segment_head *head, uint64_t seq, uint64_t salt, uint64_t len,
                       uint64_t highest_id);
bool journal_head_is_valid(const struct journal_segment_head *head);

static inline uint64_t journal_order(uint64_t seq, uint64_t offset)
{
    return seq << 32 | offset;
}

#endif
