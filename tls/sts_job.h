/* Domains whose MTA-STS policy is being looked up: TXT record, addresses of the policy host, fetch.
 * Private to this room; the loop's thread only. */
#ifndef SLUICE_TLS_STS_JOB_H
#define SLUICE_TLS_STS_JOB_H

#include "tls/sts_service.h"

#include <stdatomic.h>

enum { STS_JOB_BUCKETS = 1024 };

struct sts_job;

/* Read by any thread. */
struct sts_job_counters {
    _Atomic uint64_t queries, fetches, failures, outlived, policies;
};

struct sts_jobs {
    const struct sts_service_options *options;  /* borrowed */
    struct loop *loop;                          /* borrowed */
    struct mailbox *mailbox;                    /* borrowed: where the resolver answers */
    struct sts_cache *cache;                    /* owned */
    struct sts_job *buckets[STS_JOB_BUCKETS];   /* owned, by domain */
    struct sts_job *first_queued, **queued_end; /* for a fetch */
    unsigned num_fetching;
    bool is_changed; /* since the cache was last written; the owner clears it */
    bool stopping;
    struct sts_job_counters counters;
};

void sts_jobs_init(struct sts_jobs *jobs, const struct sts_service_options *options,
                   struct loop *loop, struct mailbox *mailbox);
/* Ends the fetches; queries are not answered any more. */
void sts_jobs_stop(struct sts_jobs *jobs);
/* Once the resolver has answered all it was asked. */
void sts_jobs_fini(struct sts_jobs *jobs);
void sts_jobs_add(struct sts_jobs *jobs, struct sts_query *query);
/* Starts the look-up of policies that are worth renewing, at most as many as may be fetched at
 * once.
 */
void sts_jobs_renew(struct sts_jobs *jobs);
/* For the counters: the cache has changed. */
void sts_jobs_count_policies(struct sts_jobs *jobs);
void sts_jobs_records_answered(struct sts_jobs *jobs, struct record_query *query);

#endif
