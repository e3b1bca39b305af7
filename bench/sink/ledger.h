/* The ledger: which final dots arrived, and which of their replies left, for tests that account for
 * each message.
 *
 * A line per event in the order of the events, written at once, so that it can be read while the
 * sink runs and holds whatever happens to the sink's peers:
 *
 *     dot NUMBER CODE ID RECIPIENT...
 *     reply NUMBER
 *
 * and when times were asked for, with the monotonic clock's microseconds as one more word at the
 * end of each `reply`.
 *
 * NUMBER counts the dots of all threads, CODE is the reply that the message gets (0: the connection
 * is closed instead), ID is the value of X-Bench-Id or Message-ID without angle brackets ("-":
 * none). `reply` follows when the kernel took the reply's last octet. Any thread. */
#ifndef SLUICE_BENCH_SINK_LEDGER_H
#define SLUICE_BENCH_SINK_LEDGER_H

#include "base/bytes.h"

struct ledger;

/* Appends to the file; NULL with errno set. */
struct ledger *ledger_open(const char *path, bool times) __attribute__((warn_unused_result));
void ledger_close(struct ledger *ledger); /* NULL allowed */

struct ledger_dot {
    unsigned code;
    struct bytes id;
    const char *recipients; /* each with a NUL behind */
    unsigned num_recipients;
};

/* Returns the dot's number. A ledger that cannot be written ends the process: one with gaps is
 * worse than none. */
uint64_t ledger_write_dot(struct ledger *ledger, const struct ledger_dot *dot);
void ledger_write_reply(struct ledger *ledger, uint64_t number);

#endif
