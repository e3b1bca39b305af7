/* Sums of counters and their JSON form.
 * It writes no file: main.c decides where it goes. */
#include "bench/sink/stats.h"

static const char *const names[COUNT_NUM] = {
    "connections",
    "messages",
    "messages_plaintext",
    "messages_tls_full",
    "messages_tls_resumed",
    "recipients",
    "octets",
    "handshakes_full",
    "handshakes_resumed",
    "handshakes_failed",
    "plaintext_sessions",
    "tickets_issued",
    "duplicates",
    "deferred",
    "rejected",
    "unanswered",
    "bad_commands",
    "pipelining_violations",
    "faults",
    "turned_away",
};

void stats_sum_add(struct stats_sum *sum, const struct counters *counters)
{
    for (unsigned i = 0; i < COUNT_NUM; i++)
        sum->value[i] += atomic_load_explicit(&counters->value[i], memory_order_relaxed);
}

void stats_sum_print(const struct stats_sum *sum, struct buffer *out)
{
    for (unsigned i = 0; i < COUNT_NUM; i++)
        buffer_printf(out, "%s\"%s\": %llu", i ? ", " : "{", names[i],
                      (unsigned long long)sum->value[i]);
    buffer_append_byte(out, '}');
}
