/* The table of messages that wait or are held: bare index entries, no content, no file descriptor,
 * found by id and, those that wait, by the time at which they are due.
 *
 * Owned by the dispatcher (before the threads start: by recovery). Times are wall clock, so that a
 * restart keeps the schedule. */
#ifndef SLUICE_QUEUE_TABLE_H
#define SLUICE_QUEUE_TABLE_H

#include "base/mailbox.h"
#include "queue/journal.h"

/* What an operator asked for, on its way: an entry carries it to the message that is loaded from it
 * and back. */
enum queue_operation {
    QUEUE_NO_OPERATION,
    QUEUE_HOLD,    /* nothing more is tried; the file goes to hold/ with its state */
    QUEUE_RELEASE, /* out of hold/, in doubt or not: back to deferred/, due at once */
    QUEUE_RETRY,   /* due at once */
    QUEUE_REMOVE   /* forgotten and unlinked, without a word to the sender */
};

struct waiting {
    /* A start looks at these of each entry, in random order: together they are one cache line. */
    uint64_t id;
    struct waiting *id_next; /* in its bucket of the table's index */
    struct file_identity identity;
    char *path; /* owned */

    bool is_in_doubt;         /* so is one of its recipients, or more */
    bool is_met;              /* at the start: its file was found where it was recorded */
    bool is_parked;           /* could be tried now, but for want of room at its site */
    bool is_listed;           /* its site will wake it when it has room */
    uint8_t operation;        /* enum queue_operation: to be carried out once it is loaded */
    uint32_t slot;            /* position in the heap + 1; 0: held, or not in a table */
    struct mailbox_item item; /* travels to pickup to be loaded */
    struct waiting *next;     /* in the one list that holds it */
    int64_t due_wall_ms;
    int64_t attention_wall_ms; /* not re-timed beyond: its expiry, or a warning; INT64_MAX: not
                                  known yet */
    int64_t arrived_wall_ms;
    uint64_t site_hash; /* the site that it waits for; 0: none in particular */
    uint8_t *states;    /* owned, encoded; NULL: no attempt yet */
    uint32_t states_len;
    uint32_t recipients_digest;
    uint32_t num_recipients;
};

struct table {
    struct waiting **heap; /* owned, as are all entries */
    size_t num;            /* that wait */
    size_t cap;
    struct waiting **buckets; /* owned: all entries by id */
    size_t num_buckets;       /* a power of two, or 0 */
    size_t num_held;
    size_t num_in_doubt; /* of both kinds: those with a recipient in doubt */
};

void table_init(struct table *table);
void table_fini(struct table *table);
/* Room for so many entries in all, so that a start does not grow it again and again. */
void table_reserve(struct table *table, size_t num);
/* Takes over the entry, which waits for its time; no other in the table has its id. */
void table_add(struct table *table, struct waiting *waiting);
/* Takes over the entry, which is never due. */
void table_add_held(struct table *table, struct waiting *waiting);
/* NULL: no entry has that id. Borrowed. */
struct waiting *table_find(const struct table *table, uint64_t id);
/* The entry that is due first, still in the table; NULL: empty. */
struct waiting *table_first(const struct table *table);
/* Takes the first entry out; the caller owns it. */
struct waiting *table_take_first(struct table *table);
/* Gives an entry of the table, held or not, another time at which it is due. */
void table_move(struct table *table, struct waiting *waiting, int64_t due_wall_ms);
static inline bool table_holds(const struct waiting *waiting)
{
    return waiting->slot == 0;
}

/* A bare entry from what the journal knows of a message. recipients NULL: no attempt yet. */
struct waiting *waiting_new(const struct journal_message *message);
void waiting_free(struct waiting *waiting);
/* Writes num_recipients states to out. */
void waiting_states(const struct waiting *waiting, struct recipient_state *out);
/* Whether its states are those of an envelope with num recipients of that digest. Without a
 * snapshot (digest 0) it names only those that were tried, by index. */
bool waiting_fits(const struct waiting *waiting, uint32_t digest, size_t num);
/* Its name is there, but another file bears it: from now on the entry is about that one. True: by
 * size and modification time it is a copy (a restored backup), and the recipients' states are kept.
 * False: they are forgotten, so that every recipient is tried: a double is better than a loss. */
bool waiting_adopt(struct waiting *waiting, const struct file_identity *identity);
/* The same for an entry of the table. */
bool table_adopt(struct table *table, struct waiting *waiting,
                 const struct file_identity *identity);
/* All recipients that wait are due at once. */
void waiting_make_due(struct waiting *waiting);
/* The earliest instant at which a recipient of it is due: 0 when one is due at once or none waits.
 * One in doubt is due at once, or with hold_in_doubt never. */
int64_t recipients_due_wall_ms(const struct recipient_state *recipients, uint32_t num,
                               bool hold_in_doubt);
/* How often the sender was told something of them: a failure, a delay, a success. Only rises. A
 * failure that nobody asked to hear of counts, too. */
uint32_t recipients_told(const struct recipient_state *recipients, uint32_t num);

#endif
