/* A loaded message: one file of the spool with its envelope and content.
 *
 * Made by pickup; then owned by one thread at a time: pickup -> dispatcher -> journal thread ->
 * dispatcher -> pickup, which frees it. While deliveries of it are under way, workers borrow its
 * immutable part (all above `recipients`); only the dispatcher writes below. */
#ifndef SLUICE_QUEUE_MESSAGE_H
#define SLUICE_QUEUE_MESSAGE_H

#include "base/mailbox.h"
#include "queue/content.h"
#include "queue/envelope.h"
#include "queue/table.h"

struct message {
    struct mailbox_item item;
    uint64_t id;
    char id_text[14];
    char *path; /* owned; in the spool, as it is now */
    struct file_identity identity;
    int64_t arrived_wall_ms;
    int64_t expiry_wall_ms;
    bool has_envelope;
    struct envelope envelope; /* owned */
    struct content content;   /* owned; its cuts are the envelope's */
    uint64_t memory_len;      /* counted against queue.content_memory */
    uint32_t recipients_digest;

    /* Dispatcher only; lent to the journal thread with a decision. */
    struct message *next;               /* in the one list that holds it */
    struct recipient_state *recipients; /* owned; one per envelope recipient */
    uint32_t num_active;                /* deliveries under way */
    bool warns;                         /* its sender is told of the delay now */
    bool reports;                       /* its sender is told something with this decision */
    bool has_draft;                     /* journal thread: the report lies in tmp/ */
    uint32_t event;                     /* of that report: its number among those of this message */
    char bad_reason[256];               /* MESSAGE_BAD: the line for NAME.why */
    int64_t next_wall_ms;               /* MESSAGE_DEFER: when it is due again */
    uint64_t
        site_hash;    /* MESSAGE_DEFER: the site that it waits for, by key; 0: none in particular */
    bool was_waiting; /* loaded again, on the dispatcher's request */
    bool was_new;     /* its file is in new/: pickup has a claim on it */
    bool was_held;    /* its file is in hold/, as path says, which is not the dispatcher's to read
                         while the journal thread moves the file */
    bool was_released; /* one try, even past its expiry */
    uint8_t operation; /* enum queue_operation: what an operator asked for meanwhile */
    struct message *loaded_prev, *loaded_next; /* in the dispatcher's list of all */
    /* Journal thread: how far it is. */
    bool recorded;    /* what must be durable first is in the journal */
    bool is_moved;    /* its file is; path still names the folder that is to be synced */
    int result_errno; /* journal thread's answer: 0 or an errno */
};

/* Digest of all mailboxes in order: tells a journal's recipient indexes from another envelope's. */
uint32_t message_recipients_digest(const struct envelope *envelope);
void message_free(struct message *message); /* NULL allowed */

#endif
