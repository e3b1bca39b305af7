/* Appending as a worker does, timed one by one. It prints and judges nothing. */
#include "bench/journal/measure.h"

#include "base/check.h"
#include "base/memory.h"

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

static bool append(struct journal *journal, uint64_t id, int which)
{
    static const char path[] = "new/1732444800.M123456P4242.sender.example.com";
    static const struct file_identity identity = {.dev = 1, .ino = 2, .btime_ns = 3, .size = 4};
    static const struct outcome outcome = {
        .kind = OUTCOME_DELIVERED,
        .phase = PHASE_FINAL,
        .code = 250,
        .enhanced = {2, 0, 0},
        .text = "2.0.0 Ok: queued as 4bXk1y2Qz3z1234",
    };
    struct journal_attempt attempt = {
        .number = 1, .wall_ms = 1732444800000, .mx = "mx1.receiver.example.net"};
    uint32_t index = 0;
    if (which == 0)
        return journal_append_intent(journal, id, path, &identity, 1, &index, 1);
    if (which == 1)
        return journal_append_outcome(journal, id, path, &identity, 1732444799000, &attempt, &index,
                                      &outcome, 1);
    return id % KEPT_ONE_IN == 0 || journal_append_removed(journal, id);
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
        for (int which = 0; which < APPENDS; which++)
            CHECK(append(journal, id, which));
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
    const struct latency_options *options;
    uint64_t first_id;
    uint32_t *ns; /* owned */
    size_t num, num_preempted;
    uint32_t preempted_max_ns;
};

static long num_preemptions(void)
{
    struct rusage usage;
    getrusage(RUSAGE_THREAD, &usage);
    return usage.ru_nivcsw;
}

static void append_timed(struct appender *appender, uint64_t id, int which)
{
    long preemptions = num_preemptions();
    uint64_t from = now_ns();
    CHECK(append(appender->journal, id, which));
    uint64_t took = now_ns() - from;
    uint32_t ns = took < UINT32_MAX ? (uint32_t)took : UINT32_MAX;
    if (num_preemptions() == preemptions) {
        appender->ns[appender->num++] = ns;
        return;
    }
    appender->num_preempted++;
    if (ns > appender->preempted_max_ns)
        appender->preempted_max_ns = ns;
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
        for (int which = 0; which < APPENDS; which++)
            append_timed(appender, appender->first_id + i, which);
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

static void collect(struct appender *appenders, unsigned num, struct latencies *out)
{
    for (unsigned i = 0; i < num; i++) {
        struct appender *appender = &appenders[i];
        memcpy(out->ns + out->num, appender->ns, appender->num * sizeof *out->ns);
        out->num += appender->num;
        out->num_preempted += appender->num_preempted;
        if (appender->preempted_max_ns > out->preempted_max_ns)
            out->preempted_max_ns = appender->preempted_max_ns;
        free(appender->ns);
    }
    qsort(out->ns, out->num, sizeof *out->ns, compare);
}

void measure_latency(struct journal *journal, const struct latency_options *options,
                     uint64_t first_id, struct latencies *out)
{
    struct committer committer = {.journal = journal, .options = options};
    struct appender *appenders = mem_zalloc(options->num_threads, sizeof *appenders);
    size_t each = (size_t)options->num_messages * APPENDS;
    *out = (struct latencies){.ns = mem_zalloc(each * options->num_threads, sizeof *out->ns)};
    CHECK(pthread_create(&committer.thread, NULL, run_committer, &committer) == 0);
    for (unsigned i = 0; i < options->num_threads; i++) {
        appenders[i] = (struct appender){.journal = journal,
                                         .options = options,
                                         .first_id = first_id + (uint64_t)i * options->num_messages,
                                         .ns = mem_zalloc(each, sizeof *out->ns)};
        /* Touched now: a page fault of the bench is none of the journal's. */
        memset(appenders[i].ns, 1, each * sizeof *out->ns);
        CHECK(pthread_create(&appenders[i].thread, NULL, run_appender, &appenders[i]) == 0);
    }
    for (unsigned i = 0; i < options->num_threads; i++)
        pthread_join(appenders[i].thread, NULL);
    atomic_store(&committer.stop, true);
    pthread_join(committer.thread, NULL);
    collect(appenders, options->num_threads, out);
    out->num_commits = committer.num;
    out->commit_max_us = committer.max_us;
    free(appenders);
}
