/* Random sequences of drop, deliver, defer, kill, power off at the journal, restore and time jump,
 * against a simple model; see README.md.
 *
 *   property_test [--first SEED] [--sequences N] [--seed SEED] [--verbose]
 *
 * A sequence is a number of runs of the router (each a process, by tests/fault/simulation.c), a
 * drain and the account. One seed gives one sequence; --seed repeats it alone. */
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "tests/fault/simulation.h"
#include "tests/sim/disk.h"
#include "tests/sim/sequence.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    RUNS_MAX = 14,
    TURNS_MAX = 60, /* of a run before it is killed */
    CALLS_MAX = 400,
    HANG_S = 120,
    MINUTE_MS = 60 * 1000
};

static const char *const end_names[NUM_ENDS] = {"stop", "kill", "kill in doubt", "kill at call",
                                                "power off"};

struct sim *sim;
char sim_spool[300], sim_backup[300];
bool sim_is_verbose;
static char folder[256];

/* ---- the receiver ---- */

static struct outcome say(enum outcome_kind kind, uint16_t code)
{
    return (struct outcome){.kind = (uint8_t)kind, .phase = PHASE_FINAL, .code = code};
}

static void note_time(void)
{
    if (clock_wall_us() / 1000 > sim->model.latest_ms)
        sim->model.latest_ms = clock_wall_us() / 1000;
}

/* Those of a transaction are stored when all were answered. */
static void note_transaction(const struct message *message, uint32_t attempt)
{
    static const struct message *last_message;
    static uint32_t last_attempt;
    if (message != last_message || attempt != last_attempt)
        model_store(&sim->model);
    last_message = message;
    last_attempt = attempt;
}

static bool is_accepted(enum fate fate, uint32_t attempt)
{
    return fate == FATE_OK || (fate == FATE_LATER && attempt > 2) ||
           (fate == FATE_LOST && (attempt > 1 || sim_draw(2)));
}

static struct outcome answer(const struct message *message, const char *mailbox, uint32_t attempt,
                             void *ctx)
{
    enum fate fate;
    struct model_mail *mail;
    struct model_row *row = model_find(&sim->model, mailbox, &fate, &mail);
    (void)ctx;
    CHECK(row);
    note_time();
    note_transaction(message, attempt);
    sim->is_answering = true;
    model_try(&sim->model, mailbox, attempt);
    bool accepted = is_accepted(fate, attempt), lost = fate == FATE_LOST && attempt == 1;
    struct outcome outcome = accepted          ? say(OUTCOME_DELIVERED, 250)
                             : fate == FATE_NO ? say(OUTCOME_BOUNCED, 550)
                                               : say(OUTCOME_DEFERRED, 450);
    if (accepted && row == &mail->sender_row)
        sim_read_report(message->path);
    if (lost) {
        outcome = say(OUTCOME_DEFERRED, 0);
        outcome.in_doubt = true;
        model_doubt(row, attempt);
    }
    if (sim_is_verbose)
        printf("    try %s %u: %u%s\n", mailbox, attempt, outcome.code,
               sim->model.fault[0] ? " FAULT" : "");
    model_answer(row, !lost && outcome.kind != OUTCOME_DEFERRED, accepted);
    if (!sim->drains && sim->end == END_KILL_IN_DOUBT && --sim->left == 0)
        sim_end_by_kill();
    return outcome;
}

static void on_doubt(const char *address, uint32_t attempts, void *ctx)
{
    struct model_row *row = model_find(&sim->model, address, NULL, NULL);
    (void)ctx;
    if (row)
        model_doubt(row, attempts);
}

/* ---- runs ---- */

static void on_turn(int64_t now_ms, void *ctx)
{
    (void)now_ms;
    (void)ctx;
    model_store(&sim->model);
    sim->is_answering = false;
    note_time();
    if (sim->drains)
        return;
    if (sim_draw(8) == 0)
        sim_drop();
    if (sim_draw(40) == 0)
        sim_jump(false);
    if (sim->end == END_KILL && --sim->left == 0)
        sim_end_by_kill();
}

static void run(void)
{
    char config[600], log[400];
    snprintf(config, sizeof config,
             "hostname = \"sender.test\"\nworkers = 1\n"
             "pickup { settle = \"0s\" scan_interval = \"30m\" }\n"
             "queue { content_inline_max = \"2K\" in_doubt = \"%s\" }\n"
             "retry { minimum = \"30s\" maximum = \"10m\" lifetime = \"3h\" }\n",
             sim->model.holds ? "hold" : "retry");
    struct simulation_options options = {
        .config = config,
        .spool = sim_spool,
        .answer = answer,
        .on_doubt = on_doubt,
        .on_turn = on_turn,
        /* An orderly end comes after a while of made-up time; a drain may take days. */
        .most_ms = sim->drains               ? 30 * SIM_DAY_MS
                   : sim->end == END_ORDERLY ? (int64_t)sim_draw(10 * MINUTE_MS)
                                             : SIM_DAY_MS,
    };
    snprintf(log, sizeof log, "%s/log", folder);
    CHECK(freopen(log, "a", stderr));
    alarm(HANG_S);
    simulation_set_time_us(sim->time_us);
    enum simulation_end end = simulation_run(&options);
    sim->time_us = simulation_time_us();
    fflush(stdout);
    exit(end == SIMULATION_REFUSED ? 4 : sim->drains && end != SIMULATION_EMPTY ? 3 : 0);
}

static bool run_process(char why[MODEL_WHY_MAX])
{
    int status;
    fflush(stdout);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0)
        run();
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFSIGNALED(status))
        snprintf(why, MODEL_WHY_MAX, "ended by signal %d", WTERMSIG(status));
    else if (status)
        snprintf(why, MODEL_WHY_MAX, "%s",
                 WEXITSTATUS(status) == 4   ? "did not start"
                 : WEXITSTATUS(status) == 3 ? "work was left at the end"
                                            : "exit status not 0");
    return status == 0;
}

/* ---- sequences ---- */

static void make_spool(void)
{
    char path[400];
    CHECK(mkdir(sim_spool, 0700) == 0);
    snprintf(path, sizeof path, "%s/new", sim_spool);
    CHECK(mkdir(path, 0700) == 0);
    snprintf(path, sizeof path, "%s/tmp", sim_spool);
    CHECK(mkdir(path, 0700) == 0);
}

static bool play(char why[MODEL_WHY_MAX])
{
    unsigned num_runs = 1 + (unsigned)sim_draw(RUNS_MAX);
    sim->model.holds = sim_draw(3) == 0;
    sim->model.lifetime_ms = SIM_LIFETIME_MS;
    for (unsigned i = 0; i < num_runs; i++) {
        sim_drop();
        sim->end = (enum sim_end)sim_draw(NUM_ENDS);
        sim->left = 1 + (unsigned)sim_draw(TURNS_MAX);
        if (sim->end == END_KILL_IN_DOUBT)
            sim->left = 1 + sim->left / 4;
        if (sim->end == END_KILL_AT_CALL || sim->end == END_POWER_OFF)
            sim->left = 1 + (unsigned)sim_draw(CALLS_MAX);
        sim_tell(end_names[sim->end], sim->left);
        if (!run_process(why))
            return false;
        model_kill(&sim->model);
        sim->is_answering = false;
        simulation_set_time_us(sim->time_us);
        if (sim_draw(3) == 0)
            sim_jump(true);
        sim->time_us = simulation_time_us();
        if (sim_draw(6) == 0)
            sim_back_up();
        else if (sim->has_backup && sim_draw(6) == 0)
            sim_restore();
    }
    sim->drains = true;
    sim_tell("drain", 0);
    return run_process(why) && sim_account(why);
}

static bool run_sequence(uint64_t seed, uint64_t *steps, bool keep)
{
    char why[MODEL_WHY_MAX] = "", log[400];
    memset(sim, 0, sizeof *sim);
    disk_forget();
    simulation_set_time_us(0);
    sim->random = (seed + 1) * UINT64_C(0x9e3779b97f4a7c15);
    snprintf(log, sizeof log, "%s/log", folder);
    unlink(log);
    make_spool();
    bool right = play(why);
    *steps += sim->steps;
    if (!right) {
        printf("FAILED: %s\n  property_test --seed %llu --verbose\n", why,
               (unsigned long long)seed);
        if (sim_is_verbose)
            simulation_print_log(folder);
    }
    if (keep) {
        printf("kept: %s\n", folder);
        return right;
    }
    disk_remove(sim_spool);
    disk_remove(sim_backup);
    unlink(log);
    return right;
}

static void prepare(void)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    sim = mmap(NULL, sizeof *sim, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(sim != MAP_FAILED);
    disk_init();
    snprintf(folder, sizeof folder, "%s/sluice-sim-XXXXXX", base);
    CHECK(mkdtemp(folder));
    snprintf(sim_spool, sizeof sim_spool, "%s/spool", folder);
    snprintf(sim_backup, sizeof sim_backup, "%s/backup", folder);
}

int main(int argc, char **argv)
{
    uint64_t sequences = 1000, first = 1, steps = 0, failures = 0, i = 0;
    bool one = false, keep = false;
    for (int at = 1; at < argc; at++) {
        if (strcmp(argv[at], "--verbose") == 0)
            sim_is_verbose = true;
        else if (strcmp(argv[at], "--keep") == 0)
            keep = true;
        else if (strcmp(argv[at], "--sequences") == 0 && at + 1 < argc)
            sequences = strtoull(argv[++at], NULL, 10);
        else if (strcmp(argv[at], "--first") == 0 && at + 1 < argc)
            first = strtoull(argv[++at], NULL, 10);
        else if (strcmp(argv[at], "--seed") == 0 && at + 1 < argc) {
            first = strtoull(argv[++at], NULL, 10);
            one = true;
        } else
            return 64;
    }
    prepare();
    /* All processes count from here. */
    (void)clock_mono_us();
    (void)clock_wall_us();
    do
        failures += !run_sequence(first + i, &steps, one && keep);
    while (++i < sequences && !one);
    if (!keep)
        rmdir(folder);
    printf("%llu sequences, %llu steps, %llu failures\n", (unsigned long long)i,
           (unsigned long long)steps, (unsigned long long)failures);
    return failures != 0;
}
