/* What may and what must become of each recipient of a random sequence: the model.
 *
 * Rows are found by the numbers in an address ("later.12.1@d3.test": recipient 1 of mail 12), so
 * that a report or a file names them by itself. Lives in memory that forked processes share. */
#ifndef SLUICE_TESTS_SIM_MODEL_H
#define SLUICE_TESTS_SIM_MODEL_H

#include "queue/message.h"

enum { MODEL_MAILS_MAX = 256, MODEL_RECIPIENTS_MAX = 3, MODEL_WHY_MAX = 240 };

enum fate {
    FATE_OK,    /* accepted */
    FATE_LATER, /* put off twice, then accepted */
    FATE_NO,    /* refused for good */
    FATE_NEVER, /* put off until it expires */
    FATE_LOST,  /* at the first attempt the connection is lost after the final dot */
    NUM_FATES
};

/* What the router must know of a recipient: at the end of a transaction, by its last commit, and in
 * a backup. */
struct model_knowledge {
    bool settled;     /* accepted or refused: never to be tried again */
    bool told;        /* a report that names it arrived: no other may */
    uint32_t attempt; /* numbers only rise */
    uint32_t doubt;   /* 0, or the last attempt that was in doubt */
};

/* Of a recipient, or of a mail's sender, who gets its reports. */
struct model_row {
    struct model_knowledge known, durable, backup;
    bool settles, tells; /* said by the receiver, and stored when the transaction has ended */
    bool was_in_doubt;   /* at any time */
    bool was_forgotten;  /* a power cut took its end, which no commit had made durable */
    unsigned tries, accepted;
    unsigned told, in_bad, in_hold; /* reports that named it: arrived, in bad/, in hold/ */
};

enum model_sender { SENDER_GOOD, SENDER_REFUSING, SENDER_NULL };

struct model_mail {
    enum model_sender sender;
    unsigned num;
    int64_t dropped_ms;
    enum fate fates[MODEL_RECIPIENTS_MAX];
    struct model_row rows[MODEL_RECIPIENTS_MAX], sender_row;
    bool is_held; /* at the end, as is the next */
    bool is_in_bad;
    bool is_restored;  /* part of it came from a backup: files and journal need not fit */
    bool is_withdrawn; /* a backup was restored that did not have it */
};

struct model {
    bool holds;                     /* queue.in_doubt */
    int64_t lifetime_ms, latest_ms; /* the latest instant that there was */
    char fault[MODEL_WHY_MAX];      /* the first that was seen on the way */
    unsigned num;
    struct model_mail mails[MODEL_MAILS_MAX];
};

void model_address(const struct model *model, unsigned mail, unsigned index, char out[64]);
/* "" for the null sender. */
void model_sender(const struct model *model, unsigned mail, char out[64]);
/* NULL: not an address of the model. *out_fate and *out_mail may be NULL. */
struct model_row *model_find(struct model *model, const char *address, enum fate *out_fate,
                             struct model_mail **out_mail);

/* A transaction: a recipient is tried, not its mail's sender; and what its receiver says: that it
 * is final, or that the connection was lost. */
void model_try(struct model *model, const char *address, uint32_t attempt);
void model_answer(struct model_row *row, bool is_final, bool is_accepted);
void model_doubt(struct model_row *row, uint32_t attempt);
/* A report that names it arrived at its sender. */
void model_tell(struct model *model, const char *address);
void model_set_clock_back(struct model *model, int64_t by_ms);
/* What was said is stored. */
void model_store(struct model *model);
/* The process is gone: what was said and not stored was never said. */
void model_kill(struct model *model);
/* All that is stored is durable. */
void model_commit(struct model *model);
void model_power_off(struct model *model);

void model_back_up(struct model *model);
/* The spool of the first num mails: the others are gone. */
void model_restore(struct model *model, unsigned num);
/* Their journal under the files of today; 0: no journal. */
void model_restore_journal(struct model *model, unsigned num);
/* Mail that the restored journal may not know: all of it may be tried again. */
void model_forget(struct model_row *row);
/* At the end, nothing being left to do. */
bool model_is_right(struct model *model, char why[MODEL_WHY_MAX]);

#endif
