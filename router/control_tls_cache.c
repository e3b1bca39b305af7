/* "tls-cache": the session cache's counters, in total and of the destinations where most full
 * handshakes could have been resumed; and "flush". The cache does the counting and the locking. */
#include "base/memory.h"
#include "router/control_command.h"
#include "tls/session_cache.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TOP_DEFAULT = 20, TOP_MAX = 1000 };

struct row {
    char label[SESSION_LABEL_MAX + 1];
    struct session_cache_counters counters;
};

struct top {
    const char *name; /* NULL: every destination */
    struct row *rows; /* owned; most avoidable handshakes first */
    size_t num, max;
    size_t num_met; /* destinations that the name fits */
};

/* Labels are "HOST [ADDRESS]:PORT". The name is a host, a domain above it, or an address. */
static bool fits(const char *name, const char *label)
{
    const char *bracket = strchr(label, ' ');
    size_t host_len = bracket ? (size_t)(bracket - label) : strlen(label);
    struct bytes host = bytes_make(label, host_len);
    size_t len = strlen(name);
    if (!name[0] || bytes_equal_nocase(host, bytes_of(name)))
        return true;
    if (host_len > len && label[host_len - len - 1] == '.' &&
        bytes_equal_nocase(bytes_from(host, host_len - len), bytes_of(name)))
        return true;
    return bracket && bracket[1] == '[' && strncmp(bracket + 2, name, len) == 0 &&
           bracket[2 + len] == ']';
}

static bool is_wanted(const void *name, const char *label)
{
    return fits(name, label);
}

/* Full handshakes at a destination that had given a session before. */
static uint64_t avoidable(const struct session_cache_counters *counters)
{
    return counters->missed_used_up + counters->missed_expired + counters->missed_evicted +
           counters->missed_key_changed + counters->refused + counters->failed;
}

static bool goes_before(const struct session_cache_counters *a,
                        const struct session_cache_counters *b)
{
    uint64_t x = avoidable(a);
    uint64_t y = avoidable(b);
    return x != y ? x > y : a->lookups > b->lookups;
}

static void offer(void *ctx, const char *label, const struct session_cache_counters *counters)
{
    struct top *top = ctx;
    if (top->name && !fits(top->name, label))
        return;
    top->num_met++;
    size_t at = top->num;
    while (at > 0 && goes_before(counters, &top->rows[at - 1].counters))
        at--;
    if (at == top->max)
        return;
    top->num += top->num < top->max;
    memmove(&top->rows[at + 1], &top->rows[at], (top->num - 1 - at) * sizeof *top->rows);
    snprintf(top->rows[at].label, sizeof top->rows[at].label, "%s", label);
    top->rows[at].counters = *counters;
}

static json_t *describe(const struct session_cache_counters *counters)
{
    const struct {
        const char *name;
        uint64_t number;
    } rows[] = {
        {"lookups", counters->lookups},
        {"hits", counters->hits},
        {"resumed", counters->resumed},
        {"full", counters->full + counters->refused},
        {"avoidable", avoidable(counters)},
        {"first", counters->missed_first},
        {"no_ticket", counters->missed_no_ticket},
        {"used_up", counters->missed_used_up},
        {"expired", counters->missed_expired},
        {"evicted", counters->missed_evicted},
        {"key_changed", counters->missed_key_changed},
        {"refused", counters->refused},
        {"failed", counters->failed},
        {"relent", counters->relent},
        {"sessions", counters->sessions},
        {"bytes", counters->bytes},
        {"never_resumes", counters->never_resume},
    };
    json_t *row = json_object();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        json_object_set_new(row, rows[i].name, json_integer((json_int_t)rows[i].number));
    json_object_set_new(row, "cpu_full", json_real((double)counters->cpu_full_us / 1e6));
    json_object_set_new(row, "cpu_avoidable", json_real((double)counters->cpu_avoidable_us / 1e6));
    json_object_set_new(row, "cpu_resumed", json_real((double)counters->cpu_resumed_us / 1e6));
    return row;
}

static json_t *list(const struct top *top)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < top->num; i++) {
        json_t *row = describe(&top->rows[i].counters);
        json_t *label = json_string(top->rows[i].label);
        json_object_set_new(row, "destination", label ? label : json_string("(not UTF-8)"));
        json_array_append_new(rows, row);
    }
    return rows;
}

static void answer_counters(struct control_call *call, const char *name)
{
    struct session_cache *cache = call->services->session_cache;
    struct session_cache_counters totals;
    json_t *wanted = json_object_get(call->request, "top");
    json_int_t max = wanted ? json_integer_value(wanted) : TOP_DEFAULT;
    if (max < 1 || max > TOP_MAX) {
        control_refuse(call, "usage", "\"top\" is not a number from 1 to 1000");
        return;
    }
    struct top top = {.name = name, .max = (size_t)max};
    top.rows = mem_zalloc(top.max + 1, sizeof *top.rows);
    session_cache_each(cache, offer, &top);
    session_cache_read_counters(cache, &totals);
    json_t *total = describe(&totals);
    json_object_set_new(total, "destinations", json_integer((json_int_t)totals.entries));
    json_object_set_new(total, "evictions", json_integer((json_int_t)totals.evicted));
    control_answer(call, json_pack("{s:b, s:o, s:I, s:o}", "ok", 1, "totals", total, "matching",
                                   (json_int_t)top.num_met, "destinations", list(&top)));
    free(top.rows);
}

void control_tls_cache(struct control_call *call)
{
    struct session_cache *cache = call->services->session_cache;
    const char *name = json_string_value(json_object_get(call->request, "name"));
    if (session_cache_is_off(cache)) {
        control_refuse(call, "unavailable",
                       "the cache is switched off (tls.session_cache.entries = 0)");
    } else if (json_is_true(json_object_get(call->request, "flush"))) {
        size_t num = session_cache_flush(cache, name ? is_wanted : NULL, name);
        control_answer(call, json_pack("{s:b, s:I}", "ok", 1, "flushed", (json_int_t)num));
    } else {
        answer_counters(call, name);
    }
}
