/* One look-up for each query, and a copy of its answer for whoever asked: answers of the cache
 * belong to the resolver's thread. It judges nothing. */
#include "dns/record_job.h"

#include "base/memory.h"
#include "dns/domain_name.h"

struct record_job {
    struct lookup_waiter waiter;
    struct record_job *next, **at; /* in the list of active jobs */
    struct record_query *query;
    char name[DOMAIN_NAME_MAX + 1];
};

static void answer_query(struct record_query *query, struct answer *answer, int64_t expires_ms)
{
    query->answer = answer;
    query->expires_ms = expires_ms;
    query->item.kind = RESOLVER_RECORDS;
    mailbox_post(query->reply_to, &query->item);
}

static void free_job(struct record_job *job)
{
    *job->at = job->next;
    if (job->next)
        job->next->at = job->at;
    free(job);
}

static void on_found(struct lookup_waiter *waiter, const struct answer_found *found)
{
    struct record_job *job = container_of(waiter, struct record_job, waiter);
    answer_query(job->query, answer_copy(found->answer), found->expires_ms);
    free_job(job);
}

void record_jobs_add(struct record_jobs *jobs, struct record_query *query)
{
    struct answer_found found;
    char name[DOMAIN_NAME_MAX + 1];
    if (!domain_name_normalise(bytes_of(query->name), name)) {
        answer_query(query, answer_new(ANSWER_NXDOMAIN, ""), INT64_MAX);
        return;
    }
    struct record_job *job = mem_zalloc(1, sizeof *job);
    memcpy(job->name, name, sizeof name);
    job->query = query;
    job->waiter.on_found = on_found;
    job->at = &jobs->active;
    job->next = jobs->active;
    if (job->next)
        job->next->at = &job->next;
    jobs->active = job;
    if (lookups_find(jobs->lookups, job->name, (uint16_t)query->type, &job->waiter, &found))
        on_found(&job->waiter, &found);
}

void record_jobs_abort(struct record_jobs *jobs)
{
    while (jobs->active) {
        answer_query(jobs->active->query, answer_new(ANSWER_FAILED, "the resolver stops"), 0);
        free_job(jobs->active);
    }
}
