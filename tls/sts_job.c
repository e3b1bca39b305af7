/* One job per domain, from the TXT record to the policy. Whether a fetch is due is sts_cache.c's to
 * say; what the policy leads to is policy.c's. */
#include "tls/sts_job.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "dns/domain_name.h"
#include "tls/https_request.h"
#include "tls/txt_record.h"

#include <stdio.h>

/* ANSWER_LEAST_MS: a policy with max_age 0 is good for the mail that waits for it, and no more. */
enum { ANSWER_LEAST_MS = 5000 };

struct sts_job {
    struct sts_job *next_in_bucket;
    struct sts_job *next_queued;
    struct sts_jobs *jobs;
    struct sts_query *first, **end; /* wait for the policy */
    struct record_query txt, a, aaaa;
    unsigned num_pending;          /* of these, the resolver has not answered */
    bool knows_txt;                /* txt is answered; before that it is the resolver's to write */
    bool is_fetching;              /* counted in jobs->num_fetching */
    int64_t expires_ms;            /* of the TXT answer */
    enum sts_lookup lookup;        /* what it says */
    struct sts_record txt_record;  /* id "" : none that is valid */
    struct https_request *request; /* owned; NULL */
    char domain[DOMAIN_NAME_MAX + 1];
    char host[DOMAIN_NAME_MAX + sizeof "mta-sts."];
    char txt_name[DOMAIN_NAME_MAX + sizeof "_mta-sts."];
};

static void start_fetches(struct sts_jobs *jobs);

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

void sts_jobs_count_policies(struct sts_jobs *jobs)
{
    atomic_store_explicit(&jobs->counters.policies, sts_cache_num_policies(jobs->cache),
                          memory_order_relaxed);
}

static int64_t now_s(void)
{
    return clock_wall_ms() / 1000;
}

static struct sts_job **find(struct sts_jobs *jobs, const char *domain)
{
    struct sts_job **at = &jobs->buckets[bytes_hash(bytes_of(domain)) % STS_JOB_BUCKETS];
    while (*at && strcmp((*at)->domain, domain) != 0)
        at = &(*at)->next_in_bucket;
    return at;
}

static void free_job(struct sts_job *job)
{
    struct sts_job **at = find(job->jobs, job->domain);
    CHECK(*at == job && job->num_pending == 0 && !job->is_fetching);
    *at = job->next_in_bucket;
    https_request_free(job->request);
    answer_unref(job->txt.answer);
    answer_unref(job->a.answer);
    answer_unref(job->aaaa.answer);
    free(job);
}

static void answer_query(struct sts_jobs *jobs, struct sts_query *query,
                         const struct sts_found *found, int64_t expires_ms)
{
    int64_t now_ms = jobs->loop->now_ms;
    query->policy = sts_policy_ref(found->policy);
    query->failure = found->failure;
    if (query->why)
        snprintf(query->why, STS_WHY_MAX, "%s", found->why ? found->why : "");
    query->expires_ms = expires_ms;
    if (found->policy) {
        int64_t over_ms = now_ms + (found->expires_s - now_s()) * 1000;
        query->expires_ms = over_ms < expires_ms ? over_ms : expires_ms;
    }
    if (query->expires_ms < now_ms + ANSWER_LEAST_MS)
        query->expires_ms = now_ms + ANSWER_LEAST_MS;
    query->item.kind = STS_ANSWER;
    mailbox_post(query->reply_to, &query->item);
}

static void answer_all(struct sts_job *job, const struct sts_found *found)
{
    struct sts_query *query = job->first;
    job->first = NULL;
    job->end = &job->first;
    while (query) {
        struct sts_query *next = query->next;
        query->lookup = job->lookup;
        answer_query(job->jobs, query, found, job->expires_ms);
        query = next;
    }
}

static const char *id_of(const struct sts_job *job)
{
    return job->txt_record.id[0] ? job->txt_record.id : NULL;
}

static void add_waiting(struct sts_job *job, struct sts_query *query)
{
    query->next = NULL;
    *job->end = query;
    job->end = &query->next;
}

static void look_up(struct sts_job *job, struct record_query *query, const char *name,
                    enum answer_type type)
{
    *query = (struct record_query){.reply_to = job->jobs->mailbox, .name = name, .type = type};
    job->num_pending++;
    resolver_ask_records(job->jobs->options->resolver, query);
}

static struct sts_job *start(struct sts_jobs *jobs, const char *domain)
{
    struct sts_job *job = mem_zalloc(1, sizeof *job);
    job->jobs = jobs;
    job->end = &job->first;
    snprintf(job->domain, sizeof job->domain, "%s", domain);
    snprintf(job->host, sizeof job->host, "mta-sts.%s", job->domain);
    snprintf(job->txt_name, sizeof job->txt_name, "_mta-sts.%s", job->domain);
    struct sts_job **bucket = find(jobs, job->domain);
    job->next_in_bucket = *bucket;
    *bucket = job;
    look_up(job, &job->txt, job->txt_name, TYPE_TXT);
    return job;
}

void sts_jobs_add(struct sts_jobs *jobs, struct sts_query *query)
{
    static const struct sts_found nothing = {.why = ""};
    char name[DOMAIN_NAME_MAX + 1];
    count(&jobs->counters.queries);
    query->lookup = STS_LOOKUP_NONE;
    if (!domain_name_normalise(bytes_of(query->domain), name)) {
        answer_query(jobs, query, &nothing, INT64_MAX);
        return;
    }
    struct sts_job *job = *find(jobs, name);
    if (!job)
        job = start(jobs, name);
    struct sts_found found = nothing;
    if (job->knows_txt && !job->first)
        (void)sts_cache_find(jobs->cache, name, id_of(job), now_s(), &found);
    if (!found.policy) {
        add_waiting(job, query);
        return;
    }
    /* The policy is being renewed; the one that is there is good meanwhile. */
    query->lookup = job->lookup;
    answer_query(jobs, query, &found, job->expires_ms);
}

static void renew(void *ctx, const char *domain)
{
    struct sts_jobs *jobs = ctx;
    if (!*find(jobs, domain))
        start(jobs, domain);
}

void sts_jobs_renew(struct sts_jobs *jobs)
{
    sts_cache_each_due(jobs->cache, now_s(), jobs->options->fetches, renew, jobs);
}

/* RFC 8461 3.1: records that claim to be one; exactly one, and that one valid. */
static void read_txt(struct sts_job *job)
{
    const struct answer *answer = job->txt.answer;
    unsigned num;
    job->expires_ms = job->txt.expires_ms;
    job->lookup = answer->status == ANSWER_FAILED ? STS_LOOKUP_FAILED : STS_LOOKUP_NONE;
    const struct answer_record *only = txt_record_only(answer, sts_record_is_one, &num);
    if (num > 0)
        job->lookup = STS_LOOKUP_INVALID;
    if (only && sts_record_parse(only->data, &job->txt_record))
        job->lookup = STS_LOOKUP_FOUND;
    else if (only)
        log_info("MTA-STS: the TXT record %s is not valid", job->txt_name);
    if (num > 1)
        log_info("MTA-STS: %s has %u records, and none of them counts", job->txt_name, num);
}

static void queue_fetch(struct sts_job *job)
{
    struct sts_jobs *jobs = job->jobs;
    job->next_queued = NULL;
    *jobs->queued_end = job;
    jobs->queued_end = &job->next_queued;
    start_fetches(jobs);
}

static void txt_answered(struct sts_job *job)
{
    struct sts_found found;
    job->knows_txt = true;
    read_txt(job);
    enum sts_advice advice =
        sts_cache_find(job->jobs->cache, job->domain, id_of(job), now_s(), &found);
    sts_jobs_count_policies(job->jobs);
    if (found.policy && job->first && (!id_of(job) || found.failure != STS_FAILURE_NONE))
        count(&job->jobs->counters.outlived);
    if (advice != STS_FETCH)
        answer_all(job, &found);
    if (advice == STS_USE) {
        free_job(job);
        return;
    }
    /* Renewed without a TXT record: still the edition that is there. */
    if (!id_of(job))
        memcpy(job->txt_record.id, found.policy->id, sizeof job->txt_record.id);
    queue_fetch(job);
}

static void end_fetch(struct sts_job *job)
{
    struct sts_jobs *jobs = job->jobs;
    struct sts_found found;
    job->is_fetching = false;
    jobs->num_fetching--;
    (void)sts_cache_find(jobs->cache, job->domain, id_of(job), now_s(), &found);
    answer_all(job, &found);
    free_job(job);
    start_fetches(jobs);
}

static void fetch_failed(struct sts_job *job, enum sts_failure failure, const char *why)
{
    struct sts_found found;
    count(&job->jobs->counters.failures);
    sts_cache_failed(job->jobs->cache, job->domain, job->txt_record.id, failure, why, now_s());
    (void)sts_cache_find(job->jobs->cache, job->domain, id_of(job), now_s(), &found);
    if (found.policy && job->first)
        count(&job->jobs->counters.outlived);
    /* RFC 8461 3.3: administrators are to hear of it, unless the policy is none. */
    bool matters = found.policy && found.policy->mode != STS_NONE;
    log_note(matters ? LOG_LEVEL_WARNING : LOG_LEVEL_INFO,
             "MTA-STS: no policy from %s, edition %s (%s: %s); %s", job->host, job->txt_record.id,
             sts_failure_name(failure), why,
             found.policy ? "the one that was kept goes on" : "mail goes as without one");
    end_fetch(job);
}

/* The policy is good for the mail that waits for it even if it says that it is over at once. */
static void fetched(struct sts_job *job, const struct sts_policy_text *text)
{
    struct sts_policy *policy = sts_policy_new(text, job->txt_record.id);
    struct sts_found found = {.policy = policy, .expires_s = now_s() + policy->max_age_s};
    sts_cache_put(job->jobs->cache, job->domain, policy, now_s());
    sts_jobs_count_policies(job->jobs);
    job->jobs->is_changed = true;
    log_debug("MTA-STS: %s has the policy \"%s\" for %lld s, edition %s", job->domain,
              sts_mode_name(policy->mode), (long long)policy->max_age_s, policy->id);
    answer_all(job, &found);
    sts_policy_unref(policy);
    end_fetch(job);
}

static void on_response(void *ctx, enum https_outcome outcome, const struct http_response *response,
                        const char *why)
{
    struct sts_policy_text text;
    struct sts_job *job = ctx;
    char status[40];
    if (outcome != HTTPS_OK) {
        fetch_failed(job, outcome == HTTPS_FAILED ? STS_FAILURE_FETCH : STS_FAILURE_WEBPKI, why);
    } else if (http_response_status(response) != HTTP_STATUS_OK) {
        snprintf(status, sizeof status, "HTTP status %u", http_response_status(response));
        fetch_failed(job, STS_FAILURE_FETCH, status);
    } else if (!http_response_has_media_type(response, "text/plain")) {
        fetch_failed(job, STS_FAILURE_FETCH, "its media type is not text/plain");
    } else if (!sts_policy_parse(buffer_bytes(&response->body), &text, &why)) {
        fetch_failed(job, STS_FAILURE_INVALID, why);
    } else {
        fetched(job, &text);
    }
}

static void addresses_answered(struct sts_job *job)
{
    const struct sts_service_options *options = job->jobs->options;
    struct host_address addresses[HTTPS_ADDRESSES_MAX];
    size_t num = https_addresses(job->aaaa.answer, job->a.answer, options->allow_local, addresses);
    if (num == 0) {
        fetch_failed(job, STS_FAILURE_FETCH, "the host has no address that could be used");
        return;
    }
    const struct https_request_params params = {.loop = job->jobs->loop,
                                                .context = options->context,
                                                .host = job->host,
                                                .port = options->port,
                                                .target = "/.well-known/mta-sts.txt",
                                                .accept = "text/plain",
                                                .addresses = addresses,
                                                .num_addresses = num,
                                                .timeout_ms = options->timeout_ms,
                                                .body_max = STS_POLICY_MAX,
                                                .now_wall_s = now_s(),
                                                .on_done = on_response,
                                                .ctx = job};
    job->request = https_request_start(&params);
}

static void start_fetch(struct sts_job *job)
{
    job->is_fetching = true;
    job->jobs->num_fetching++;
    count(&job->jobs->counters.fetches);
    if (job->jobs->options->ipv4)
        look_up(job, &job->a, job->host, TYPE_A);
    if (job->jobs->options->ipv6)
        look_up(job, &job->aaaa, job->host, TYPE_AAAA);
}

static void start_fetches(struct sts_jobs *jobs)
{
    while (jobs->num_fetching < jobs->options->fetches && jobs->first_queued) {
        struct sts_job *job = jobs->first_queued;
        if (!(jobs->first_queued = job->next_queued))
            jobs->queued_end = &jobs->first_queued;
        start_fetch(job);
    }
}

static struct sts_job *job_of(struct record_query *query)
{
    switch (query->type) {
    case TYPE_TXT:
        return container_of(query, struct sts_job, txt);
    case TYPE_A:
        return container_of(query, struct sts_job, a);
    case TYPE_AAAA:
        return container_of(query, struct sts_job, aaaa);
    case TYPE_MX:
    case TYPE_TLSA:
        break;
    }
    CHECK(false); /* an answer to what was not asked */
    return NULL;
}

void sts_jobs_records_answered(struct sts_jobs *jobs, struct record_query *query)
{
    struct sts_job *job = job_of(query);
    job->num_pending--;
    if (jobs->stopping || job->num_pending)
        return;
    if (job->is_fetching)
        addresses_answered(job);
    else
        txt_answered(job);
}

void sts_jobs_init(struct sts_jobs *jobs, const struct sts_service_options *options,
                   struct loop *loop, struct mailbox *mailbox)
{
    *jobs = (struct sts_jobs){.options = options, .loop = loop, .mailbox = mailbox};
    jobs->queued_end = &jobs->first_queued;
    jobs->cache = sts_cache_new(&options->cache);
}

static void for_each(struct sts_jobs *jobs, void (*act)(struct sts_job *job))
{
    for (size_t i = 0; i < STS_JOB_BUCKETS; i++) {
        struct sts_job *job = jobs->buckets[i];
        while (job) {
            struct sts_job *next = job->next_in_bucket;
            act(job);
            job = next;
        }
    }
}

static void stop_job(struct sts_job *job)
{
    https_request_free(job->request);
    job->request = NULL;
    if (job->is_fetching)
        job->jobs->num_fetching--;
    job->is_fetching = false;
}

void sts_jobs_stop(struct sts_jobs *jobs)
{
    jobs->stopping = true;
    for_each(jobs, stop_job);
}

void sts_jobs_fini(struct sts_jobs *jobs)
{
    for_each(jobs, free_job);
    sts_cache_free(jobs->cache);
}
