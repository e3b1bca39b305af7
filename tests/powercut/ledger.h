/* Who has got what by a given cut: from the recording. */
#ifndef SLUICE_TESTS_POWERCUT_LEDGER_H
#define SLUICE_TESTS_POWERCUT_LEDGER_H

#include "tests/powercut/message.h"
#include "tests/powercut/model.h"

/* One recipient of one message. Positions are of events; SIZE_MAX: never. */
struct ledger_row {
    char address[96];
    unsigned message;
    unsigned accepted;                    /* times that the peer took it */
    unsigned told;                        /* times that the peer took a DSN about it */
    size_t delivered_at, told_at;         /* that outcome was stored */
    bool delivered_durable, told_durable; /* and a commit that began later has returned */
};

struct ledger {
    struct ledger_row *rows; /* owned */
    unsigned num_rows;
    bool *promised;  /* owned, by message: its file was durable in the spool once */
    uint32_t *nodes; /* owned, by message: its file since it was moved to deferred/ or hold/ */
    unsigned num_messages;
    size_t commit_at; /* the last commit that began */
};

void ledger_init(struct ledger *ledger, unsigned num_messages);
void ledger_fini(struct ledger *ledger);
struct ledger_row *ledger_find(const struct ledger *ledger, const char *address);
void ledger_add(struct ledger *ledger, const struct event *event, size_t index);
/* When what is durable has changed: messages whose file is there now are promised, and those whose
 * durable place is deferred/ or hold/, whoever should have synced their content. */
void ledger_promise(struct ledger *ledger, const struct disk *durable);

/* Calls each for every file below folder ("new", "deferred" ...), one level deep, with names that
 * the spool contract does not ignore. path is relative to the spool. */
void disk_each_file(const struct disk *disk, const char *folder,
                    void (*each)(void *ctx, const char *path, const struct disk_node *node,
                                 uint32_t number),
                    void *ctx);

#endif
