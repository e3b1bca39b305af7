/* Look-ups in flight: coalescing, the choice of servers, the queue in front of the servers.
 * It knows nothing of routes, and it does no I/O itself. */
#include "dns/lookup.h"

#include "base/check.h"
#include "base/memory.h"
#include "dns/domain_name.h"

enum { BUCKETS = 1024 };

struct lookup {
    struct dns_question question;
    struct lookup *next_in_bucket;
    struct lookup *next_queued;
    struct lookup_waiter *waiters, **waiters_end;
    uint8_t asked[DNS_SERVERS_MAX];    /* how often, for the present name */
    bool has_refused[DNS_SERVERS_MAX]; /* answered with an error: not asked again */
    bool was_plain;                    /* asked once more without EDNS */
    unsigned hops;                     /* CNAMEs followed by us */
    uint32_t ttl_s;                    /* least along those */
    bool secure;                       /* all along those */
    char alias[ANSWER_NAME_MAX];       /* what the question asks for */
    char name[];                       /* what was looked up */
};

struct lookups {
    struct loop *loop;                /* borrowed */
    struct dns_transport *transport;  /* borrowed */
    struct lookup_counters *counters; /* borrowed */
    struct answer_cache *cache;
    unsigned tries;
    unsigned max_in_flight;
    unsigned num_in_flight;
    struct lookup *buckets[BUCKETS];
    struct lookup *first_queued, **queued_end;
};

static void count(_Atomic uint64_t *counter)
{
    atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

struct lookups *lookups_new(struct loop *loop, struct dns_transport *transport,
                            const struct answer_cache_options *cache, unsigned tries,
                            unsigned max_in_flight, struct lookup_counters *counters)
{
    struct lookups *lookups = mem_zalloc(1, sizeof *lookups);
    lookups->loop = loop;
    lookups->transport = transport;
    lookups->counters = counters;
    lookups->cache = answer_cache_new(cache);
    lookups->tries = tries ? tries : 1;
    lookups->max_in_flight = max_in_flight ? max_in_flight : 1;
    lookups->queued_end = &lookups->first_queued;
    return lookups;
}

void lookups_free(struct lookups *lookups)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (lookups->buckets[i]) {
            struct lookup *lookup = lookups->buckets[i];
            lookups->buckets[i] = lookup->next_in_bucket;
            free(lookup);
        }
    answer_cache_free(lookups->cache);
    free(lookups);
}

static struct lookup **find_in_flight(struct lookups *lookups, const char *name, uint16_t type)
{
    struct lookup **at = &lookups->buckets[(bytes_hash(bytes_of(name)) ^ type) % BUCKETS];
    while (*at && ((*at)->question.type != type || strcmp((*at)->name, name) != 0))
        at = &(*at)->next_in_bucket;
    return at;
}

static void enqueue(struct lookups *lookups, struct lookup *lookup)
{
    lookup->next_queued = NULL;
    *lookups->queued_end = lookup;
    lookups->queued_end = &lookup->next_queued;
}

/* What was begun goes before what is new, so that its waiters are not put off twice. */
static void enqueue_first(struct lookups *lookups, struct lookup *lookup)
{
    lookup->next_queued = lookups->first_queued;
    if (!lookups->first_queued)
        lookups->queued_end = &lookup->next_queued;
    lookups->first_queued = lookup;
}

static struct lookup *dequeue(struct lookups *lookups)
{
    struct lookup *lookup = lookups->first_queued;
    if (lookup && !(lookups->first_queued = lookup->next_queued))
        lookups->queued_end = &lookups->first_queued;
    return lookup;
}

static struct lookup *start(const char *name, uint16_t type)
{
    size_t name_len = strlen(name) + 1;
    struct lookup *lookup = mem_zalloc(1, sizeof *lookup + name_len);
    memcpy(lookup->name, name, name_len);
    lookup->question = (struct dns_question){.type = type, .name = lookup->name};
    lookup->waiters_end = &lookup->waiters;
    lookup->ttl_s = INT32_MAX;
    lookup->secure = true;
    return lookup;
}

bool lookups_find(struct lookups *lookups, const char *name, uint16_t type,
                  struct lookup_waiter *waiter, struct answer_found *out)
{
    if (answer_cache_find(lookups->cache, name, type, lookups->loop->now_ms, out)) {
        count(&lookups->counters->hits);
        if (out->is_stale)
            count(&lookups->counters->stale);
        return true;
    }
    struct lookup **at = find_in_flight(lookups, name, type);
    if (*at) {
        count(&lookups->counters->shared);
    } else {
        *at = start(name, type);
        enqueue(lookups, *at);
    }
    waiter->next = NULL;
    *(*at)->waiters_end = waiter;
    (*at)->waiters_end = &waiter->next;
    return false;
}

/* The server that was asked least, those that rest after the others; false: all tries are used. */
static bool choose_server(const struct lookups *lookups, struct lookup *lookup)
{
    unsigned best_rank = UINT32_MAX;
    for (unsigned i = 0; i < dns_transport_num_servers(lookups->transport); i++) {
        unsigned rank = lookup->asked[i] * 2u + dns_transport_is_resting(lookups->transport, i);
        if (lookup->has_refused[i] || lookup->asked[i] >= lookups->tries || rank >= best_rank)
            continue;
        best_rank = rank;
        lookup->question.server = i;
    }
    return best_rank != UINT32_MAX;
}

static void send_queued(struct lookups *lookups)
{
    while (lookups->num_in_flight < lookups->max_in_flight) {
        struct lookup *lookup = dequeue(lookups);
        if (!lookup)
            return;
        /* Chosen now, not when it was queued: servers may have fallen silent since. */
        CHECK(choose_server(lookups, lookup));
        lookups->num_in_flight++;
        lookup->asked[lookup->question.server]++;
        count(&lookups->counters->queries);
        dns_transport_send(lookups->transport, &lookup->question);
    }
}

/* An answer that is good for the cache, or the last failure. */
static void finish(struct lookups *lookups, struct lookup *lookup, struct answer *answer)
{
    struct answer_found found;
    if (answer->ttl_s > lookup->ttl_s)
        answer->ttl_s = lookup->ttl_s;
    answer->secure &= lookup->secure;
    if (answer->status == ANSWER_FAILED)
        count(&lookups->counters->failures);
    answer_cache_put(lookups->cache, lookup->name, lookup->question.type, answer,
                     lookups->loop->now_ms, &found);
    struct lookup **at = find_in_flight(lookups, lookup->name, lookup->question.type);
    *at = lookup->next_in_bucket;
    /* The cache may drop what it holds while those who wait look up more. */
    answer_ref(found.answer);
    struct lookup_waiter *waiter = lookup->waiters;
    while (waiter) {
        struct lookup_waiter *next = waiter->next;
        if (found.is_stale)
            count(&lookups->counters->stale);
        waiter->on_found(waiter, &found);
        waiter = next;
    }
    answer_unref(found.answer);
    answer_unref(answer);
    free(lookup);
}

/* The servers are recursive as a rule and follow CNAMEs themselves; this is for those that know
 * only the zone of the CNAME. */
static void follow_alias(struct lookups *lookups, struct lookup *lookup, struct answer *answer)
{
    if (++lookup->hops > ANSWER_CHAIN_MAX ||
        !domain_name_normalise(bytes_of(answer->text), lookup->alias)) {
        finish(lookups, lookup, answer_new(ANSWER_FAILED, "a CNAME chain without an end"));
    } else {
        if (answer->ttl_s < lookup->ttl_s)
            lookup->ttl_s = answer->ttl_s;
        lookup->secure &= answer->secure;
        lookup->question.name = lookup->alias;
        memset(lookup->asked, 0, sizeof lookup->asked);
        memset(lookup->has_refused, 0, sizeof lookup->has_refused);
        enqueue_first(lookups, lookup);
    }
    answer_unref(answer);
}

static void on_failure(struct lookups *lookups, struct lookup *lookup, struct answer *answer)
{
    enum { RCODE_FORMERR = 1 };
    unsigned server = lookup->question.server;
    if (answer->rcode == RCODE_FORMERR && !lookup->was_plain) {
        /* From now on the transport asks this server without EDNS: once more (RFC 6891 7). */
        lookup->was_plain = true;
        lookup->asked[server]--;
    } else if (answer->rcode != 0) {
        lookup->has_refused[server] = true;
    }
    if (!choose_server(lookups, lookup)) {
        finish(lookups, lookup, answer);
        return;
    }
    answer_unref(answer);
    enqueue_first(lookups, lookup);
}

void lookups_pump(struct lookups *lookups)
{
    struct dns_question *question;
    send_queued(lookups);
    while ((question = dns_transport_take(lookups->transport))) {
        struct lookup *lookup = container_of(question, struct lookup, question);
        struct answer *answer = question->answer;
        lookups->num_in_flight--;
        if (answer->status == ANSWER_FAILED)
            on_failure(lookups, lookup, answer);
        else if (answer->status == ANSWER_ALIAS)
            follow_alias(lookups, lookup, answer);
        else
            finish(lookups, lookup, answer);
        send_queued(lookups);
    }
}
