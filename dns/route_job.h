/* Queries for routes under way: what has to be looked up for each, in which order.
 *
 * A job asks for the MX records, then for the addresses of all hosts at once, and answers. Only so
 * many jobs run at a time; further queries wait in order. The loop's thread only. */
#ifndef SLUICE_DNS_ROUTE_JOB_H
#define SLUICE_DNS_ROUTE_JOB_H

#include "dns/lookup.h"
#include "dns/resolver.h"
#include "dns/route_build.h"

struct route_job;

struct route_jobs {
    struct lookups *lookups;  /* borrowed */
    struct route_rules rules; /* own_name and own_addresses are borrowed */
    struct route_random random;
    bool ipv4, ipv6;
    unsigned max_active;
    unsigned num_active;
    struct route_job *active;                       /* owned list */
    ck_stack_entry_t *first_waiting, **waiting_end; /* queries, by their items' links */
};

/* Set the members above it first. */
void route_jobs_init(struct route_jobs *jobs);
/* Takes the query; it is answered from route_jobs_pump() or route_jobs_abort(). */
void route_jobs_add(struct route_jobs *jobs, struct route_query *query);
/* Starts what may start, until all wait for servers. */
void route_jobs_pump(struct route_jobs *jobs);
/* Answers everything with ROUTE_DEFER. The look-ups' waiters are void afterwards. */
void route_jobs_abort(struct route_jobs *jobs);

#endif
