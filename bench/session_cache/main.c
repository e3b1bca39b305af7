/* bench-session-cache: whether threads stand in each other's way at the session cache.
 * docs/tls-cache.md says what it showed. This file is the command line, what is printed and what of
 * it must hold anywhere. */
#include "bench/session_cache/crowd.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sysexits.h>

static const char help[] =
    "usage: bench-session-cache [--rounds N] [--destinations N] [--entries N] [--zipf S]\n"
    "                           [--stripes N] [--between-us N] [--tiny]\n"
    "\n"
    "1 to 16 threads look up, report and store in one session cache, N rounds in all. CPU a round\n"
    "beside that of one thread, locks taken, and how often one was held by another thread.\n"
    "--between-us: CPU that a thread spends elsewhere after each round, as for a handshake.\n";

static uint64_t number_of(const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long number = strtoull(text, &end, 10);
    if (end == text || *end || number < least || number > most) {
        fprintf(stderr, "bench-session-cache: %s: expected %llu to %llu\n", text,
                (unsigned long long)least, (unsigned long long)most);
        exit(EX_USAGE);
    }
    return number;
}

static void parse(int argc, char **argv, struct crowd_options *out)
{
    enum { ROUNDS = 256, DESTINATIONS, ENTRIES, ZIPF, STRIPES, BETWEEN_US, TINY, HELP };
    static const struct option options[] = {
        {"rounds", required_argument, NULL, ROUNDS},
        {"destinations", required_argument, NULL, DESTINATIONS},
        {"entries", required_argument, NULL, ENTRIES},
        {"zipf", required_argument, NULL, ZIPF},
        {"stripes", required_argument, NULL, STRIPES},
        {"between-us", required_argument, NULL, BETWEEN_US},
        {"tiny", no_argument, NULL, TINY},
        {"help", no_argument, NULL, HELP},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == ROUNDS)
            out->rounds = number_of(optarg, CROWD_THREADS_MAX, UINT32_MAX);
        else if (c == DESTINATIONS)
            out->destinations = number_of(optarg, 1, 100000000);
        else if (c == ENTRIES)
            out->entries = number_of(optarg, 1, 100000000);
        else if (c == ZIPF)
            out->zipf = strtod(optarg, NULL);
        else if (c == STRIPES)
            out->stripes = (unsigned)number_of(optarg, 1, 1024);
        else if (c == BETWEEN_US)
            out->between_us = (unsigned)number_of(optarg, 0, 1000000);
        else if (c == TINY)
            out->rounds = 16000;
        else
            exit((fputs(help, c == HELP ? stdout : stderr), c == HELP ? EX_OK : EX_USAGE));
    }
}

static bool must(bool holds, const char *what)
{
    if (!holds)
        fprintf(stderr, "bench-session-cache: %s\n", what);
    return holds;
}

/* A round takes three locks, one more when its destination gets an entry: find_or_add_locked() lets
 * go of it to allocate. */
static bool is_right(const struct crowd_options *options, const struct crowd_result *result)
{
    const struct session_cache_counters *counters = &result->counters;
    uint64_t added = counters->entries + counters->evicted;
    return must(counters->lookups == result->rounds, "look-ups are missing") &&
           must(counters->hits + counters->misses == counters->lookups, "neither hit nor miss") &&
           must(counters->resumed + counters->refused + counters->full == counters->lookups,
                "reports are missing") &&
           must(counters->entries <= options->entries, "more entries than allowed") &&
           must(result->locks >= 3 * result->rounds, "fewer locks than a round takes") &&
           must(result->locks <= 3 * result->rounds + 2 * added + result->rounds / 10,
                "more locks than a round takes") &&
           must(options->threads > 1 || result->waits == 0, "one thread waited for itself");
}

static void print(const struct crowd_options *options, const struct crowd_result *result,
                  double one_us)
{
    double rounds = (double)result->rounds;
    printf("%7u  %8.3f  %5.2f  %5.2f  %8.3f  %8.3f  %8.1f\n", options->threads,
           result->cpu_us / rounds, result->cpu_us / rounds / one_us,
           (double)result->locks / rounds, (double)result->waits * 1000 / rounds,
           (double)result->sleeps * 1000 / rounds,
           100.0 * (double)result->counters.hits / (double)result->counters.lookups);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct crowd_options options = {
        .stripes = 16, .rounds = 4000000, .destinations = 20000, .entries = 65536, .zipf = 1};
    double one_us = 0;
    bool ok = true;
    parse(argc, argv, &options);
    printf("%u stripes, %llu rounds of %zu destinations, %u us elsewhere between them\n"
           "threads  CPU us/round  ratio  locks  waits/1000  sleeps/1000  hits %%\n",
           options.stripes, (unsigned long long)options.rounds, options.destinations,
           options.between_us);
    for (options.threads = 1; options.threads <= 16 && ok; options.threads *= 2) {
        struct crowd_result result;
        crowd_run(&options, &result);
        if (options.threads == 1)
            one_us = result.cpu_us / (double)result.rounds;
        print(&options, &result, one_us);
        ok = is_right(&options, &result);
    }
    return ok ? EXIT_SUCCESS : EXIT_FAILURE;
}
