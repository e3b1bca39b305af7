/* Picks the destinations to show, and sets the table.
 * It counts nothing itself: tls/session_cache.c does. */
#include "router/tls_cache_table.h"

#include "router/text_columns.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct row {
    char label[SESSION_LABEL_MAX + 1];
    struct session_cache_counters counters;
};

struct top {
    struct row rows[TLS_CACHE_TOP]; /* most look-ups first */
    size_t num;
};

static void offer_row(void *ctx, const char *label, const struct session_cache_counters *counters)
{
    struct top *top = ctx;
    size_t at = top->num;
    while (at > 0 && top->rows[at - 1].counters.lookups < counters->lookups)
        at--;
    if (at == TLS_CACHE_TOP)
        return;
    top->num += top->num < TLS_CACHE_TOP;
    memmove(&top->rows[at + 1], &top->rows[at], (top->num - 1 - at) * sizeof *top->rows);
    struct row *row = &top->rows[at];
    size_t len = strnlen(label, sizeof row->label - 1);
    memcpy(row->label, label, len);
    row->label[len] = '\0';
    row->counters = *counters;
}

static void put_row(struct buffer *out, const char *label, size_t columns,
                    const struct session_cache_counters *counters)
{
    text_columns_put(out, bytes_of(label), columns, true);
    buffer_printf(out,
                  " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %9" PRIu64 " %8" PRIu64 " %7" PRIu64
                  " %9" PRIu64 " %7" PRIu64 "\n",
                  counters->lookups, counters->hits, counters->misses, counters->resumed,
                  counters->refused, counters->failed, counters->full, counters->sessions);
}

static size_t label_columns(const struct top *top)
{
    size_t widest = strlen("TLS session cache");
    for (size_t i = 0; i < top->num; i++) {
        size_t len = strlen(top->rows[i].label);
        widest = len > widest ? len : widest;
    }
    return widest < TLS_CACHE_LABEL_COLUMNS ? widest : TLS_CACHE_LABEL_COLUMNS;
}

void tls_cache_table(struct session_cache *cache, struct buffer *out)
{
    struct top top = {.num = 0};
    struct session_cache_counters totals;
    session_cache_each(cache, offer_row, &top);
    session_cache_read_counters(cache, &totals);
    size_t columns = label_columns(&top);
    text_columns_put(out, bytes_of("TLS session cache"), columns, true);
    buffer_printf(out, " %9s %9s %9s %9s %8s %7s %9s %7s\n", "look-ups", "hits", "misses",
                  "resumed", "refused", "failed", "full", "kept");
    for (size_t i = 0; i < top.num; i++)
        put_row(out, top.rows[i].label, columns, &top.rows[i].counters);
    char title[64];
    snprintf(title, sizeof title, "all %" PRIu64, totals.entries);
    put_row(out, title, columns, &totals);
}

bool tls_cache_summary(struct session_cache *cache, struct buffer *out)
{
    struct session_cache_counters totals;
    session_cache_read_counters(cache, &totals);
    buffer_printf(
        out,
        "TLS session cache: %" PRIu64 " look-ups, %" PRIu64 " hits, %" PRIu64 " misses; %" PRIu64
        " resumed, %" PRIu64 " refused, %" PRIu64 " failed, %" PRIu64 " without a session; %" PRIu64
        " destinations, %" PRIu64 " sessions kept, %" PRIu64 " expired, %" PRIu64 " evicted",
        totals.lookups, totals.hits, totals.misses, totals.resumed, totals.refused, totals.failed,
        totals.full, totals.entries, totals.sessions, totals.expired, totals.evicted);
    return totals.lookups > 0;
}
