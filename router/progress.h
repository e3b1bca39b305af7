/* What a person sees while mail is drained: one line that is kept up to date on a terminal, plain
 * lines now and then elsewhere, and a table per destination at the end.
 *
 * Pure: the caller gives snapshots and the time, and writes what comes out. One thread. */
#ifndef SLUICE_ROUTER_PROGRESS_H
#define SLUICE_ROUTER_PROGRESS_H

#include "base/bytes.h"

enum {
    PROGRESS_TERMINAL_INTERVAL_MS = 200,
    PROGRESS_PLAIN_INTERVAL_MS = 5000,
    PROGRESS_NAME_COLUMNS = 40 /* longer names are cut in the middle of the table */
};

/* Recipients are what is counted, as in the delivery log. */
struct progress_totals {
    uint64_t delivered, deferred, bounced; /* so far; deferred: attempts that ended so */
    uint64_t waiting;                      /* messages not finished yet, known ones */
    uint64_t connections;                  /* open now */
};

struct progress_site {
    char name[128];
    uint64_t delivered, deferred, bounced;
    uint64_t connections;                      /* made so far */
    uint64_t plaintext, tls_full, tls_resumed; /* sessions by how they were protected */
};

struct progress {
    bool is_terminal;
    unsigned columns;   /* of the terminal; 0: 80 */
    int64_t started_ms; /* all monotonic */
    int64_t shown_ms;
    uint64_t shown_delivered; /* at shown_ms: for the rate */
    double rate;              /* per second, smoothed */
    bool line_open;           /* a line stands on the terminal that must be wiped */
};

/* fd: where the caller will write (a terminal or not, its width). */
void progress_init(struct progress *progress, int fd, int64_t now_ms);
/* Appends the next line if it is time for one; true if it did. */
bool progress_update(struct progress *progress, const struct progress_totals *totals,
                     int64_t now_ms, struct buffer *out);
/* Wipes the live line (before anything else is written there, and at the end). */
void progress_wipe(struct progress *progress, struct buffer *out);
/* A row per destination in the order given, one for what totals has beyond them (recipients for
 * whom no host was found), then the sums. */
void progress_table(const struct progress_site *sites, size_t num_sites,
                    const struct progress_totals *totals, int64_t elapsed_ms, struct buffer *out);

#endif
