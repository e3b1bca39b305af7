/* The loop over cuts and subsets; children do the work, so that a crash or a hang is a result. */
#include "tests/powercut/check.h"

#include "base/check.h"
#include "base/memory.h"
#include "tests/powercut/judge.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STATE_LIMIT_S = 60, FAILURES_SHOWN = 5 };

/* Shared with the parent. */
struct progress {
    size_t cut;
    unsigned subset;
    bool draining;
    unsigned long num_cuts, num_states, num_drains, num_failures;
};

struct work {
    const struct events *events;
    const struct run_options *run;
    const struct check_options *options;
    const char *path;
    struct model model;
    struct ledger ledger;
    struct progress *progress;
};

static void print_command(const struct work *work, size_t cut, unsigned subset)
{
    fprintf(stderr, "  again: powercut check %s --order=%s --seed=%llu --cut=%zu --subset=%u%s\n",
            work->path, work->options->order == MODEL_ORDERED ? "ordered" : "folders",
            (unsigned long long)work->options->seed, cut, subset,
            work->progress->draining ? " --drain-every=1" : "");
}

static void report(const struct work *work, size_t cut, unsigned subset, const char *why)
{
    char text[700] = "the beginning";
    if (++work->progress->num_failures > FAILURES_SHOWN)
        return;
    if (cut > 0)
        event_describe(&work->events->items[cut - 1], text);
    fprintf(stderr, "FAILED cut %zu subset %u%s: %s\n  after: %s\n", cut, subset,
            work->progress->draining ? " (drained)" : "", why, text);
    print_command(work, cut, subset);
}

static void check_state(struct work *work, size_t cut, unsigned subset)
{
    const struct check_options *options = work->options;
    struct progress *progress = work->progress;
    struct disk disk;
    char why[JUDGE_WHY_MAX] = "";
    bool drains =
        options->drain_every && (cut * 31 + subset * 7 + options->seed) % options->drain_every == 0;
    progress->cut = cut;
    progress->subset = subset;
    progress->draining = false;
    alarm(STATE_LIMIT_S);
    model_build(&work->model, subset, options->seed, &disk);
    if (options->keep && !disk_export(&disk, options->keep))
        fprintf(stderr, "cannot write to %s\n", options->keep);
    if (!judge_recovery(&disk, &work->ledger, work->run, why))
        report(work, cut, subset, why);
    progress->num_states++;
    disk_fini(&disk);
    if (!drains)
        return;
    progress->draining = true;
    model_build(&work->model, subset, options->seed, &disk);
    if (!judge_drain(&disk, &work->ledger, work->run, why))
        report(work, cut, subset, why);
    progress->num_drains++;
    disk_fini(&disk);
}

/* Of the subsets that lack a single page: half of them the newest pages, which the cut is about,
 * the rest in turn from cut to cut. */
static bool is_wanted(const struct work *work, size_t cut, unsigned subset)
{
    unsigned num_fixed = model_num_fixed(&work->model), most = work->options->num_singles;
    unsigned num = num_fixed > MODEL_CORNERS ? num_fixed - MODEL_CORNERS : 0;
    if (most == 0 || num <= most || subset < MODEL_CORNERS || subset >= num_fixed)
        return true;
    unsigned page = subset - MODEL_CORNERS, stride = num / (most / 2 + 1) + 1;
    return page >= num - most / 2 || page % stride == cut % stride;
}

static void check_cut(struct work *work, size_t cut)
{
    const struct check_options *options = work->options;
    unsigned num = model_num_fixed(&work->model);
    if (num > MODEL_MOST)
        num += options->num_random;
    work->progress->num_cuts++;
    if (options->only_subset != CHECK_ALL) {
        check_state(work, cut, (unsigned)options->only_subset);
        return;
    }
    for (unsigned subset = 0; subset < num; subset++)
        if (is_wanted(work, cut, subset))
            check_state(work, cut, subset);
}

/* What lies before a kill or a cut was checked in the recording that this one goes on from. */
static size_t first_cut(const struct events *events)
{
    size_t first = events->num;
    while (first > 0 && events->items[first - 1].kind != EVENT_KILLED &&
           events->items[first - 1].kind != EVENT_POWER_CUT)
        first--;
    return first;
}

static void check_all(struct work *work, unsigned process)
{
    const struct check_options *options = work->options;
    bool moved = true;
    size_t first = first_cut(work->events);
    model_init(&work->model, work->events, options->order);
    ledger_init(&work->ledger, work->run->num_messages);
    record_init();
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    mallopt(M_TOP_PAD, 16 << 20);
    mallopt(M_MMAP_THRESHOLD, 1 << 30);
    for (size_t cut = 0; cut <= work->events->num; cut++) {
        if (moved)
            ledger_promise(&work->ledger, &work->model.durable);
        if (options->only_cut == CHECK_ALL ? cut >= first && cut % options->num_processes == process
                                           : (size_t)options->only_cut == cut)
            check_cut(work, cut);
        if (cut == work->events->num)
            break;
        ledger_add(&work->ledger, &work->events->items[cut], cut);
        moved = model_step(&work->model);
    }
    model_fini(&work->model);
    ledger_fini(&work->ledger);
}

static bool await(const struct work *work, pid_t pid)
{
    const struct progress *progress = work->progress;
    int status;
    CHECK(waitpid(pid, &status, 0) == pid);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return true;
    fprintf(stderr, "FAILED cut %zu subset %u%s: recovery %s (%d)\n", progress->cut,
            progress->subset, progress->draining ? " (drained)" : "",
            WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM ? "hangs" : "crashed",
            WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
    print_command(work, progress->cut, progress->subset);
    return false;
}

bool check_recording(const struct events *events, const struct run_options *run,
                     const struct check_options *options, const char *path)
{
    unsigned num = options->only_cut == CHECK_ALL ? options->num_processes : 1;
    struct progress *progress = mmap(NULL, num * sizeof *progress, PROT_READ | PROT_WRITE,
                                     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct work work = {.events = events, .run = run, .options = options, .path = path};
    struct progress sum = {0};
    pid_t *pids = mem_zalloc(num, sizeof *pids);
    bool ok = true;
    CHECK(progress != MAP_FAILED);
    fflush(NULL);
    for (unsigned i = 0; i < num; i++) {
        work.progress = &progress[i];
        pids[i] = fork();
        CHECK(pids[i] >= 0);
        if (pids[i] == 0) {
            check_all(&work, i);
            fflush(NULL);
            _exit(0);
        }
    }
    for (unsigned i = 0; i < num; i++) {
        work.progress = &progress[i];
        ok &= await(&work, pids[i]);
        sum.num_cuts += progress[i].num_cuts;
        sum.num_states += progress[i].num_states;
        sum.num_drains += progress[i].num_drains;
        sum.num_failures += progress[i].num_failures;
    }
    printf("%s %s, %s: %zu events, %lu cuts, %lu disks recovered, %lu drained, %lu failures\n",
           run->durability, run->in_doubt,
           options->order == MODEL_ORDERED ? "ordered names" : "names by folder", events->num,
           sum.num_cuts, sum.num_states, sum.num_drains, sum.num_failures);
    munmap(progress, num * sizeof *progress);
    free(pids);
    return ok && sum.num_failures == 0;
}
