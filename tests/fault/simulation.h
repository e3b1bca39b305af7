/* A router on one thread and a made-up clock: the real pickup, dispatcher, journal thread and
 * recovery, driven turn by turn; a fake resolver and a fake worker that delivers to a ledger.
 *
 * What a recipient's receiver says stands in the first letters of its address: "ok..." accepts,
 * "later..." defers twice and then accepts, "no..." rejects. */
#ifndef SLUICE_TESTS_FAULT_SIMULATION_H
#define SLUICE_TESTS_FAULT_SIMULATION_H

#include "queue/message.h"

enum { LEDGER_MAX = 128, LEDGER_NAME_MAX = 64 };

/* One row a recipient address; in memory that forked processes share. */
struct ledger_row {
    char address[LEDGER_NAME_MAX];
    unsigned accepted; /* how often its receiver took the message */
    unsigned doubts;   /* how often a restart found it in doubt: each allows one more */
};

struct ledger {
    struct ledger_row rows[LEDGER_MAX];
    unsigned num;
};

struct ledger_row *ledger_find(struct ledger *ledger, const char *address);

enum simulation_end {
    SIMULATION_EMPTY,   /* nothing is left to be done */
    SIMULATION_TIME_UP, /* made-up time ran out */
    SIMULATION_REFUSED  /* the start failed, as it may; why stands in the log */
};

struct simulation_options {
    const char *config; /* text */
    const char *spool;
    struct ledger *ledger; /* NULL when answer and on_doubt are given */
    /* In the place of the receiver; may end the process, as a kill before the outcome is stored. */
    struct outcome (*answer)(const struct message *message, const char *mailbox, uint32_t attempt,
                             void *ctx);
    /* A start found that recipient in doubt, whose attempts have the number. */
    void (*on_doubt)(const char *address, uint32_t attempts, void *ctx);
    int64_t most_ms;                            /* of made-up time */
    void (*on_turn)(int64_t now_ms, void *ctx); /* after each advance of the clock; NULL: none */
    void *ctx;
};

/* Start, work until nothing is left or the time is up, orderly end. */
enum simulation_end simulation_run(const struct simulation_options *options);

/* What the runs wrote to FOLDER/log, indented, on standard output: for a case that failed. */
void simulation_print_log(const char *folder);

/* Made-up time, in microseconds on top of the process's own. To be set back only between runs: the
 * monotonic clock goes with it. */
int64_t simulation_time_us(void);
void simulation_set_time_us(int64_t us);

#endif
