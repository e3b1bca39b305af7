/* Every fallible call of the queue fails once with each plausible error; then all mail is accounted
 * for. See README.md.
 *
 *   fault_test [--all] [--jobs N] [FUNCTION [INDEX ERRNO]]
 *
 * The cases are not listed anywhere: a first run counts how often each function is called, and each
 * of these calls fails in a run of its own (in the short form every one of the first calls, then a
 * sample). Besides, conditions that begin at some call and last: a full disk, one that gives I/O
 * errors, a read-only one, no descriptors. Each run is a process: a signal, a leak (under
 * AddressSanitizer), a hang or a wrong account is a failure, with the command that repeats it. */
#include "base/log.h"
#include "tests/fault/interpose.h"
#include "tests/fault/simulation.h"

#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum {
    FIRST_RUN_MS = 3000,   /* of made-up time: then a restart, with mail deferred */
    MOST_MS = 30 * 60000,  /* until all must be done */
    HEAL_AFTER_MS = 20000, /* how long a condition lasts */
    STARTS_MAX = 4,        /* refusals to start that a supervisor would answer */
    HANG_S = 120,
    CRASH_AFTER_TURNS = 6,
    SHORT_FIRST = 12,
    SHORT_SAMPLES = 10, /* calls of a function that fail in the short form */
    CONDITIONS_SHORT = 12,
    NUM_SMALL = 10,
    NUM_LARGE = 90
};

static const char config[] = "hostname = \"sender.test\"\n"
                             "workers = 1\n"
                             "pickup { settle = \"0s\" scan_interval = \"5s\" }\n"
                             "queue { content_inline_max = \"2K\" }\n"
                             "retry { minimum = \"2s\" maximum = \"4s\" }\n";

struct shared {
    struct fault_state fault;
    struct ledger ledger;
    unsigned runs, failures;
};

static struct shared *shared;
static char folder[256], spool[300];
static bool all;

/* ---- the mail ---- */

struct mail {
    const char *name, *sender, *recipients[4];
    size_t body_len;
};

static const struct mail mails[] = {
    {"new/plain", "snd.a@o.test", {"ok.a@d1.test"}, 40},
    {"new/two", "snd.b@o.test", {"later.b@d1.test", "ok.b@d1.test"}, 40},
    {"new/bounced", "snd.c@o.test", {"no.c@d1.test"}, 40},
    {"new/mixed", "snd.d@o.test", {"ok.d@d1.test", "no.d@d2.test", "later.d@d3.test"}, 40},
    {"new/streamed", "snd.e@o.test", {"ok.e@d1.test", "later.e@d2.test"}, 9000},
    {"new/null", "", {"no.f@d1.test"}, 40},
    {"new/sub/below", "snd.g@o.test", {"ok.g@d1.test"}, 40},
};
enum { NUM_MAILS = sizeof mails / sizeof *mails };

static void fail_hard(const char *what)
{
    perror(what);
    exit(2);
}

static void drop(const struct mail *mail)
{
    char path[600];
    snprintf(path, sizeof path, "%s/%s", spool, mail->name);
    FILE *file = fopen(path, "w");
    if (!file)
        fail_hard(path);
    fprintf(file, "X-Sender: <%s>\n", mail->sender);
    for (size_t i = 0; i < 4 && mail->recipients[i]; i++)
        fprintf(file, "X-Receiver: <%s>\n", mail->recipients[i]);
    fprintf(file, "Subject: %s\n\n", mail->name);
    for (size_t i = 0; i < mail->body_len; i++)
        fputc(i % 60 == 59 ? '\n' : 'x', file);
    fclose(file);
}

static void make_spool(unsigned num_filling)
{
    static const char *const folders[] = {"", "/new", "/new/sub", "/tmp"};
    char path[600];
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        snprintf(path, sizeof path, "%s%s", spool, folders[i]);
        if (mkdir(path, 0700) != 0)
            fail_hard(path);
    }
    for (size_t i = 0; i < NUM_MAILS; i++)
        drop(&mails[i]);
    for (unsigned i = 0; i < num_filling; i++) {
        char name[32], recipient[32];
        snprintf(name, sizeof name, "new/fill%u", i);
        snprintf(recipient, sizeof recipient, "%s.%u@d1.test", i % 8 ? "ok" : "later", i);
        drop(&(struct mail){name, "snd.z@o.test", {recipient}, 40});
    }
    snprintf(path, sizeof path, "%s/new/no-envelope", spool);
    FILE *file = fopen(path, "w");
    if (!file || fputs("Subject: nobody\n\n", file) < 0 || fclose(file) != 0)
        fail_hard(path);
    snprintf(path, sizeof path, "%s/new/link", spool);
    if (symlink("/etc/passwd", path) != 0)
        fail_hard(path);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

static void remove_spool(void)
{
    nftw(spool, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- a run ---- */

static int64_t condition_began_ms;

/* In the middle of things: after that many turns the first process ends as by SIGKILL. */
static unsigned turns_to_crash;

static void on_turn(int64_t now_ms, void *ctx)
{
    (void)ctx;
    if (turns_to_crash && --turns_to_crash == 0)
        _exit(0);
    struct fault_state *fault = &shared->fault;
    if (fault->kind != FAULT_FROM || !fault->fired)
        return;
    if (condition_began_ms < 0 || condition_began_ms > now_ms)
        condition_began_ms = now_ms;
    if (now_ms - condition_began_ms > HEAL_AFTER_MS)
        fault->kind = FAULT_NONE;
}

/* A supervisor starts it again when it refused to start; a condition is mended by then. */
static enum simulation_end run_supervised(int64_t most_ms)
{
    const struct simulation_options options = {.config = config,
                                               .spool = spool,
                                               .ledger = &shared->ledger,
                                               .most_ms = most_ms,
                                               .on_turn = on_turn};
    enum simulation_end end = SIMULATION_REFUSED;
    for (int i = 0; i < STARTS_MAX && end == SIMULATION_REFUSED; i++) {
        if (i == STARTS_MAX - 1)
            shared->fault.kind = FAULT_NONE;
        condition_began_ms = -1;
        shared->fault.armed = true;
        end = simulation_run(&options);
        shared->fault.armed = false;
    }
    return end;
}

enum stage { STAGE_CRASH, STAGE_FAULTS, STAGE_DRAIN };

static void child(enum stage stage)
{
    char path[400];
    snprintf(path, sizeof path, "%s/log", folder);
    if (!freopen(path, "a", stderr))
        fail_hard(path);
    setvbuf(stderr, NULL, _IONBF, 0);
    alarm(HANG_S);
    fault_state = stage == STAGE_DRAIN ? NULL : &shared->fault;
    turns_to_crash = stage == STAGE_CRASH ? CRASH_AFTER_TURNS : 0;
    enum simulation_end end = SIMULATION_TIME_UP;
    if (stage == STAGE_FAULTS)
        (void)run_supervised(FIRST_RUN_MS);
    end = run_supervised(MOST_MS);
    /* exit(), not _exit(): the leak check is done there. */
    exit(end == SIMULATION_EMPTY ? 0 : end == SIMULATION_TIME_UP ? 3 : 4);
}

static bool run_child(enum stage stage, char why[200])
{
    int status = 0;
    fflush(stdout);
    pid_t pid = fork();
    if (pid < 0)
        fail_hard("fork");
    if (pid == 0)
        child(stage);
    if (waitpid(pid, &status, 0) != pid)
        fail_hard("waitpid");
    if (WIFSIGNALED(status))
        snprintf(why, 200, "ended by signal %d%s", WTERMSIG(status),
                 WTERMSIG(status) == SIGALRM ? " (it hung)" : "");
    else if (WEXITSTATUS(status) == 3)
        snprintf(why, 200, "work was left after %d minutes", MOST_MS / 60000);
    else if (WEXITSTATUS(status) == 4)
        snprintf(why, 200, "did not start again after the fault");
    else if (WEXITSTATUS(status) != 0)
        snprintf(why, 200, "exit status %d", WEXITSTATUS(status));
    return status == 0;
}

/* ---- the account ---- */

static bool exists(const char *format, const char *name)
{
    char path[800];
    struct stat st;
    int len = snprintf(path, sizeof path, "%s/", spool);
    snprintf(path + len, sizeof path - (size_t)len, format, name);
    return lstat(path, &st) == 0;
}

/* Under its name or, where a reason was left by a move that failed, its name with a number. */
static bool is_in_bad(const char *name)
{
    char numbered[300];
    for (unsigned i = 1; i < 100; i++) {
        snprintf(numbered, sizeof numbered, i == 1 ? "%s" : "%s.%u", name, i);
        if (exists("bad/%s", numbered))
            return exists("bad/%s.why", numbered);
    }
    return false;
}

static bool file_has(const char *path, const char *words)
{
    char line[600];
    bool found = false;
    FILE *file = fopen(path, "r");
    while (file && !found && fgets(line, sizeof line, file))
        found = strstr(line, words) != NULL;
    if (file)
        fclose(file);
    return found;
}

/* A file that could not be read when its turn came (EACCES) is kept there with its reason, under
 * the name that it had then: no loss. */
static bool receiver_is_in_bad(const char *address)
{
    char path[700], words[100];
    snprintf(path, sizeof path, "%s/bad", spool);
    snprintf(words, sizeof words, "X-Receiver: <%s>", address);
    DIR *dir = opendir(path);
    bool found = false;
    for (struct dirent *entry; dir && !found && (entry = readdir(dir));) {
        snprintf(path, sizeof path, "%s/bad/%s", spool, entry->d_name);
        found = entry->d_name[0] != '.' && file_has(path, words);
    }
    if (dir)
        closedir(dir);
    return found;
}

static bool row_is_right(const char *address, bool wanted, char why[200])
{
    const struct ledger_row *row = ledger_find(&shared->ledger, address);
    unsigned least = wanted, most = wanted + row->doubts;
    if (row->accepted >= least && row->accepted <= most)
        return true;
    if (row->accepted == 0 && receiver_is_in_bad(address))
        return true;
    snprintf(why, 200, "%s: accepted %u times, in doubt %u times, %u wanted", address,
             row->accepted, row->doubts, least);
    return false;
}

static bool mail_is_right(const struct mail *mail, char why[200])
{
    bool bounces = false;
    for (size_t i = 0; i < 4 && mail->recipients[i]; i++) {
        bool refused = strncmp(mail->recipients[i], "no", 2) == 0;
        bounces |= refused;
        if (!row_is_right(mail->recipients[i], !refused, why))
            return false;
    }
    if (!mail->sender[0] && !receiver_is_in_bad(mail->recipients[0])) {
        snprintf(why, 200, "%s: a double bounce belongs in bad/", mail->name);
        return false;
    }
    /* Where the message itself went to bad/ before it was rejected, nobody bounced it. */
    for (size_t i = 0; i < 4 && mail->recipients[i]; i++)
        if (receiver_is_in_bad(mail->recipients[i]))
            return true;
    return row_is_right(mail->sender, bounces, why);
}

static bool folder_is_empty(const char *name, char why[200])
{
    char path[700];
    snprintf(path, sizeof path, "%s/%s", spool, name);
    DIR *dir = opendir(path);
    bool empty = true;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (entry->d_name[0] == '.')
            continue;
        char below[300];
        snprintf(below, sizeof below, "%.20s/%.255s", name, entry->d_name);
        if (entry->d_type == DT_DIR ? folder_is_empty(below, why) : false)
            continue;
        if (entry->d_type != DT_DIR)
            snprintf(why, 200, "%.150s was left behind", below);
        empty = false;
    }
    if (dir)
        closedir(dir);
    return empty;
}

static bool bad_is_explained(char why[200])
{
    char path[400];
    snprintf(path, sizeof path, "%s/bad", spool);
    DIR *dir = opendir(path);
    bool right = true;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        size_t len = strlen(entry->d_name);
        bool is_why = len > 4 && strcmp(entry->d_name + len - 4, ".why") == 0;
        if (entry->d_name[0] == '.' || is_why || exists("bad/%s.why", entry->d_name))
            continue;
        snprintf(why, 200, "bad/%.150s has no reason beside it", entry->d_name);
        right = false;
    }
    if (dir)
        closedir(dir);
    return right;
}

static bool account(unsigned num_filling, char why[200])
{
    for (size_t i = 0; i < NUM_MAILS; i++)
        if (!mail_is_right(&mails[i], why))
            return false;
    for (unsigned i = 0; i < num_filling; i++) {
        char recipient[32];
        snprintf(recipient, sizeof recipient, "%s.%u@d1.test", i % 8 ? "ok" : "later", i);
        if (!row_is_right(recipient, true, why))
            return false;
    }
    if (!is_in_bad("no-envelope") || !is_in_bad("link")) {
        snprintf(why, 200, "a file that is no message is not in bad/");
        return false;
    }
    return folder_is_empty("new", why) && folder_is_empty("deferred", why) &&
           folder_is_empty("hold", why) && bad_is_explained(why);
}

/* ---- the cases ---- */

static const char *error_name(int error)
{
    return error == FAULT_SHORT ? "SHORT" : strerrorname_np(error);
}

/* One run with that fault (NONE: to count), a drain without any, the account. */
static bool run_case(enum fault_kind kind, enum fault_function function, uint64_t index, int error,
                     unsigned num_filling)
{
    char why[200] = "", path[400];
    shared->fault =
        (struct fault_state){.kind = kind, .function = function, .index = index, .error = error};
    memset(&shared->ledger, 0, sizeof shared->ledger);
    snprintf(path, sizeof path, "%s/log", folder);
    unlink(path);
    make_spool(num_filling);
    bool right = run_child(STAGE_CRASH, why) && run_child(STAGE_FAULTS, why) &&
                 run_child(STAGE_DRAIN, why) && account(num_filling, why);
    remove_spool();
    __atomic_add_fetch(&shared->runs, 1, __ATOMIC_RELAXED);
    if (right)
        return true;
    shared->failures++;
    printf("FAILED: %s\n  fault_test %s%s %s %llu %s\n", why,
           num_filling == NUM_LARGE ? "--large " : "", kind == FAULT_FROM ? "from" : "once",
           kind == FAULT_FROM ? "all" : fault_functions[function].name, (unsigned long long)index,
           kind == FAULT_NONE ? "nothing" : error_name(error));
    simulation_print_log(folder);
    return false;
}

struct shard {
    unsigned number, count, next;
};

static bool is_mine(struct shard *shard)
{
    return shard->next++ % shard->count == shard->number;
}

static uint64_t step_after(uint64_t index, uint64_t num)
{
    if (all || index < SHORT_FIRST || num <= SHORT_FIRST)
        return 1;
    uint64_t step = (num - SHORT_FIRST) / SHORT_SAMPLES;
    return step ? step : 1;
}

static void run_function(struct shard *shard, enum fault_function function, uint64_t num,
                         unsigned num_filling)
{
    const struct fault_row *row = &fault_functions[function];
    for (uint64_t index = 1; index <= num; index += step_after(index, num))
        for (int i = 0; i < FAULT_ERRORS_MAX && row->errors[i]; i++)
            if (is_mine(shard))
                (void)run_case(FAULT_ONCE, function, index, row->errors[i], num_filling);
}

static void run_conditions(struct shard *shard, uint64_t total, unsigned num_filling)
{
    static const int errors[] = {ENOSPC, EDQUOT, EIO, EROFS, EMFILE, EACCES};
    uint64_t step = all ? 7 : total / CONDITIONS_SHORT + 1;
    for (uint64_t index = 1; index <= total; index += step)
        for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
            if (is_mine(shard))
                (void)run_case(FAULT_FROM, 0, index, errors[i], num_filling);
}

/* The same cases in every shard, each does its share of them. */
static void run_shard(struct shard *shard, int only, unsigned num_filling)
{
    uint64_t counts[FAULT_NUM];
    if (!run_case(FAULT_NONE, 0, 0, 0, num_filling))
        return;
    memcpy(counts, shared->fault.counts, sizeof counts);
    uint64_t total = shared->fault.total;
    for (int f = 0; f < FAULT_NUM; f++) {
        if (shard->number == 0)
            printf("%-18s called %llu times\n", fault_functions[f].name,
                   (unsigned long long)counts[f]);
        if (only < 0 || only == f)
            run_function(shard, (enum fault_function)f, counts[f], num_filling);
    }
    if (only < 0)
        run_conditions(shard, total, num_filling);
}

static int function_of(const char *name)
{
    for (int f = 0; f < FAULT_NUM; f++)
        if (strcmp(fault_functions[f].name, name) == 0)
            return f;
    fprintf(stderr, "no function %s\n", name);
    exit(64);
}

static int error_of(const char *name)
{
    if (strcmp(name, "SHORT") == 0)
        return FAULT_SHORT;
    for (int error = 1; error < 200; error++)
        if (strerrorname_np(error) && strcmp(strerrorname_np(error), name) == 0)
            return error;
    fprintf(stderr, "no error %s\n", name);
    exit(64);
}

static void prepare_memory_and_folder(void)
{
    const char *base = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED)
        fail_hard("mmap");
    snprintf(folder, sizeof folder, "%s/sluice-fault-XXXXXX", base);
    if (!mkdtemp(folder))
        fail_hard(folder);
    snprintf(spool, sizeof spool, "%s/spool", folder);
    setvbuf(stdout, NULL, _IOLBF, 0);
}

static int finish_shard(void)
{
    char path[400];
    snprintf(path, sizeof path, "%s/log", folder);
    unlink(path);
    rmdir(folder);
    printf("%u runs, %u failures\n", shared->runs, shared->failures);
    return shared->failures != 0;
}

static int run_one(char **words, unsigned num_filling)
{
    bool from = strcmp(words[0], "from") == 0;
    prepare_memory_and_folder();
    bool right = run_case(from ? FAULT_FROM : FAULT_ONCE,
                          from ? 0 : (enum fault_function)function_of(words[1]),
                          strtoull(words[2], NULL, 10), error_of(words[3]), num_filling);
    if (right)
        simulation_print_log(folder);
    return finish_shard();
}

int main(int argc, char **argv)
{
    unsigned jobs = 2, num_filling = NUM_SMALL;
    int only = -1, at = 1, failed = 0;
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "--all") == 0)
            all = true;
        else if (strcmp(argv[at], "--large") == 0)
            num_filling = NUM_LARGE;
        else if (strcmp(argv[at], "--jobs") == 0 && at + 1 < argc)
            jobs = (unsigned)atoi(argv[++at]);
        else
            return 64;
    }
    if (argc - at == 4)
        return run_one(argv + at, num_filling);
    if (argc - at == 1)
        only = function_of(argv[at]);
    for (unsigned i = 0; i < jobs; i++) {
        pid_t pid = fork();
        if (pid < 0)
            fail_hard("fork");
        if (pid == 0) {
            struct shard shard = {.number = i, .count = jobs};
            prepare_memory_and_folder();
            run_shard(&shard, only, num_filling);
            exit(finish_shard());
        }
    }
    for (unsigned i = 0; i < jobs; i++) {
        int status = 0;
        if (wait(&status) < 0 || status != 0)
            failed = 1;
    }
    return failed;
}
