/* What the journal knows, as a set of bare entries that files are matched against by identity.
 *
 * For a restart (router/recovery.c) and for `sluice queue`: filled by the journal's replay, then
 * sorted, then asked once for each file of a folder. One thread. */
#ifndef SLUICE_QUEUE_WAITING_SET_H
#define SLUICE_QUEUE_WAITING_SET_H

#include "queue/table.h"

struct waiting_set {
    struct waiting **items; /* owned array of owned entries */
    size_t num;
    size_t cap;
};

/* An empty set is all zero. Frees the entries that it still has. */
void waiting_set_fini(struct waiting_set *set);
/* Takes over the entry. */
void waiting_set_add(struct waiting_set *set, struct waiting *waiting);
/* For journal_open() and journal_read(): ctx is the set. */
void waiting_set_on_live(void *ctx, const struct journal_message *message);
void waiting_set_sort_by_inode(struct waiting_set *set);
/* Sorted by inode. Whether an entry has that inode number: worth a closer look at the file. */
bool waiting_set_knows_inode(const struct waiting_set *set, uint64_t ino);
/* Sorted by inode. The entry of that very file, borrowed; NULL: none. */
struct waiting *waiting_set_find(const struct waiting_set *set,
                                 const struct file_identity *identity);

#endif
