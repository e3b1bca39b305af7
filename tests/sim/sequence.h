/* What the parts of the property test share: the sequence that is played, in memory of all its
 * processes; its steps, what the linker puts in front of the router's calls, and the account. */
#ifndef SLUICE_TESTS_SIM_SEQUENCE_H
#define SLUICE_TESTS_SIM_SEQUENCE_H

#include "tests/sim/model.h"

#define SIM_DAY_MS INT64_C(86400000)
#define SIM_LIFETIME_MS (3 * 3600 * INT64_C(1000)) /* retry.lifetime of each run */

/* How a run ends. */
enum sim_end {
    END_ORDERLY,
    END_KILL,          /* after a turn of the loops */
    END_KILL_IN_DOUBT, /* between an acceptance and the storing of the outcome */
    END_KILL_AT_CALL,  /* before or after a commit, before a sync, a rename or an unlink */
    END_POWER_OFF,     /* there, too */
    NUM_ENDS
};

/* The processes of the runs continue each other's random numbers and time. */
struct sim {
    struct model model;
    uint64_t random;
    int64_t time_us;
    uint64_t steps;
    enum sim_end end;
    unsigned left;     /* turns, recipients served, or calls before it comes */
    bool is_answering; /* a transaction: what is said may not be stored yet */
    bool drains;
    bool has_backup;
    unsigned backup_num; /* mails that it has */
};

extern struct sim *sim;
extern char sim_spool[300], sim_backup[300];
extern bool sim_is_verbose;

/* Steps: steps.c. */
uint64_t sim_draw(uint64_t limit);
void sim_tell(const char *step, unsigned number);
void sim_drop(void);
/* Back only between two runs, so that the time does not step in one. */
void sim_jump(bool may_go_back);
void sim_back_up(void);
void sim_restore(void);

/* Ends this process: calls.c. */
void sim_end_by_kill(void) __attribute__((noreturn));

/* Account: account.c. A report was put into bad/ or hold/, or arrived. */
void sim_read_report(const char *path);
/* False: why says what is not as it must be. */
bool sim_account(char why[MODEL_WHY_MAX]);

#endif
