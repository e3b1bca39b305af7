/* The table of waiting messages: bare index entries, no content, no file descriptor, found by the
 * time at which they are due.
 *
 * Owned by the dispatcher (before the threads start: by recovery). About 120 bytes an entry, and
 * what its recipients' states need. Times are wall clock, so that a restart keeps the schedule. */
#ifndef SLUICE_QUEUE_TABLE_H
#define SLUICE_QUEUE_TABLE_H

#include "base/mailbox.h"
#include "queue/journal.h"

struct waiting {
    struct mailbox_item item; /* travels to pickup to be loaded */
    struct waiting *next;     /* in the one list that holds it */
    uint64_t id;
    int64_t due_wall_ms;
    int64_t expiry_wall_ms; /* not re-timed beyond; INT64_MAX: not known yet */
    int64_t arrived_wall_ms;
    struct file_identity identity;
    uint64_t site_hash; /* the site that it waits for; 0: none in particular */
    char *path;         /* owned */
    uint8_t *states;    /* owned, encoded; NULL: no attempt yet */
    uint32_t states_len;
    uint32_t recipients_digest;
    uint32_t num_recipients;
    bool is_parked; /* waits for room at its site, not for a time */
    uint32_t slot;  /* position in the heap + 1; 0: not in a table */
};

struct table {
    struct waiting **heap; /* owned, as are its entries */
    size_t num;
    size_t cap;
};

void table_init(struct table *table);
void table_fini(struct table *table);
/* Takes over the entry. */
void table_add(struct table *table, struct waiting *waiting);
/* The entry that is due first, still in the table; NULL: empty. */
struct waiting *table_first(const struct table *table);
/* Takes the first entry out; the caller owns it. */
struct waiting *table_take_first(struct table *table);
void table_move(struct table *table, struct waiting *waiting, int64_t due_wall_ms);

/* A bare entry from what the journal knows of a message. recipients NULL: no attempt yet. */
struct waiting *waiting_new(const struct journal_message *message);
void waiting_free(struct waiting *waiting);
/* Writes num_recipients states to out. */
void waiting_states(const struct waiting *waiting, struct recipient_state *out);
/* The earliest instant at which a recipient of it is due: 0 when one is due at once or all are
 * final. */
int64_t recipients_due_wall_ms(const struct recipient_state *recipients, uint32_t num);

#endif
