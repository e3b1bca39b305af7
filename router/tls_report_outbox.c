/* The thread: days, the ledger, mail into the spool. When is tls_report_plan.c's to say, how a
 * report reaches an endpoint tls_report_send.c's. */
#include "router/tls_report_outbox.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "queue/address.h"
#include "router/config_report.h"
#include "router/tls_report_mail.h"
#include "router/tls_report_send.h"
#include "router/tls_reporter.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

enum {
    OUTBOX_STOP = 120,
    LOOK_MS = 60 * 1000, /* the wall clock may be set, and days end */
    MAIL_FRAME_MAX = 16 * 1024
};

struct tls_report_outbox {
    const struct config *config;
    const struct spool *spool;
    struct tls_context *context; /* owned */
    struct tls_report_sender sender;
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    struct mailbox_item stop;
    struct timer timer;
    struct tls_report_plan plan;
    struct tls_report_send_services services;
    struct tls_report_send *sends; /* owned list */
    unsigned num_sends;
    char seen[TLS_REPORT_LATE_DAYS][TLS_REPORT_DAY_LEN + 1]; /* days that were taken up */
    unsigned next_seen;
    bool complained; /* that mail cannot be sent */
    bool stopping;
};

static void on_due(void *ctx, struct tls_report_entry *entry, int64_t now_wall_ms)
{
    struct tls_report_outbox *outbox = ctx;
    (void)now_wall_ms;
    struct tls_report_send *send = tls_report_send_start(&outbox->services, entry);
    send->next = outbox->sends;
    outbox->sends = send;
    outbox->num_sends++;
}

static bool append(const struct tls_report_outbox *outbox, const char *day,
                   const struct tls_report_step *step)
{
    char why[TLS_REPORT_LEDGER_WHY_MAX];
    /* What nobody wants would only be asked for again. */
    bool sync = step->state != TLS_REPORT_NOT_WANTED && config_syncs(outbox->config);
    if (tls_report_ledger_append(outbox->config->spool, day, step, sync, why))
        return true;
    log_warning("what becomes of TLS reports cannot be kept: %s", why);
    return false;
}

static void say(const struct tls_report_entry *entry, const struct tls_report_step *step)
{
    switch (step->state) {
    case TLS_REPORT_SENT:
        log_info("TLS report of %s for %s: %s took it", entry->day, entry->domain, step->endpoint);
        break;
    case TLS_REPORT_RETRY:
        log_info("TLS report of %s for %s: nobody took it in attempt %u (%s%s%s); it is tried "
                 "again in %lld s",
                 entry->day, entry->domain, step->attempts, step->endpoint,
                 *step->endpoint ? ": " : "", step->why,
                 (long long)(step->next_wall_ms - step->wall_ms) / 1000);
        break;
    case TLS_REPORT_FAILED:
        log_warning("TLS report of %s for %s: given up after %u attempts (%s%s%s)", entry->day,
                    entry->domain, step->attempts, step->endpoint, *step->endpoint ? ": " : "",
                    step->why);
        break;
    case TLS_REPORT_NOT_WANTED:
        if (*step->why)
            log_info("TLS report of %s for %s: not sent, %s", entry->day, entry->domain, step->why);
        break;
    case TLS_REPORT_WAITING:
        break;
    }
}

/* The ledger first: whatever happens then, the message is not written again. */
static void publish(const struct tls_report_outbox *outbox, const char *name, bool is_recorded)
{
    int rc = is_recorded ? spool_publish_draft(outbox->spool, name)
                         : spool_drop_draft(outbox->spool, name);
    if (rc == 0 && is_recorded && config_syncs(outbox->config))
        rc = spool_sync_new(outbox->spool);
    if (rc < 0 && rc != -ENOENT)
        log_warning("new/%s: the TLS report cannot be put there: %s", name, strerror(-rc));
}

static void unlink_send(struct tls_report_outbox *outbox, struct tls_report_send *send)
{
    struct tls_report_send **link = &outbox->sends;
    while (*link != send)
        link = &(*link)->next;
    *link = send->next;
    outbox->num_sends--;
}

static void on_done(void *ctx, struct tls_report_send *send, enum tls_report_result result)
{
    struct tls_report_outbox *outbox = ctx;
    struct tls_report_entry *entry = send->entry;
    struct tls_report_step step;
    char name[TLS_REPORT_MAIL_NAME_MAX];
    tls_report_plan_ended(entry, result, clock_wall_ms(), &step);
    step.endpoint = send->endpoint;
    step.why = result == TLS_REPORT_TAKEN ? "" : send->why;
    bool is_recorded = append(outbox, entry->day, &step);
    if (send->is_mail) {
        tls_report_mail_name(entry->day, entry->domain, name);
        publish(outbox, name, is_recorded);
        if (!is_recorded) {
            tls_report_plan_ended(entry, TLS_REPORT_REFUSED, clock_wall_ms(), &step);
            step.why = "it cannot be recorded";
        }
    }
    say(entry, &step);
    tls_report_plan_settle(entry, &step);
    unlink_send(outbox, send);
    tls_report_send_free(send);
    loop_arm(&outbox->loop, &outbox->timer, 0);
}

/* Signed it has to be (RFC 8460 3), and we do not sign: a next hop does, or the mail stays. */
static bool has_signer(struct tls_report_outbox *outbox, const struct address *to)
{
    const struct config *config = outbox->config;
    if (*config->tls.report.from &&
        (*config->tls.report.via || config_for_domain(config, to->domain)->next_hop))
        return true;
    if (!outbox->complained)
        log_warning("TLS reports are not mailed: tls.report.from and tls.report.via say neither "
                    "who sends them nor by which next hop they are signed");
    outbox->complained = true;
    return false;
}

static bool write_mail(const struct tls_report_outbox *outbox, const struct tls_report_send *send,
                       const char *to, char why[TLS_WHY_MAX])
{
    const struct config *config = outbox->config;
    const struct tls_report_entry *entry = send->entry;
    char *report_id = tls_report_id(entry->day, entry->domain, config->hostname);
    char name[TLS_REPORT_MAIL_NAME_MAX];
    struct buffer file;
    const struct tls_report_mail mail = {.from = config->tls.report.from,
                                         .to = to,
                                         .via = config->tls.report.via,
                                         .submitter = strrchr(outbox->sender.contact, '@') + 1,
                                         .hostname = config->hostname,
                                         .domain = entry->domain,
                                         .report_id = report_id,
                                         .day = entry->day,
                                         .now_wall_s = clock_wall_ms() / 1000,
                                         .gzip = buffer_bytes(&send->packed)};
    buffer_init(&file, MAIL_FRAME_MAX + 2 * send->packed.len);
    tls_report_mail_name(entry->day, entry->domain, name);
    bool ok = tls_report_mail_compose(&mail, &file);
    int rc = ok ? spool_write_draft(outbox->spool, name, buffer_bytes(&file), config_syncs(config))
                : -EMSGSIZE;
    if (rc == 0 && config_syncs(config))
        rc = spool_sync_drafts(outbox->spool);
    if (rc < 0)
        snprintf(why, TLS_WHY_MAX, "tmp/%s.tmp: %s", name, strerror(-rc));
    buffer_fini(&file);
    free(report_id);
    return rc == 0;
}

static enum tls_report_mail_result mail(void *ctx, const struct tls_report_send *send,
                                        const char *mailbox, char why[TLS_WHY_MAX])
{
    struct tls_report_outbox *outbox = ctx;
    struct address to;
    const char *problem;
    enum tls_report_mail_result result = TLS_REPORT_MAIL_CLOSED;
    if (!address_parse_path(bytes_of(mailbox), false, &to, &problem)) {
        snprintf(why, TLS_WHY_MAX, "it names no address");
        return result;
    }
    if (!has_signer(outbox, &to))
        snprintf(why, TLS_WHY_MAX, "no next hop signs mail for it");
    else
        result = write_mail(outbox, send, to.mailbox, why) ? TLS_REPORT_MAIL_READY
                                                           : TLS_REPORT_MAIL_FAILED;
    address_fini(&to);
    return result;
}

struct known_steps {
    const struct tls_report_outbox *outbox;
    const char *day;
    json_t *by_domain; /* {"domain": {"state": n, ...}} */
};

/* A message that the ledger knows of may still be a draft: its router ended in between. */
static void on_step(void *ctx, const struct tls_report_step *step)
{
    struct known_steps *known = ctx;
    char name[TLS_REPORT_MAIL_NAME_MAX];
    json_object_set_new(known->by_domain, step->domain,
                        json_pack("{s:i, s:i, s:I, s:I}", "state", (int)step->state, "attempts",
                                  (int)step->attempts, "first", (json_int_t)step->first_wall_ms,
                                  "next", (json_int_t)step->next_wall_ms));
    if (step->state != TLS_REPORT_SENT || !bytes_starts_nocase(bytes_of(step->endpoint), "mailto:"))
        return;
    tls_report_mail_name(known->day, step->domain, name);
    publish(known->outbox, name, true);
}

static void add_report(struct tls_report_outbox *outbox, const struct known_steps *known,
                       const json_t *report)
{
    const char *domain = tls_report_domain(report);
    const json_t *last = json_object_get(known->by_domain, domain);
    struct tls_report_step step = {
        .domain = domain,
        .state = (enum tls_report_state)json_integer_value(json_object_get(last, "state")),
        .attempts = (unsigned)json_integer_value(json_object_get(last, "attempts")),
        .first_wall_ms = json_integer_value(json_object_get(last, "first")),
        .next_wall_ms = json_integer_value(json_object_get(last, "next"))};
    char *text = json_dumps(report, JSON_COMPACT);
    CHECK(text);
    tls_report_plan_add(&outbox->plan, known->day, domain, text, last ? &step : NULL);
}

static void take_up(struct tls_report_outbox *outbox, const char *day)
{
    char why[TLS_REPORTER_WHY_MAX];
    struct known_steps known = {.outbox = outbox, .day = day, .by_domain = json_object()};
    struct tls_report *counts = tls_reporter_read(outbox->config->spool, day, why);
    bool ok = counts && tls_report_ledger_read(outbox->config->spool, day, on_step, &known, why);
    if (!ok && *why)
        log_warning("the TLS reports of %s are not sent: %s", day, why);
    json_t *reports = ok ? tls_report_make(counts, &outbox->sender, NULL) : json_array(), *report;
    size_t i;
    json_array_foreach(reports, i, report) add_report(outbox, &known, report);
    json_decref(reports);
    json_decref(known.by_domain);
    tls_report_free(counts);
}

static bool was_seen(struct tls_report_outbox *outbox, const char *day)
{
    for (size_t i = 0; i < TLS_REPORT_LATE_DAYS; i++)
        if (strcmp(outbox->seen[i], day) == 0)
            return true;
    memcpy(outbox->seen[outbox->next_seen++ % TLS_REPORT_LATE_DAYS], day, TLS_REPORT_DAY_LEN + 1);
    return false;
}

static void look_for_days(struct tls_report_outbox *outbox, int64_t now_wall_ms)
{
    char day[TLS_REPORT_DAY_LEN + 1];
    for (int64_t i = TLS_REPORT_LATE_DAYS; i >= 1; i--) {
        tls_report_day((now_wall_ms - TLS_REPORT_SETTLE_MS) / 1000 - i * TLS_REPORT_DAY_S, day);
        if (!was_seen(outbox, day))
            take_up(outbox, day);
    }
}

static void on_timer(struct timer *timer, int64_t now_ms)
{
    struct tls_report_outbox *outbox = container_of(timer, struct tls_report_outbox, timer);
    int64_t now_wall_ms = clock_wall_ms();
    (void)now_ms;
    look_for_days(outbox, now_wall_ms);
    tls_report_plan_run(&outbox->plan, now_wall_ms, TLS_REPORT_SENDS_MAX - outbox->num_sends);
    int64_t next_ms = tls_report_plan_next_ms(&outbox->plan), wait_ms = LOOK_MS;
    if (outbox->num_sends < TLS_REPORT_SENDS_MAX && next_ms < now_wall_ms + wait_ms)
        wait_ms = next_ms > now_wall_ms ? next_ms - now_wall_ms : 1;
    loop_arm(&outbox->loop, timer, wait_ms);
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct tls_report_outbox *outbox = ctx;
    if (item->kind == OUTBOX_STOP) {
        loop_stop(&outbox->loop);
        return;
    }
    struct tls_report_send *send =
        tls_report_send_of(container_of(item, struct record_query, item));
    if (outbox->stopping)
        send->num_pending--;
    else
        tls_report_send_answered(send);
}

static void *thread_main(void *ctx)
{
    struct tls_report_outbox *outbox = ctx;
    loop_run(&outbox->loop);
    outbox->stopping = true;
    for (struct tls_report_send *send = outbox->sends; send; send = send->next)
        tls_report_send_stop(send);
    return NULL;
}

static void release(struct tls_report_outbox *outbox)
{
    tls_report_plan_fini(&outbox->plan);
    loop_fini(&outbox->loop);
    tls_context_free(outbox->context);
    free(outbox);
}

static void prepare(struct tls_report_outbox *outbox, struct resolver *resolver)
{
    const struct config *config = outbox->config;
    outbox->sender = config_report_sender(config);
    outbox->plan = (struct tls_report_plan){.hostname = config->hostname,
                                            .delay_ms = config->tls.report.delay_ms,
                                            .retry_ms = config->tls.report.retry_ms,
                                            .on_due = on_due,
                                            .ctx = outbox};
    tls_report_plan_init(&outbox->plan);
    outbox->services = (struct tls_report_send_services){.loop = &outbox->loop,
                                                         .mailbox = &outbox->mailbox,
                                                         .resolver = resolver,
                                                         .context = outbox->context,
                                                         .allow_local = config->dns.allow_local,
                                                         .ipv4 = config->dns.ipv4,
                                                         .ipv6 = config->dns.ipv6,
                                                         .mail = mail,
                                                         .on_done = on_done,
                                                         .ctx = outbox};
    timer_init(&outbox->timer, on_timer);
    loop_arm(&outbox->loop, &outbox->timer, 0);
}

struct tls_report_outbox *tls_report_outbox_start(const struct config *config,
                                                  const struct spool *spool,
                                                  struct resolver *resolver, char why[TLS_WHY_MAX])
{
    /* Nothing is checked of endpoints, so nothing is trusted. */
    static const struct tls_context_options nobody = {.ca_file = "", .system_ca_file = "none"};
    struct tls_report_outbox *outbox = mem_zalloc(1, sizeof *outbox);
    outbox->config = config;
    outbox->spool = spool;
    outbox->context = tls_context_new(&nobody, why);
    if (!outbox->context || !loop_init(&outbox->loop)) {
        if (outbox->context)
            snprintf(why, TLS_WHY_MAX, "no event loop for TLS reports: %s", strerror(errno));
        tls_context_free(outbox->context);
        free(outbox);
        return NULL;
    }
    prepare(outbox, resolver);
    bool ok = mailbox_init(&outbox->mailbox, &outbox->loop, on_item, outbox);
    int rc = ok ? pthread_create(&outbox->thread, NULL, thread_main, outbox) : errno;
    if (rc == 0) {
        pthread_setname_np(outbox->thread, "TLS reports");
        return outbox;
    }
    snprintf(why, TLS_WHY_MAX, "no thread for TLS reports: %s", strerror(rc));
    if (ok)
        mailbox_fini(&outbox->mailbox);
    release(outbox);
    return NULL;
}

void tls_report_outbox_stop(struct tls_report_outbox *outbox)
{
    if (!outbox)
        return;
    outbox->stop.kind = OUTBOX_STOP;
    mailbox_post(&outbox->mailbox, &outbox->stop);
    pthread_join(outbox->thread, NULL);
}

void tls_report_outbox_free(struct tls_report_outbox *outbox)
{
    if (!outbox)
        return;
    CHECK(outbox->stopping);
    mailbox_drain(&outbox->mailbox);
    mailbox_fini(&outbox->mailbox);
    while (outbox->sends) {
        struct tls_report_send *send = outbox->sends;
        outbox->sends = send->next;
        tls_report_send_free(send);
    }
    release(outbox);
}
