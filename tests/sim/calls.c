/* What the linker puts in front of the router's calls (--wrap): the model hears of commits, the
 * disk of syncs, random numbers are drawn from the seed; and a run may end at any of them. */
#include "queue/journal.h"
#include "tests/fault/simulation.h"
#include "tests/sim/disk.h"
#include "tests/sim/sequence.h"

#include <stdio.h>
#include <sys/types.h>
#include <unistd.h>

void sim_end_by_kill(void)
{
    sim->time_us = simulation_time_us();
    fflush(stdout);
    _exit(0);
}

static void on_call(void)
{
    bool by_calls = sim->end == END_KILL_AT_CALL || sim->end == END_POWER_OFF;
    if (sim->drains || !by_calls || --sim->left)
        return;
    if (!sim->is_answering)
        model_store(&sim->model);
    if (sim->end == END_POWER_OFF) {
        disk_power_off(sim_spool, sim_draw);
        model_power_off(&sim->model);
    }
    sim_end_by_kill();
}

/* The linker puts these in the place of the functions without __wrap_. */
int __real_journal_commit(struct journal *journal);
int __wrap_journal_commit(struct journal *journal);
int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);
int __real_fsync(int fd);
int __wrap_fsync(int fd);
int __real_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags);
int __real_unlinkat(int fd, const char *name, int flags);
int __wrap_unlinkat(int fd, const char *name, int flags);
ssize_t __wrap_getrandom(void *out, size_t len, unsigned flags);

/* All transactions have ended: workers hand on what they stored. */
int __wrap_journal_commit(struct journal *journal)
{
    sim->is_answering = false;
    on_call();
    model_store(&sim->model);
    int result = __real_journal_commit(journal);
    if (result == 0)
        model_commit(&sim->model);
    on_call();
    return result;
}

int __wrap_fdatasync(int fd)
{
    on_call();
    int result = __real_fdatasync(fd);
    if (result == 0)
        disk_note_sync(fd);
    return result;
}

int __wrap_fsync(int fd)
{
    on_call();
    return __real_fsync(fd);
}

int __wrap_renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    on_call();
    return __real_renameat2(from_fd, from, to_fd, to, flags);
}

int __wrap_unlinkat(int fd, const char *name, int flags)
{
    on_call();
    return __real_unlinkat(fd, name, flags);
}

/* Waits and salts, too, are the same for the same seed. */
ssize_t __wrap_getrandom(void *out, size_t len, unsigned flags)
{
    uint8_t *octets = out;
    (void)flags;
    for (size_t i = 0; i < len; i++)
        octets[i] = (uint8_t)sim_draw(256);
    return (ssize_t)len;
}
