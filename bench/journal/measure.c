/* Appending as a worker does, timed one by one. It prints and judges nothing. */
#include "bench/journal/measure.h"

#include "base/check.h"
#include "base/memory.h"
#include "bench/journal/baseline.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

/* Under jemalloc only. */
__attribute__((weak)) int mallctl(const char *name, void *old, size_t *old_len, void *new,
                                  size_t new_len);

enum { APPENDS = 3, BURST = 8 };

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static const char path[] = "new/1732444800.M123456P4242.sender.example.com";
static const char mx[] = "mx1.receiver.example.net";
static const struct file_identity identity = {.dev = 1, .ino = 2, .btime_ns = 3, .size = 4};
static const struct outcome outcome = {
    .kind = OUTCOME_DELIVERED,
    .phase = PHASE_FINAL,
    .code = 250,
    .enhanced = {2, 0, 0},
    .text = "2.0.0 Ok: queued as 4bXk1y2Qz3z1234",
};
static const uint32_t first_index = 0;
enum { WALL_MS_ARRIVED = 1732444799, WALL_MS_ATTEMPTED = 1732444800 };

static bool append(struct journal *journal, uint64_t id, enum journal_kind kind)
{
    struct journal_attempt attempt = {.number = 1, .wall_ms = WALL_MS_ATTEMPTED, .mx = mx};
    if (kind == JOURNAL_INTENT)
        return journal_append_intent(journal, id, path, &identity, 1, &first_index, 1);
    if (kind == JOURNAL_OUTCOME)
        return journal_append_outcome(journal, id, path, &identity, WALL_MS_ARRIVED, &attempt,
                                      &first_index, &outcome, 1);
    return journal_append_removed(journal, id);
}

static void append_twin(struct baseline *baseline, uint64_t id, enum journal_kind kind)
{
    struct journal_record record = {.kind = kind, .id = id};
    if (kind != JOURNAL_REMOVED) {
        record.identity = identity;
        record.attempt = 1;
        record.num = 1;
        record.indexes = &first_index;
        record.path = path;
        record.path_len = strlen(path);
    }
    if (kind == JOURNAL_OUTCOME) {
        record.arrived_wall_ms = WALL_MS_ARRIVED;
        record.attempted_wall_ms = WALL_MS_ATTEMPTED;
        record.mx = bytes_of(mx);
        record.outcomes = &outcome;
    }
    baseline_store(baseline, &record);
}

/* What a message takes, in order; those that stay are not removed. */
static const enum journal_kind kinds[] = {JOURNAL_INTENT, JOURNAL_OUTCOME, JOURNAL_REMOVED};

static size_t num_kinds(uint64_t id)
{
    return id % KEPT_ONE_IN == 0 ? APPENDS - 1 : APPENDS;
}

static uint64_t *allocated_counter(void)
{
    uint64_t *counter = NULL;
    size_t len = sizeof counter;
    return mallctl && mallctl("thread.allocatedp", &counter, &len, NULL, 0) == 0 ? counter : NULL;
}

static double us_between(const struct timeval *from, const struct timeval *to)
{
    return (double)(to->tv_sec - from->tv_sec) * 1e6 + (double)(to->tv_usec - from->tv_usec);
}

struct cost measure_cost(struct journal *journal, uint64_t first_id, unsigned num)
{
    struct rusage before, after;
    const uint64_t *counter = allocated_counter();
    uint64_t allocated = counter ? *counter : 0;
    getrusage(RUSAGE_THREAD, &before);
    for (uint64_t id = first_id; id < first_id + num; id++)
        for (size_t i = 0; i < num_kinds(id); i++)
            CHECK(append(journal, id, kinds[i]));
    getrusage(RUSAGE_THREAD, &after);
    return (struct cost){
        .user_us = us_between(&before.ru_utime, &after.ru_utime) / num,
        .system_us = us_between(&before.ru_stime, &after.ru_stime) / num,
        .allocated = counter ? (double)(*counter - allocated) / num : -1,
    };
}

struct appender {
    pthread_t thread;
    struct journal *journal;
    struct baseline *baseline;
    const struct latency_options *options;
    uint64_t first_id;
    struct latencies to_journal, to_baseline;
};

static long num_preemptions(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static void note(struct latencies *latencies, uint64_t from_ns, long preemptions)
{
    uint64_t took = now_ns() - from_ns;
    uint32_t ns = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    if (num_preemptions() == preemptions) {
        latencies->ns[latencies->num++] = ns;
        return;
    }
    latencies->num_preempted++;
    if (ns > latencies->preempted_max_ns)
        latencies->preempted_max_ns = ns;
}

static void append_timed(struct appender *appender, uint64_t id, enum journal_kind kind)
{
    long preemptions = num_preemptions();
    uint64_t from = now_ns();
    append_twin(appender->baseline, id, kind);
    note(&appender->to_baseline, from, preemptions);
    preemptions = num_preemptions();
    from = now_ns();
    CHECK(append(appender->journal, id, kind));
    note(&appender->to_journal, from, preemptions);
}

static void sleep_until(uint64_t at_ns)
{
    struct timespec at = {.tv_sec = (time_t)(at_ns / 1000000000),
                          .tv_nsec = (long)(at_ns % 1000000000)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
        ;
}

static void *run_appender(void *ctx)
{
    struct appender *appender = ctx;
    const struct latency_options *options = appender->options;
    uint64_t start = now_ns();
    for (unsigned i = 0; i < options->num_messages; i++) {
        if (options->rate && i % BURST == 0)
            sleep_until(start + (uint64_t)i * 1000000000 / options->rate);
        uint64_t id = appender->first_id + i;
        for (size_t kind = 0; kind < num_kinds(id); kind++)
            append_timed(appender, id, kinds[kind]);
    }
    return NULL;
}

struct committer {
    pthread_t thread;
    struct journal *journal;
    const struct latency_options *options;
    _Atomic bool stop;
    unsigned num;
    uint32_t max_us;
};

static void *run_committer(void *ctx)
{
    struct committer *committer = ctx;
    while (!atomic_load(&committer->stop)) {
        uint64_t from = now_ns();
        CHECK(journal_commit(committer->journal) == 0);
        uint64_t until = now_ns(), us = (until - from) / 1000;
        committer->num++;
        if (us > committer->max_us)
            committer->max_us = (uint32_t)us;
        sleep_until(until + (uint64_t)committer->options->commit_ms * 1000000);
    }
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const uint32_t *x = a, *y = b;
    return *x < *y ? -1 : *x > *y;
}

static void latencies_init(struct latencies *latencies, size_t max)
{
    *latencies = (struct latencies){.ns = mem_zalloc(max, sizeof *latencies->ns)};
    /* Touched now: a page fault of the bench is none of the journal's. */
    memset(latencies->ns, 1, max * sizeof *latencies->ns);
}

static void move_to(struct latencies *out, struct latencies *from)
{
    memcpy(out->ns + out->num, from->ns, from->num * sizeof *out->ns);
    out->num += from->num;
    out->num_preempted += from->num_preempted;
    if (from->preempted_max_ns > out->preempted_max_ns)
        out->preempted_max_ns = from->preempted_max_ns;
    free(from->ns);
}

static void collect(struct appender *appenders, unsigned num, struct measured *out)
{
    for (unsigned i = 0; i < num; i++) {
        move_to(&out->journal, &appenders[i].to_journal);
        move_to(&out->baseline, &appenders[i].to_baseline);
    }
    qsort(out->journal.ns, out->journal.num, sizeof *out->journal.ns, compare);
    qsort(out->baseline.ns, out->baseline.num, sizeof *out->baseline.ns, compare);
}

static void run_threads(struct journal *journal, const struct latency_options *options,
                        uint64_t first_id, struct appender *appenders)
{
    struct baseline baseline;
    baseline_init(&baseline);
    for (unsigned i = 0; i < options->num_threads; i++) {
        appenders[i] =
            (struct appender){.journal = journal,
                              .baseline = &baseline,
                              .options = options,
                              .first_id = first_id + (uint64_t)i * options->num_messages};
        latencies_init(&appenders[i].to_journal, (size_t)options->num_messages * APPENDS);
        latencies_init(&appenders[i].to_baseline, (size_t)options->num_messages * APPENDS);
        CHECK(pthread_create(&appenders[i].thread, NULL, run_appender, &appenders[i]) == 0);
    }
    for (unsigned i = 0; i < options->num_threads; i++)
        pthread_join(appenders[i].thread, NULL);
    baseline_fini(&baseline);
}

void measure_latency(struct journal *journal, const struct latency_options *options,
                     uint64_t first_id, struct measured *out)
{
    struct committer committer = {.journal = journal, .options = options};
    struct appender *appenders = mem_zalloc(options->num_threads, sizeof *appenders);
    size_t max = (size_t)options->num_messages * APPENDS * options->num_threads;
    *out = (struct measured){0};
    latencies_init(&out->journal, max);
    latencies_init(&out->baseline, max);
    CHECK(pthread_create(&committer.thread, NULL, run_committer, &committer) == 0);
    run_threads(journal, options, first_id, appenders);
    atomic_store(&committer.stop, true);
    pthread_join(committer.thread, NULL);
    collect(appenders, options->num_threads, out);
    out->num_commits = committer.num;
    out->commit_max_us = committer.max_us;
    free(appenders);
}

void measured_fini(struct measured *measured)
{
    free(measured->journal.ns);
    free(measured->baseline.ns);
}
