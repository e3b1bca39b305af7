/* Queries for the records of one name and type, for those who do not want a route. The loop's
 * thread only. */
#ifndef SLUICE_DNS_RECORD_JOB_H
#define SLUICE_DNS_RECORD_JOB_H

#include "dns/lookup.h"
#include "dns/resolver.h"

struct record_job;

struct record_jobs {
    struct lookups *lookups;   /* borrowed */
    struct record_job *active; /* owned list */
};

/* Takes the query; it is answered from here, from lookups_pump() or from record_jobs_abort(). */
void record_jobs_add(struct record_jobs *jobs, struct record_query *query);
/* Answers everything with ANSWER_FAILED. The look-ups' waiters are void afterwards. */
void record_jobs_abort(struct record_jobs *jobs);

#endif
