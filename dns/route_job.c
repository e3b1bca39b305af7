/* One query for a route: MX, then addresses, then the judgement of route_build.c.
 * It talks to no server and holds no policy. */
#include "dns/route_job.h"

#include "base/memory.h"

#include <stdio.h>

enum { LMTP_PORT = 24 };

/* One look-up that a job waits for. */
struct job_lookup {
    struct lookup_waiter waiter;
    struct route_job *job;
    struct answer_found found; /* answer: one reference, NULL until found */
};

struct route_job {
    struct route_job *next, **at; /* in the list of active jobs */
    struct route_jobs *jobs;
    struct route_query *query;
    struct route_target target;
    bool has_mx; /* the hosts come from MX (or from its absence) */
    bool is_planned;
    bool is_tlsa_asked;
    unsigned num_pending;
    char name[DOMAIN_NAME_MAX + 1];
    struct job_lookup mx;
    struct job_lookup *addresses; /* owned; two per host of the plan: A, AAAA */
    struct job_lookup *tlsa;      /* owned; two per host: its own name, where its CNAMEs led */
    struct route_plan plan;
};

static void answer_query(struct route_query *query, struct route *route)
{
    query->route = route;
    query->item.kind = RESOLVER_ANSWER;
    mailbox_post(query->reply_to, &query->item);
}

static void free_job(struct route_job *job)
{
    *job->at = job->next;
    if (job->next)
        job->next->at = job->at;
    job->jobs->num_active--;
    answer_unref(job->mx.found.answer);
    for (size_t i = 0; job->addresses && i < 2 * job->plan.num_hosts; i++)
        answer_unref(job->addresses[i].found.answer);
    for (size_t i = 0; job->tlsa && i < 2 * job->plan.num_hosts; i++)
        answer_unref(job->tlsa[i].found.answer);
    free(job->addresses);
    free(job->tlsa);
    free(job);
}

static void finish(struct route_job *job, struct route *route)
{
    answer_query(job->query, route);
    free_job(job);
}

static void on_found(struct lookup_waiter *waiter, const struct answer_found *found);

static void look_up(struct route_job *job, struct job_lookup *lookup, const char *name,
                    uint16_t type)
{
    lookup->job = job;
    lookup->waiter.on_found = on_found;
    if (lookups_find(job->jobs->lookups, name, type, &lookup->waiter, &lookup->found)) {
        answer_ref(lookup->found.answer);
    } else {
        lookup->found.answer = NULL;
        job->num_pending++;
    }
}

static void look_up_addresses(struct route_job *job)
{
    job->addresses = mem_zalloc(2 * job->plan.num_hosts, sizeof *job->addresses);
    for (size_t i = 0; i < job->plan.num_hosts; i++) {
        const char *name = job->plan.hosts[i].name;
        if (job->jobs->ipv4)
            look_up(job, &job->addresses[2 * i], name, TYPE_A);
        if (job->jobs->ipv6)
            look_up(job, &job->addresses[2 * i + 1], name, TYPE_AAAA);
    }
}

static const struct answer_found *mx_of(const struct route_job *job)
{
    return job->has_mx ? &job->mx.found : NULL;
}

static struct host_answers answers_of(const struct route_job *job, size_t host)
{
    struct host_answers answers = {.a = job->addresses[2 * host].found,
                                   .aaaa = job->addresses[2 * host + 1].found};
    if (job->tlsa) {
        answers.tlsa = job->tlsa[2 * host].found;
        answers.tlsa_alias = job->tlsa[2 * host + 1].found;
    }
    return answers;
}

/* A name that is too long cannot have records. */
static void look_up_tlsa_at(struct route_job *job, struct job_lookup *lookup, const char *base)
{
    char owner[DOMAIN_NAME_MAX + 1];
    int len = snprintf(owner, sizeof owner, "_%u._tcp.%s", job->target.port, base);
    if (len > 0 && (size_t)len < sizeof owner)
        look_up(job, lookup, owner, TYPE_TLSA);
}

static void look_up_tlsa(struct route_job *job)
{
    job->tlsa = mem_zalloc(2 * job->plan.num_hosts, sizeof *job->tlsa);
    for (size_t i = 0; i < job->plan.num_hosts; i++) {
        struct host_answers answers = answers_of(job, i);
        const char *alias = route_host_alias(&answers);
        if (!route_host_wants_tlsa(&job->target, mx_of(job), &answers))
            continue;
        look_up_tlsa_at(job, &job->tlsa[2 * i], job->plan.hosts[i].name);
        if (alias)
            look_up_tlsa_at(job, &job->tlsa[2 * i + 1], alias);
    }
}

static struct route *build(struct route_job *job)
{
    struct host_answers answers[ROUTE_HOSTS_MAX];
    for (size_t i = 0; i < job->plan.num_hosts; i++)
        answers[i] = answers_of(job, i);
    return route_build(&job->target, &job->jobs->rules, mx_of(job), &job->plan, answers,
                       job->jobs->random);
}

/* Goes on as far as what was found allows; may end the job. */
static void advance(struct route_job *job)
{
    if (job->num_pending == 0 && !job->is_planned) {
        job->is_planned = true;
        struct route *route = route_plan(&job->target, &job->jobs->rules, mx_of(job), &job->plan);
        if (route) {
            finish(job, route);
            return;
        }
        look_up_addresses(job);
    }
    if (job->num_pending == 0 && !job->is_tlsa_asked && job->query->wants_tlsa) {
        job->is_tlsa_asked = true;
        look_up_tlsa(job);
    }
    if (job->num_pending == 0)
        finish(job, build(job));
}

static void on_found(struct lookup_waiter *waiter, const struct answer_found *found)
{
    struct job_lookup *lookup = container_of(waiter, struct job_lookup, waiter);
    lookup->found = *found;
    answer_ref(found->answer);
    lookup->job->num_pending--;
    advance(lookup->job);
}

static struct route_target target_of(const struct route_query *query)
{
    const struct next_hop *hop = query->next_hop;
    if (!hop)
        return (struct route_target){.name = query->domain, .port = query->port};
    uint16_t usual = hop->transport == TRANSPORT_LMTP ? LMTP_PORT : query->port;
    return (struct route_target){.name = hop->host,
                                 .site_name = hop->text,
                                 .transport = hop->transport,
                                 .port = hop->port ? hop->port : usual,
                                 .is_next_hop = true};
}

/* The route of what needs no look-up: addresses, and text that is no domain. NULL: look it up. */
static struct route *judge_text(const struct route_jobs *jobs, const struct route_query *query,
                                const struct route_target *target)
{
    char name[DOMAIN_NAME_MAX + 1];
    struct host_address address;
    if (query->next_hop && query->next_hop->is_literal)
        return route_build_literal(target, &jobs->rules, &query->next_hop->address);
    if (target->name[0] == '[') {
        if (host_address_parse_literal(bytes_of(target->name), &address))
            return route_build_literal(target, &jobs->rules, &address);
        return route_new_verdict(target, ROUTE_BOUNCE, 550, ENHANCED(5, 1, 3), INT64_MAX,
                                 "%.100s: not an address literal", target->name);
    }
    if (domain_name_normalise(bytes_of(target->name), name))
        return NULL;
    return route_new_verdict(target, ROUTE_BOUNCE, 550, ENHANCED(5, 1, 2), INT64_MAX,
                             "%.100s: not a domain name", target->name);
}

static void start(struct route_jobs *jobs, struct route_query *query)
{
    struct route_target target = target_of(query);
    struct route *route = judge_text(jobs, query, &target);
    if (route) {
        answer_query(query, route);
        return;
    }
    struct route_job *job = mem_zalloc(1, sizeof *job);
    job->jobs = jobs;
    job->query = query;
    job->target = target;
    job->has_mx = !query->next_hop || !query->next_hop->is_bracketed;
    if (domain_name_normalise(bytes_of(target.name), job->name))
        job->target.name = job->name;
    job->next = jobs->active;
    job->at = &jobs->active;
    if (job->next)
        job->next->at = &job->next;
    jobs->active = job;
    jobs->num_active++;
    if (job->has_mx)
        look_up(job, &job->mx, job->target.name, TYPE_MX);
    advance(job);
}

void route_jobs_init(struct route_jobs *jobs)
{
    jobs->num_active = 0;
    jobs->active = NULL;
    jobs->first_waiting = NULL;
    jobs->waiting_end = &jobs->first_waiting;
}

void route_jobs_add(struct route_jobs *jobs, struct route_query *query)
{
    query->item.link.next = NULL;
    *jobs->waiting_end = &query->item.link;
    jobs->waiting_end = &query->item.link.next;
}

static struct route_query *take_waiting(struct route_jobs *jobs)
{
    ck_stack_entry_t *link = jobs->first_waiting;
    if (!link)
        return NULL;
    if (!(jobs->first_waiting = link->next))
        jobs->waiting_end = &jobs->first_waiting;
    return container_of(container_of(link, struct mailbox_item, link), struct route_query, item);
}

void route_jobs_pump(struct route_jobs *jobs)
{
    do {
        struct route_query *query;
        while (jobs->num_active < jobs->max_active && (query = take_waiting(jobs)))
            start(jobs, query);
        lookups_pump(jobs->lookups);
    } while (jobs->num_active < jobs->max_active && jobs->first_waiting);
}

void route_jobs_abort(struct route_jobs *jobs)
{
    struct route_query *query;
    while (jobs->active) {
        query = jobs->active->query;
        struct route_target target = target_of(query);
        finish(jobs->active, route_new_verdict(&target, ROUTE_DEFER, 0, ENHANCED(4, 3, 2), 0,
                                               "%.100s: the resolver stops", target.name));
    }
    while ((query = take_waiting(jobs))) {
        struct route_target target = target_of(query);
        answer_query(query, route_new_verdict(&target, ROUTE_DEFER, 0, ENHANCED(4, 3, 2), 0,
                                              "%.100s: the resolver stops", target.name));
    }
}
