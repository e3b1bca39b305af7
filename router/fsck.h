/* Journal against files: every difference, what a repair of it does, and why that is safe.
 *
 * First all differences are found, reading only; then, if asked, repaired under the spool's lock,
 * by the same rules as a start of the router: a double is better than a loss, and no mail is ever
 * deleted. One thread. */
#ifndef SLUICE_ROUTER_FSCK_H
#define SLUICE_ROUTER_FSCK_H

#include "queue/table.h"
#include "router/config.h"

enum fsck_kind {
    FSCK_UNKNOWN_FILE,
    FSCK_UNKNOWN_HELD,
    FSCK_MISSING_FILE,
    FSCK_COPY,
    FSCK_OTHER_FILE,
    FSCK_WRONG_FOLDER,
    FSCK_KNOWN_TWICE,
    FSCK_NO_ID,
    FSCK_BAD_WITHOUT_WHY,
    FSCK_WHY_WITHOUT_FILE,
    FSCK_OLD_IN_TMP,
    FSCK_JOURNAL_DAMAGED,
    FSCK_SEGMENT_SET_ASIDE,
    FSCK_CONTROL_LEFT,
    FSCK_FOLDER_MISSING,
    FSCK_FOLDER_OPEN,
    FSCK_KINDS
};

struct fsck_kind_text {
    const char *name;   /* stable, for programs */
    const char *what;   /* is the case */
    const char *repair; /* NULL: none; then `why` says what to do */
    const char *why;    /* it is safe */
};
const struct fsck_kind_text *fsck_kind_text(enum fsck_kind kind);

struct fsck_finding {
    enum fsck_kind kind;
    char *path;  /* owned, in the spool */
    uint64_t id; /* of the message; 0: none */
    bool repaired;
};

struct fsck {
    const struct config *config;   /* borrowed */
    struct fsck_finding *findings; /* owned */
    size_t num, cap;
    bool router_runs;
    bool compared; /* false: a folder is missing, so journal and files were not compared */
};

/* 0 or an exit code of sysexits.h with a line in why. */
int fsck_find(struct fsck *fsck, const struct config *config, char why[SPOOL_WHY_MAX])
    __attribute__((warn_unused_result));
int fsck_repair(struct fsck *fsck, char why[SPOOL_WHY_MAX]) __attribute__((warn_unused_result));
void fsck_fini(struct fsck *fsck);

#endif
