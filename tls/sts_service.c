/* The thread: queries, the file, the end. One domain's look-up is sts_job.c's, when to fetch is
 * sts_cache.c's to say. */
#include "tls/sts_service.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "tls/state_file.h"
#include "tls/sts_job.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>

enum {
    STS_STOP = 111,
    SAVE_DELAY_MS = 60 * 1000,
    RENEW_FIRST_MS = 1000,
    RENEW_DELAY_MS = 60 * 1000,
    FILE_MAX = 256 << 20
};

struct sts_service {
    struct sts_service_options options;
    char *file; /* owned; "" none */
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    struct mailbox_item stop;
    struct timer save_timer, renew_timer;
    struct sts_jobs jobs;
    bool stopping;
};

static void load(struct sts_service *service)
{
    struct buffer text;
    char why[STATE_FILE_WHY_MAX];
    buffer_init(&text, FILE_MAX);
    if (!state_file_read(service->file, &text, why))
        log_warning("the MTA-STS policies of the last run are lost: %s", why);
    else if (text.len &&
             !sts_cache_read(service->jobs.cache, buffer_bytes(&text), clock_wall_ms() / 1000))
        log_warning("the MTA-STS policies of the last run are lost: %s is damaged", service->file);
    buffer_fini(&text);
}

static void save(struct sts_service *service)
{
    struct buffer text;
    char why[STATE_FILE_WHY_MAX];
    if (!service->file[0] || !service->jobs.is_changed)
        return;
    service->jobs.is_changed = false;
    buffer_init(&text, FILE_MAX);
    sts_cache_write(service->jobs.cache, clock_wall_ms() / 1000, &text);
    if (text.overflow)
        log_warning("the MTA-STS policies are too many to be kept in %s", service->file);
    else if (!state_file_write(service->file, buffer_bytes(&text), why))
        log_warning("the MTA-STS policies are not kept for the next run: %s", why);
    buffer_fini(&text);
}

static void on_save_timer(struct timer *timer, int64_t now_ms)
{
    struct sts_service *service = container_of(timer, struct sts_service, save_timer);
    (void)now_ms;
    save(service);
    loop_arm(&service->loop, timer, SAVE_DELAY_MS);
}

static void on_renew_timer(struct timer *timer, int64_t now_ms)
{
    struct sts_service *service = container_of(timer, struct sts_service, renew_timer);
    (void)now_ms;
    sts_jobs_renew(&service->jobs);
    loop_arm(&service->loop, timer, RENEW_DELAY_MS);
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct sts_service *service = ctx;
    switch (item->kind) {
    case STS_STOP:
        loop_stop(&service->loop);
        break;
    case RESOLVER_RECORDS:
        sts_jobs_records_answered(&service->jobs, container_of(item, struct record_query, item));
        break;
    default:
        if (!service->stopping)
            sts_jobs_add(&service->jobs, container_of(item, struct sts_query, item));
        break;
    }
}

static void *thread_main(void *ctx)
{
    struct sts_service *service = ctx;
    loop_run(&service->loop);
    service->stopping = true;
    sts_jobs_stop(&service->jobs);
    save(service);
    return NULL;
}

static void release(struct sts_service *service)
{
    sts_jobs_fini(&service->jobs);
    loop_fini(&service->loop);
    free(service->file);
    free(service);
}

struct sts_service *sts_service_start(const struct sts_service_options *options,
                                      char why[TLS_WHY_MAX])
{
    struct sts_service *service = mem_zalloc(1, sizeof *service);
    if (!loop_init(&service->loop)) {
        snprintf(why, TLS_WHY_MAX, "no event loop for MTA-STS: %s", strerror(errno));
        free(service);
        return NULL;
    }
    service->options = *options;
    service->options.ipv4 |= !options->ipv6; /* neither would fetch nothing */
    service->file = mem_strdup(options->file);
    sts_jobs_init(&service->jobs, &service->options, &service->loop, &service->mailbox);
    if (!mailbox_init(&service->mailbox, &service->loop, on_item, service)) {
        snprintf(why, TLS_WHY_MAX, "no mailbox for MTA-STS: %s", strerror(errno));
        release(service);
        return NULL;
    }
    if (service->file[0])
        load(service);
    sts_jobs_count_policies(&service->jobs);
    timer_init(&service->save_timer, on_save_timer);
    loop_arm(&service->loop, &service->save_timer, SAVE_DELAY_MS);
    timer_init(&service->renew_timer, on_renew_timer);
    loop_arm(&service->loop, &service->renew_timer, RENEW_FIRST_MS);
    int rc = pthread_create(&service->thread, NULL, thread_main, service);
    if (rc != 0) {
        snprintf(why, TLS_WHY_MAX, "no thread for MTA-STS: %s", strerror(rc));
        mailbox_fini(&service->mailbox);
        release(service);
        return NULL;
    }
    pthread_setname_np(service->thread, "mta-sts");
    return service;
}

void sts_service_stop(struct sts_service *service)
{
    service->stop.kind = STS_STOP;
    mailbox_post(&service->mailbox, &service->stop);
    pthread_join(service->thread, NULL);
}

void sts_service_free(struct sts_service *service)
{
    if (!service)
        return;
    CHECK(service->stopping);
    mailbox_drain(&service->mailbox);
    mailbox_fini(&service->mailbox);
    release(service);
}

void sts_service_ask(struct sts_service *service, struct sts_query *query)
{
    CHECK(query->reply_to && query->domain);
    query->item.kind = 0;
    mailbox_post(&service->mailbox, &query->item);
}

void sts_service_read_counters(struct sts_service *service, struct sts_counters *out)
{
    struct sts_job_counters *from = &service->jobs.counters;
    *out = (struct sts_counters){
        .policies = atomic_load_explicit(&from->policies, memory_order_relaxed),
        .queries = atomic_load_explicit(&from->queries, memory_order_relaxed),
        .fetches = atomic_load_explicit(&from->fetches, memory_order_relaxed),
        .failures = atomic_load_explicit(&from->failures, memory_order_relaxed),
        .outlived = atomic_load_explicit(&from->outlived, memory_order_relaxed)};
}
