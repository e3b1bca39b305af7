/* The resolver's thread: wiring of transport, look-ups and jobs on one loop, and this machine's own
 * addresses. What an answer means is decided in route_build.c, whom to ask in lookup.c. */
#include "dns/resolver.h"

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"
#include "dns/record_job.h"
#include "dns/route_job.h"

#include <errno.h>
#include <ifaddrs.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>

enum {
    RESOLVER_STOP = 101,
    RESOLVER_ASK_RECORDS = 103,
    OWN_ADDRESSES_MAX = 256,
    INTERFACES_INTERVAL_MS = 60 * 1000,
    JOBS_PER_QUESTION = 2 /* jobs under way for each question that may be in flight */
};

struct resolver {
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    struct mailbox_item stop;
    struct dns_transport *transport;
    struct lookups *lookups;
    struct route_jobs jobs;
    struct record_jobs record_jobs;
    struct lookup_counters counters;
    struct timer interfaces_timer;
    char *own_name;
    struct host_address own_addresses[OWN_ADDRESSES_MAX];
    uint32_t random[64];
    unsigned num_random;
};

static uint32_t draw(void *ctx)
{
    struct resolver *resolver = ctx;
    if (resolver->num_random == 0) {
        ssize_t got = getrandom(resolver->random, sizeof resolver->random, 0);
        CHECK(got == (ssize_t)sizeof resolver->random); /* never short up to 256 octets */
        resolver->num_random = sizeof resolver->random / sizeof *resolver->random;
    }
    return resolver->random[--resolver->num_random];
}

/* A failure keeps what was known before. */
static void read_interfaces(struct resolver *resolver)
{
    struct ifaddrs *list;
    if (getifaddrs(&list) != 0) {
        log_warning("cannot list the network interfaces: %s", strerror(errno));
        return;
    }
    size_t num = 0;
    for (const struct ifaddrs *i = list; i && num < OWN_ADDRESSES_MAX; i = i->ifa_next)
        if (host_address_from_sockaddr(i->ifa_addr, &resolver->own_addresses[num]))
            num++;
    freeifaddrs(list);
    resolver->jobs.rules.num_own_addresses = num;
}

static void on_interfaces_timer(struct timer *timer, int64_t now_ms)
{
    struct resolver *resolver = container_of(timer, struct resolver, interfaces_timer);
    (void)now_ms;
    read_interfaces(resolver);
    loop_arm(&resolver->loop, timer, INTERFACES_INTERVAL_MS);
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct resolver *resolver = ctx;
    if (item->kind == RESOLVER_STOP)
        loop_stop(&resolver->loop);
    else if (item->kind == RESOLVER_ASK_RECORDS)
        record_jobs_add(&resolver->record_jobs, container_of(item, struct record_query, item));
    else
        route_jobs_add(&resolver->jobs, container_of(item, struct route_query, item));
}

/* Once a turn, whatever woke it: answers and new queries are worked through in batches. */
static void before_sleep(struct loop *loop, void *ctx)
{
    struct resolver *resolver = ctx;
    (void)loop;
    route_jobs_pump(&resolver->jobs);
    dns_transport_arm(resolver->transport);
}

static void *thread_main(void *ctx)
{
    struct resolver *resolver = ctx;
    loop_run(&resolver->loop);
    return NULL;
}

static unsigned clamp_hosts(unsigned max_hosts)
{
    if (max_hosts < 1)
        return 1;
    return max_hosts < ROUTE_HOSTS_MAX ? max_hosts : ROUTE_HOSTS_MAX;
}

static void init_jobs(struct resolver *resolver, const struct resolver_options *options)
{
    struct answer_cache_options cache = {.entries = options->cache_entries,
                                         .min_ttl_ms = options->min_ttl_ms,
                                         .max_ttl_ms = options->max_ttl_ms,
                                         .max_negative_ttl_ms = options->max_negative_ttl_ms,
                                         .stale_ms = options->stale_ms};
    unsigned max_in_flight = options->max_in_flight ? options->max_in_flight : 1;
    resolver->lookups = lookups_new(&resolver->loop, resolver->transport, &cache, options->tries,
                                    max_in_flight, &resolver->counters);
    resolver->own_name = mem_strdup(options->own_name ? options->own_name : "");
    resolver->jobs = (struct route_jobs){.lookups = resolver->lookups,
                                         .rules = {.own_name = resolver->own_name,
                                                   .own_addresses = resolver->own_addresses,
                                                   .allow_local = options->allow_local,
                                                   .max_hosts = clamp_hosts(options->max_hosts)},
                                         .random = {draw, resolver},
                                         .ipv4 = options->ipv4 ||
                                                 !options->ipv6, /* neither would bounce all mail */
                                         .ipv6 = options->ipv6,
                                         .max_active = JOBS_PER_QUESTION * max_in_flight};
    route_jobs_init(&resolver->jobs);
    resolver->record_jobs.lookups = resolver->lookups;
    read_interfaces(resolver);
    timer_init(&resolver->interfaces_timer, on_interfaces_timer);
    loop_arm(&resolver->loop, &resolver->interfaces_timer, INTERFACES_INTERVAL_MS);
}

/* The transport calls back into nothing when it goes first; the look-ups own what it asked. */
static void free_resolver(struct resolver *resolver)
{
    dns_transport_free(resolver->transport);
    lookups_free(resolver->lookups);
    mailbox_fini(&resolver->mailbox);
    loop_fini(&resolver->loop);
    free(resolver->own_name);
    free(resolver);
}

static struct dns_transport *open_transport(struct resolver *resolver,
                                            const struct resolver_options *options,
                                            char why[ROUTE_WHY_MAX])
{
    struct dns_transport_options transport = {.servers = options->servers,
                                              .num_servers = options->num_servers,
                                              .trust_ad = options->trust_ad,
                                              .timeout_ms = options->timeout_ms};
    return dns_transport_new(&resolver->loop, &transport, why);
}

struct resolver *resolver_start(const struct resolver_options *options, char why[ROUTE_WHY_MAX])
{
    struct resolver *resolver = mem_zalloc(1, sizeof *resolver);
    if (!loop_init(&resolver->loop)) {
        snprintf(why, ROUTE_WHY_MAX, "no event loop for the resolver: %s", strerror(errno));
        free(resolver);
        return NULL;
    }
    if (!mailbox_init(&resolver->mailbox, &resolver->loop, on_item, resolver)) {
        snprintf(why, ROUTE_WHY_MAX, "no mailbox for the resolver: %s", strerror(errno));
        loop_fini(&resolver->loop);
        free(resolver);
        return NULL;
    }
    resolver->transport = open_transport(resolver, options, why);
    if (!resolver->transport) {
        mailbox_fini(&resolver->mailbox);
        loop_fini(&resolver->loop);
        free(resolver);
        return NULL;
    }
    init_jobs(resolver, options);
    resolver->loop.before_sleep = before_sleep;
    resolver->loop.before_sleep_ctx = resolver;
    int rc = pthread_create(&resolver->thread, NULL, thread_main, resolver);
    if (rc != 0) {
        snprintf(why, ROUTE_WHY_MAX, "no thread for the resolver: %s", strerror(rc));
        free_resolver(resolver);
        return NULL;
    }
    pthread_setname_np(resolver->thread, "resolver");
    return resolver;
}

void resolver_stop(struct resolver *resolver)
{
    resolver->stop.kind = RESOLVER_STOP;
    mailbox_post(&resolver->mailbox, &resolver->stop);
    pthread_join(resolver->thread, NULL);
    mailbox_drain(&resolver->mailbox);
    route_jobs_abort(&resolver->jobs);
    record_jobs_abort(&resolver->record_jobs);
    free_resolver(resolver);
}

void resolver_ask(struct resolver *resolver, struct route_query *query)
{
    CHECK(query->reply_to && !query->domain == !!query->next_hop);
    query->item.kind = 0;
    mailbox_post(&resolver->mailbox, &query->item);
}

void resolver_ask_records(struct resolver *resolver, struct record_query *query)
{
    CHECK(query->reply_to && query->name);
    query->item.kind = RESOLVER_ASK_RECORDS;
    mailbox_post(&resolver->mailbox, &query->item);
}

void resolver_read_counters(struct resolver *resolver, struct resolver_counters *out)
{
    const struct lookup_counters *from = &resolver->counters;
    *out = (struct resolver_counters){
        .queries = atomic_load_explicit(&from->queries, memory_order_relaxed),
        .hits = atomic_load_explicit(&from->hits, memory_order_relaxed),
        .shared = atomic_load_explicit(&from->shared, memory_order_relaxed),
        .failures = atomic_load_explicit(&from->failures, memory_order_relaxed),
        .stale = atomic_load_explicit(&from->stale, memory_order_relaxed)};
}
