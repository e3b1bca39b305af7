/* Bursts as a Poisson process, destinations by Zipf's law, or both from a file.
 * It knows no session and no cache. */
#include "bench/tls_cache/workload.h"

#include "base/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct workload {
    const struct workload_options *options; /* borrowed */
    double *cumulative;                     /* owned: popularity up to and with each destination */
    uint8_t *kinds;                         /* owned */
    uint64_t arrivals_random, choice_random;
    double burst_at_ms;
    struct arrival burst;
    unsigned burst_left;
    FILE *file; /* owned; NULL */
};

static const struct server_behaviour behaviours[SERVER_KIND_NUM] = {
    [SERVER_SEVERAL] = {.name = "several"},
    [SERVER_ONE] = {.name = "one", .one_ticket = true},
    [SERVER_ONCE] = {.name = "once", .takes_once = true},
    [SERVER_NO_REISSUE] = {.name = "no-reissue", .no_reissue = true},
    [SERVER_SHORT] = {.name = "short", .is_short = true},
    [SERVER_ROTATING] = {.name = "rotating", .rotates = true},
    [SERVER_SHARED] = {.name = "shared", .is_balanced = true, .shares_keys = true},
    [SERVER_UNSHARED] = {.name = "unshared", .is_balanced = true},
    [SERVER_TLS12] = {.name = "tls12", .is_tls12 = true, .one_ticket = true, .no_reissue = true},
    [SERVER_NO_TICKETS] = {.name = "no-tickets", .no_tickets = true},
};

const struct server_behaviour *server_behaviour_of(enum server_kind kind)
{
    return &behaviours[kind];
}

/* SplitMix64: small, and the same everywhere. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* 0 < x <= 1 */
static double next_unit(uint64_t *state)
{
    return (double)((next_random(state) >> 11) + 1) / 9007199254740992.0;
}

/* Each destination in turn gets the kind that is furthest behind its share. */
static void deal_kinds(struct workload *workload)
{
    const struct workload_options *options = workload->options;
    double sum = 0, owed[SERVER_KIND_NUM] = {0};
    for (unsigned kind = 0; kind < SERVER_KIND_NUM; kind++)
        sum += options->mix[kind];
    for (size_t i = 0; i < options->destinations; i++) {
        unsigned most = 0;
        for (unsigned kind = 0; kind < SERVER_KIND_NUM; kind++) {
            owed[kind] += options->mix[kind] / sum;
            if (owed[kind] > owed[most])
                most = kind;
        }
        owed[most] -= 1;
        workload->kinds[i] = (uint8_t)most;
    }
}

struct workload *workload_new(const struct workload_options *options)
{
    FILE *file = NULL;
    if (options->arrivals && !(file = fopen(options->arrivals, "re")))
        return NULL;
    struct workload *workload = mem_zalloc(1, sizeof *workload);
    workload->options = options;
    workload->file = file;
    workload->arrivals_random = options->seed;
    workload->choice_random = ~options->seed;
    workload->kinds = mem_zalloc(options->destinations, 1);
    workload->cumulative = mem_zalloc(options->destinations, sizeof *workload->cumulative);
    deal_kinds(workload);
    double sum = 0;
    for (size_t i = 0; i < options->destinations; i++)
        workload->cumulative[i] = sum += pow((double)(i + 1), -options->zipf);
    return workload;
}

void workload_free(struct workload *workload)
{
    if (workload->file)
        fclose(workload->file);
    free(workload->cumulative);
    free(workload->kinds);
    free(workload);
}

/* The first whose cumulative popularity reaches a random point. */
static uint32_t pick_destination(struct workload *workload)
{
    size_t low = 0, high = workload->options->destinations - 1;
    double point = next_unit(&workload->arrivals_random) * workload->cumulative[high];
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (workload->cumulative[middle] < point)
            low = middle + 1;
        else
            high = middle;
    }
    return (uint32_t)low;
}

static bool next_of_file(struct workload *workload, struct arrival *out)
{
    uint32_t destination;
    int num = fscanf(workload->file, "%" SCNd64 " %" SCNu32, &out->at_ms, &destination);
    if (num == EOF && !ferror(workload->file))
        return false;
    if (num != 2 || destination >= workload->options->destinations) {
        fprintf(stderr, "sluice-tls-cache-model: %s: expected \"MS DESTINATION\" in each line\n",
                workload->options->arrivals);
        exit(EXIT_FAILURE);
    }
    out->destination = destination;
    return true;
}

bool workload_next(struct workload *workload, struct arrival *out)
{
    const struct workload_options *options = workload->options;
    if (workload->file)
        return next_of_file(workload, out);
    if (workload->burst_left == 0) {
        double bursts_per_ms = options->rate / options->burst / 1000;
        workload->burst_at_ms += -log(next_unit(&workload->arrivals_random)) / bursts_per_ms;
        workload->burst =
            (struct arrival){(int64_t)workload->burst_at_ms, pick_destination(workload)};
        workload->burst_left = options->burst;
    }
    workload->burst_left--;
    *out = workload->burst;
    return out->at_ms < options->duration_ms;
}

enum server_kind workload_kind(const struct workload *workload, uint32_t destination)
{
    return workload->kinds[destination];
}

/* The random choice has a sequence apart from that of the arrivals. */
uint32_t workload_machine(struct workload *workload, const struct arrival *arrival)
{
    const struct workload_options *options = workload->options;
    uint32_t num = options->hosts * options->addresses;
    if (!server_behaviour_of(workload_kind(workload, arrival->destination))->is_balanced)
        return 0;
    if (options->route_s == 0)
        return (uint32_t)(next_random(&workload->choice_random) % num);
    uint64_t route = (uint64_t)arrival->at_ms / (options->route_s * UINT64_C(1000));
    uint64_t of_route = options->seed ^ (route << 32 | arrival->destination);
    return (uint32_t)(next_random(&of_route) % num);
}
