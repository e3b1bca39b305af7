/* Due times, waits and the end of trying. It sends nothing and writes nothing. */
#include "router/tls_report_plan.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>

void tls_report_plan_init(struct tls_report_plan *plan)
{
    timer_queue_init(&plan->due);
    plan->first = NULL;
}

static void free_entry(struct tls_report_entry *entry)
{
    timer_cancel(&entry->plan->due, &entry->timer);
    *entry->link = entry->next;
    if (entry->next)
        entry->next->link = entry->link;
    free(entry->domain);
    free(entry->report);
    free(entry);
}

void tls_report_plan_fini(struct tls_report_plan *plan)
{
    while (plan->first)
        free_entry(plan->first);
    timer_queue_fini(&plan->due);
}

/* Spread over domains, senders and days alike, and no state: a restart changes nothing. */
int64_t tls_report_plan_due_ms(const struct tls_report_plan *plan, const char *day,
                               const char *domain)
{
    char *key = mem_printf("%s\n%s\n%s", plan->hostname, day, domain);
    uint64_t hash = bytes_hash(bytes_of(key));
    free(key);
    int64_t end_ms = (tls_report_day_begin_s(day) + TLS_REPORT_DAY_S) * 1000;
    return end_ms + TLS_REPORT_SETTLE_MS +
           (plan->delay_ms ? (int64_t)(hash % (uint64_t)plan->delay_ms) : 0);
}

static void on_timer(struct timer *timer, int64_t now_wall_ms)
{
    struct tls_report_entry *entry = container_of(timer, struct tls_report_entry, timer);
    entry->attempts++;
    if (!entry->first_wall_ms)
        entry->first_wall_ms = now_wall_ms;
    entry->plan->on_due(entry->plan->ctx, entry, now_wall_ms);
}

void tls_report_plan_add(struct tls_report_plan *plan, const char *day, const char *domain,
                         char *report, const struct tls_report_step *last)
{
    if (last && last->state != TLS_REPORT_RETRY) {
        free(report);
        return;
    }
    struct tls_report_entry *entry = mem_zalloc(1, sizeof *entry);
    entry->plan = plan;
    memcpy(entry->day, day, sizeof entry->day);
    entry->domain = mem_strdup(domain);
    entry->report = report;
    entry->attempts = last ? last->attempts : 0;
    entry->first_wall_ms = last ? last->first_wall_ms : 0;
    entry->next = plan->first;
    entry->link = &plan->first;
    if (entry->next)
        entry->next->link = &entry->next;
    plan->first = entry;
    timer_init(&entry->timer, on_timer);
    timer_arm(&plan->due, &entry->timer,
              last ? last->next_wall_ms : tls_report_plan_due_ms(plan, day, domain));
}

void tls_report_plan_run(struct tls_report_plan *plan, int64_t now_wall_ms, size_t most)
{
    timer_queue_run(&plan->due, now_wall_ms, most);
}

int64_t tls_report_plan_next_ms(const struct tls_report_plan *plan)
{
    return timer_queue_next_ms(&plan->due);
}

/* Doubling from retry_ms; the last attempt is a day after the first. 0: that was it. */
static int64_t next_attempt(const struct tls_report_entry *entry, int64_t now_wall_ms)
{
    int64_t wait_ms = entry->plan->retry_ms;
    int64_t last_ms = entry->first_wall_ms + TLS_REPORT_GIVE_UP_MS;
    for (unsigned i = 1; i < entry->attempts && wait_ms < TLS_REPORT_RETRY_MAX_MS; i++)
        wait_ms *= 2;
    if (wait_ms > TLS_REPORT_RETRY_MAX_MS)
        wait_ms = TLS_REPORT_RETRY_MAX_MS;
    if (now_wall_ms >= last_ms)
        return 0;
    return now_wall_ms + wait_ms < last_ms ? now_wall_ms + wait_ms : last_ms;
}

void tls_report_plan_ended(struct tls_report_entry *entry, enum tls_report_result result,
                           int64_t now_wall_ms, struct tls_report_step *out)
{
    *out = (struct tls_report_step){.domain = entry->domain,
                                    .attempts = entry->attempts,
                                    .wall_ms = now_wall_ms,
                                    .first_wall_ms = entry->first_wall_ms,
                                    .endpoint = "",
                                    .why = ""};
    switch (result) {
    case TLS_REPORT_TAKEN:
        out->state = TLS_REPORT_SENT;
        break;
    case TLS_REPORT_UNASKED:
        out->state = TLS_REPORT_NOT_WANTED;
        break;
    case TLS_REPORT_REFUSED:
        out->next_wall_ms = next_attempt(entry, now_wall_ms);
        out->state = out->next_wall_ms ? TLS_REPORT_RETRY : TLS_REPORT_FAILED;
        break;
    case TLS_REPORT_HOPELESS:
        out->state = TLS_REPORT_FAILED;
        break;
    }
}

void tls_report_plan_settle(struct tls_report_entry *entry, const struct tls_report_step *step)
{
    if (step->state == TLS_REPORT_RETRY)
        timer_arm(&entry->plan->due, &entry->timer, step->next_wall_ms);
    else
        free_entry(entry);
}
