/* The journal: what happened to every message, so that a restart knows it.
 *
 * Append-only segments in the spool's journal/ folder, preallocated and zero-written, mapped
 * shared; each record with a checksum over itself and its segment's sequence number. Appending is a
 * store into mapped memory: it survives `kill -9`. journal_commit() makes it survive a power cut.
 *
 * Records: intent (before the first byte from which the peer could commit leaves), outcome (the
 * reply arrived), deferred (a complete snapshot of a message that waits; replaces all earlier
 * records of its id), removed (the file is gone, the id is forgotten). Intents and outcomes carry
 * the attempt number, so that replay does not depend on the order in which threads stored them.
 *
 * Threads: journal_append_*() from any thread; everything else from the journal thread (or before
 * the threads start). */
#ifndef SLUICE_QUEUE_JOURNAL_H
#define SLUICE_QUEUE_JOURNAL_H

#include "queue/outcome.h"
#include "queue/spool.h"

struct journal;

enum recipient_status {
    RECIPIENT_PENDING,
    RECIPIENT_DELIVERED,
    RECIPIENT_BOUNCED,  /* final; the sender may not have been told yet */
    RECIPIENT_IN_DOUBT, /* it may have been delivered: the connection was lost after the final dot,
                         * or (at replay) an intent has no outcome */
    RECIPIENT_NOTIFIED  /* bounced, and the DSN is in the spool: only a `deferred` snapshot says so
                         */
};

/* What the sender was told of a recipient besides its failure; only a `deferred` snapshot says so.
 */
enum recipient_told { RECIPIENT_TOLD_DELAY = 1, RECIPIENT_TOLD_SUCCESS = 2 };

/* Of one message: with the longest replies and host names its snapshot fits into a segment. */
enum { JOURNAL_MESSAGE_RECIPIENTS_MAX = 30000 };

enum { RECIPIENT_MX_MAX = 254 }; /* a host name's 253 octets, NUL */

/* State of one recipient, by its index in the envelope. */
struct recipient_state {
    uint8_t status; /* enum recipient_status */
    uint8_t told;   /* bits of enum recipient_told */
    uint16_t attempts;
    int64_t next_wall_ms;      /* when PENDING: not before; 0: at once */
    int64_t attempted_wall_ms; /* end of the last attempt; 0: not known */
    struct outcome last;       /* of the last attempt; kind OUTCOME_NONE before the first */
    char mx[RECIPIENT_MX_MAX]; /* the host of the last attempt; "" when none was reached */
};

/* One attempt of some recipients of a message. */
struct journal_attempt {
    uint32_t number;
    int64_t wall_ms; /* its end */
    const char *mx;  /* borrowed; "" when no host was reached; cut at RECIPIENT_MX_MAX */
};

/* What the journal knows of one live message: the payload of `deferred`, and what replay reports.
 */
struct journal_message {
    uint64_t id;
    const char *path; /* in the spool; borrowed during a call */
    struct file_identity identity;
    int64_t arrived_wall_ms;
    uint32_t recipients_digest; /* of all mailboxes in order: an envelope that parses differently is
                                   noticed */
    uint32_t num_recipients;
    struct recipient_state *recipients; /* num_recipients of them; borrowed during a call */
};

struct journal_options {
    bool sync;          /* false: durability none, commits do nothing on disk */
    size_t segment_len; /* octets; 0: the default, 16 MiB */
    bool brief; /* for a few records of a short command: goes on in the newest segment and keeps no
                   spare, since zeroing 16 MiB would be nearly all of its work */
};

/* Opens or makes the journal in spool->journal_fd and replays it: on_live is called once per
 * message that is not removed, in order of id, with states merged. Skips damaged records and says
 * so in the log; but what the disk does not give (EIO) is not taken for damage: without it mail
 * could be sent twice. The segments are taken over as they are; compaction frees what is waste in
 * them. NULL with a line in why.
 *
 * Of a message that was never deferred only what its intents and outcomes say is known: as many
 * recipients as the highest index needs, digest 0, arrived_wall_ms 0 if it has intents only. */
struct journal *journal_open(const struct spool *spool, const struct journal_options *options,
                             void (*on_live)(void *ctx, const struct journal_message *message),
                             void *ctx, char why[SPOOL_WHY_MAX])
    __attribute__((warn_unused_result));
/* Commits and closes. */
void journal_close(struct journal *journal);
/* Reads the journal of a spool without owning or changing it (a router may be running on it: then
 * what happens during the call may be missing). */
bool journal_read(const struct spool *spool,
                  void (*on_live)(void *ctx, const struct journal_message *message), void *ctx,
                  char why[SPOOL_WHY_MAX]) __attribute__((warn_unused_result));
/* The same, and what of the journal could not be read. */
struct journal_report {
    uint64_t num_damaged; /* places that were passed over to find the next record */
    uint64_t num_lost;    /* records that were seen and could not be read */
};
bool journal_read_report(const struct spool *spool,
                         void (*on_live)(void *ctx, const struct journal_message *message),
                         void *ctx, struct journal_report *out, char why[SPOOL_WHY_MAX])
    __attribute__((warn_unused_result));
/* The highest id that any record names, or that was noted; 0 in a new journal. */
uint64_t journal_highest_id(const struct journal *journal);
/* An id that was met elsewhere, as in the name of a file that no record knows. Before any thread
 * runs; durable with the next segment's head, and until then the file still says it. */
void journal_note_id(struct journal *journal, uint64_t id);

/* Each returns false when the record cannot be stored (disk full, I/O error): then the step that it
 * describes must not be taken. errno says why. */
/* path and identity let a restart match the file in new/ again. */
bool journal_append_intent(struct journal *journal, uint64_t id, const char *path,
                           const struct file_identity *identity, uint32_t attempt,
                           const uint32_t *indexes, uint32_t num_indexes)
    __attribute__((warn_unused_result));
/* One result per index. */
bool journal_append_outcome(struct journal *journal, uint64_t id, const char *path,
                            const struct file_identity *identity, int64_t arrived_wall_ms,
                            const struct journal_attempt *attempt, const uint32_t *indexes,
                            const struct outcome *outcomes, uint32_t num)
    __attribute__((warn_unused_result));
bool journal_append_deferred(struct journal *journal, const struct journal_message *message)
    __attribute__((warn_unused_result));
bool journal_append_removed(struct journal *journal, uint64_t id)
    __attribute__((warn_unused_result));

/* Room for new attempts, after a commit that tried to make more. */
enum journal_room {
    JOURNAL_ROOM_AMPLE,
    JOURNAL_ROOM_LAST, /* no further segment can be made: what is left of this one */
    JOURNAL_ROOM_NONE  /* that is used up but for the ends of what has begun: intents are refused */
};
/* *out_error: why no segment can be made. Journal thread only. */
enum journal_room journal_room(struct journal *journal, int *out_error);

/* Makes every record that was published before the call durable (one fdatasync per touched
 * segment), brings a spare segment, and compacts when it pays. 0 or -errno: after an error the
 * segment is never trusted again (the live state goes to a new one). Journal thread only. */
int journal_commit(struct journal *journal);

#endif
