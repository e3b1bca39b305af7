/* Counting, as session_cache.h names the counters.
 * It decides nothing. */
#include "tls/session_counters.h"

bool session_miss_is_of_unknown(enum session_miss miss)
{
    return miss == SESSION_MISS_FIRST || miss == SESSION_MISS_EVICTED ||
           miss == SESSION_MISS_KEY_CHANGED;
}

static uint64_t *counter_of(struct session_cache_counters *counters, enum session_miss miss)
{
    switch (miss) {
    case SESSION_MISS_FIRST:
        return &counters->missed_first;
    case SESSION_MISS_EVICTED:
        return &counters->missed_evicted;
    case SESSION_MISS_KEY_CHANGED:
        return &counters->missed_key_changed;
    case SESSION_MISS_NO_TICKET:
        return &counters->missed_no_ticket;
    case SESSION_MISS_USED_UP:
        return &counters->missed_used_up;
    case SESSION_MISS_EXPIRED:
        return &counters->missed_expired;
    case SESSION_HIT:
        break;
    }
    return &counters->hits;
}

void session_counters_lookup(struct session_cache_counters *counters, enum session_miss miss)
{
    counters->lookups++;
    counters->misses += miss != SESSION_HIT;
    (*counter_of(counters, miss))++;
}

/* Whether a session had been given before, so that it could have been resumed. */
static bool is_avoidable(const struct session_report *report)
{
    if (report->use == SESSION_USE_REFUSED)
        return true;
    return report->use == SESSION_USE_FULL && report->miss != SESSION_HIT &&
           report->miss != SESSION_MISS_FIRST && report->miss != SESSION_MISS_NO_TICKET;
}

void session_counters_use(struct session_cache_counters *counters,
                          const struct session_report *report)
{
    uint64_t spent_us = report->cpu_us > 0 ? (uint64_t)report->cpu_us : 0;
    switch (report->use) {
    case SESSION_USE_RESUMED:
        counters->resumed++;
        counters->cpu_resumed_us += spent_us;
        break;
    case SESSION_USE_REFUSED:
        counters->refused++;
        counters->cpu_full_us += spent_us;
        break;
    case SESSION_USE_FAILED:
        counters->failed++;
        break;
    case SESSION_USE_FULL:
        counters->full++;
        counters->cpu_full_us += spent_us;
        break;
    }
    if (is_avoidable(report))
        counters->cpu_avoidable_us += spent_us;
}

void session_counters_add(struct session_cache_counters *sum,
                          const struct session_cache_counters *from)
{
    sum->lookups += from->lookups;
    sum->hits += from->hits;
    sum->misses += from->misses;
    sum->resumed += from->resumed;
    sum->refused += from->refused;
    sum->failed += from->failed;
    sum->full += from->full;
    sum->expired += from->expired;
    sum->evicted += from->evicted;
    sum->stored += from->stored;
    sum->missed_first += from->missed_first;
    sum->missed_evicted += from->missed_evicted;
    sum->missed_key_changed += from->missed_key_changed;
    sum->missed_no_ticket += from->missed_no_ticket;
    sum->missed_used_up += from->missed_used_up;
    sum->missed_expired += from->missed_expired;
    sum->cpu_full_us += from->cpu_full_us;
    sum->cpu_resumed_us += from->cpu_resumed_us;
    sum->cpu_avoidable_us += from->cpu_avoidable_us;
    sum->relent += from->relent;
    sum->unwanted += from->unwanted;
    sum->entries += from->entries;
    sum->sessions += from->sessions;
    sum->bytes += from->bytes;
    sum->never_resume += from->never_resume;
}
