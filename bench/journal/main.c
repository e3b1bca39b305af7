/* bench-journal: cost and latency of appending to a journal in a given folder. docs/journal.md says
 * how it is run and what it showed. This file is the command line and what is printed. */
#include "base/check.h"
#include "base/log.h"
#include "bench/journal/measure.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { EXIT_USAGE = 64, FIRST_ID = KEPT_ONE_IN + 1 };

struct arguments {
    struct latency_options latency;
    unsigned num_cost;
    bool tiny;
    const char *folder;
};

static int usage(void)
{
    fputs("usage: bench-journal [--threads=N] [--messages=N] [--rate=N] [--commit-ms=N]\n"
          "                     [--cost=N] [--tiny] FOLDER\n",
          stderr);
    return EXIT_USAGE;
}

static bool parse(int argc, char **argv, struct arguments *out)
{
    enum { THREADS = 256, MESSAGES, RATE, COMMIT_MS, COST, TINY };
    static const struct option options[] = {
        {"threads", required_argument, NULL, THREADS},
        {"messages", required_argument, NULL, MESSAGES},
        {"rate", required_argument, NULL, RATE},
        {"commit-ms", required_argument, NULL, COMMIT_MS},
        {"cost", required_argument, NULL, COST},
        {"tiny", no_argument, NULL, TINY},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        unsigned number = optarg ? (unsigned)strtoul(optarg, NULL, 10) : 0;
        if (c == THREADS)
            out->latency.num_threads = number;
        else if (c == MESSAGES)
            out->latency.num_messages = number;
        else if (c == RATE)
            out->latency.rate = number;
        else if (c == COMMIT_MS)
            out->latency.commit_ms = number;
        else if (c == COST)
            out->num_cost = number;
        else if (c == TINY)
            out->tiny = true;
        else
            return false;
    }
    if (out->tiny) {
        out->latency.num_messages = 3000;
        out->num_cost = 3000;
    }
    out->folder = argv[optind];
    return optind == argc - 1 && out->latency.num_threads > 0 && out->num_cost > 0;
}

static double percentile_us(const struct latencies *latencies, double part)
{
    size_t at = (size_t)((double)latencies->num * part);
    return latencies->num ? latencies->ns[at < latencies->num ? at : latencies->num - 1] / 1e3 : 0;
}

static void print_latencies(const char *what, const struct latencies *latencies)
{
    printf(
        "%-10s p50 %.2f us, p99 %.2f us, p99.99 %.1f us, max %.1f us (%zu; %zu preempted besides, "
        "max %.1f us)\n",
        what, percentile_us(latencies, 0.5), percentile_us(latencies, 0.99),
        percentile_us(latencies, 0.9999), percentile_us(latencies, 1), latencies->num,
        latencies->num_preempted, latencies->preempted_max_ns / 1e3);
}

static void print_measured(const struct measured *measured)
{
    print_latencies("append", &measured->journal);
    print_latencies("baseline", &measured->baseline);
    printf(
        "%-10s the same stores into plain memory, in turn with the appends: interrupts and other "
        "work of this machine\n",
        "");
    printf("commits    %u, max %u us\n", measured->num_commits, measured->commit_max_us);
}

struct count {
    uint64_t num, num_delivered;
};

static void on_live(void *ctx, const struct journal_message *message)
{
    struct count *count = ctx;
    count->num++;
    if (message->num_recipients == 1 && message->recipients[0].status == RECIPIENT_DELIVERED)
        count->num_delivered++;
}

static struct journal *open_journal(const struct spool *spool, struct count *count)
{
    const struct journal_options options = {.sync = true};
    char why[SPOOL_WHY_MAX];
    struct journal *journal = journal_open(spool, &options, on_live, count, why);
    if (!journal)
        fprintf(stderr, "%s\n", why);
    return journal;
}

/* Whether a journal that is opened again knows what was kept, and nothing else. */
static bool comes_back(const struct spool *spool, uint64_t last_id)
{
    struct count count = {0};
    uint64_t kept = last_id / KEPT_ONE_IN - (FIRST_ID - 1) / KEPT_ONE_IN;
    struct journal *journal = open_journal(spool, &count);
    if (!journal)
        return false;
    journal_close(journal);
    if (count.num == kept && count.num_delivered == kept)
        return true;
    fprintf(stderr, "%llu messages are back, %llu of them delivered; %llu were kept\n",
            (unsigned long long)count.num, (unsigned long long)count.num_delivered,
            (unsigned long long)kept);
    return false;
}

static bool run(const struct spool *spool, const struct arguments *arguments)
{
    const struct latency_options *latency = &arguments->latency;
    struct count before = {0};
    struct measured measured;
    uint64_t first_timed = FIRST_ID + arguments->num_cost;
    struct journal *journal = open_journal(spool, &before);
    if (!journal)
        return false;
    struct cost cost = measure_cost(journal, FIRST_ID, arguments->num_cost);
    printf("a message  %.2f us outside the kernel, %.2f us inside", cost.user_us, cost.system_us);
    if (cost.allocated >= 0)
        printf(", %.2f octets allocated", cost.allocated);
    printf(" (%u messages: intent, outcome, removed)\n", arguments->num_cost);
    CHECK(journal_commit(journal) == 0);
    measure_latency(journal, latency, first_timed, &measured);
    print_measured(&measured);
    measured_fini(&measured);
    journal_close(journal);
    /* A new segment has a few octets in memory. */
    bool frugal = cost.allocated < 1;
    if (!frugal)
        fprintf(stderr, "appending allocates memory\n");
    return comes_back(spool,
                      first_timed - 1 + (uint64_t)latency->num_threads * latency->num_messages) &&
           frugal;
}

int main(int argc, char **argv)
{
    struct arguments arguments = {
        .latency = {.num_threads = 4, .num_messages = 60000, .rate = 5000, .commit_ms = 10},
        .num_cost = 100000};
    struct spool spool;
    char path[SPOOL_PATH_MAX], command[SPOOL_PATH_MAX + 16], why[SPOOL_WHY_MAX];
    if (!parse(argc, argv, &arguments))
        return usage();
    log_set_level(LOG_LEVEL_WARNING);
    snprintf(path, sizeof path, "%s/bench-journal-XXXXXX", arguments.folder);
    if (!mkdtemp(path) || !spool_open(&spool, path, true, why)) {
        perror(path);
        return EXIT_FAILURE;
    }
    bool ok = run(&spool, &arguments);
    spool_close(&spool);
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    return system(command) == 0 && ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
