/* From a recipient domain to a route, an MTA-STS policy and a site: one look-up per domain, however
 * many deliveries wait for it. The resolver asks DNS, tls/sts_service.c for policies; the site pool
 * decides when something goes out. */
#include "base/clock.h"
#include "base/memory.h"
#include "router/delivery_tls.h"
#include "router/dispatcher.h"
#include "router/outcome_table.h"

#include <string.h>

static struct destination **bucket_of(struct dispatcher *dispatcher, const char *domain)
{
    return &dispatcher->destinations[bytes_hash(bytes_of(domain)) % DESTINATION_BUCKETS];
}

static void settle(struct dispatcher *dispatcher, struct destination *destination)
{
    config_snapshot_unref(destination->snapshot);
    destination->snapshot = config_snapshot_ref(dispatcher->snapshot);
    destination->settings = config_for_domain(dispatcher->snapshot->config, destination->domain);
}

static struct destination *get_destination(struct dispatcher *dispatcher, const char *domain)
{
    struct destination **bucket = bucket_of(dispatcher, domain);
    for (struct destination *d = *bucket; d; d = d->next)
        if (strcmp(d->domain, domain) == 0)
            return d;
    struct destination *destination = mem_zalloc(1, sizeof *destination);
    destination->domain = mem_strdup(domain);
    settle(dispatcher, destination);
    destination->next = *bucket;
    *bucket = destination;
    dispatcher->num_destinations++;
    return destination;
}

static void fill_and_finish(struct dispatcher *dispatcher, struct delivery *delivery,
                            const struct outcome *outcome)
{
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        delivery->recipients[i].outcome = *outcome;
    delivery->trace.stamps.done_us = dispatcher->loop.now_us;
    delivery->item.kind = DELIVERY_ATTEMPTED;
    mailbox_post(dispatcher->services.journal_thread, &delivery->item);
}

/* X-Sluice-Via without its next hop would be mail to the MX hosts of another domain. */
static bool lacks_via(const struct destination *destination, const struct delivery *delivery)
{
    return delivery->message->envelope.via && !destination->settings->next_hop;
}

static void place(struct dispatcher *dispatcher, struct destination *destination,
                  struct delivery *delivery)
{
    config_snapshot_unref(delivery->snapshot);
    delivery->snapshot = config_snapshot_ref(destination->snapshot);
    delivery->settings = destination->settings;
    if (lacks_via(destination, delivery)) {
        struct outcome outcome =
            outcome_from_trouble(PHASE_ROUTE, TROUBLE_NO_VIA, destination->domain);
        fill_and_finish(dispatcher, delivery, &outcome);
        return;
    }
    if (destination->route->verdict != ROUTE_OK) {
        struct outcome outcome = outcome_from_route(destination->route);
        fill_and_finish(dispatcher, delivery, &outcome);
        return;
    }
    delivery->route = route_ref(destination->route);
    sts_policy_unref(delivery->sts);
    delivery->sts = sts_policy_ref(destination->sts);
    delivery->sts_is_uncertain = destination->sts_is_uncertain;
    struct site *site = site_pool_get(dispatcher->services.site_pool, destination->route,
                                      destination->snapshot, destination->settings);
    int64_t until_ms = 0;
    delivery->trace.stamps.queued_us = dispatcher->loop.now_us;
    enum site_admit admit = site_pool_add(dispatcher->services.site_pool, site, delivery,
                                          dispatcher->loop.now_ms, &until_ms);
    if (admit == SITE_ADMITTED)
        return;
    delivery->message->site_hash = site_key_hash(site);
    int64_t until_wall_ms =
        admit == SITE_FULL ? 0 : clock_wall_ms() + until_ms - dispatcher->loop.now_ms;
    struct outcome why = admit == SITE_FULL ? (struct outcome){.kind = OUTCOME_RETURNED}
                                            : site_pool_last_failure(site);
    why.kind = OUTCOME_RETURNED;
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        delivery->recipients[i].outcome = why;
    dispatcher_delivery_returned(dispatcher, delivery, until_wall_ms);
}

static void ask_sts(struct dispatcher *dispatcher, struct destination *destination)
{
    destination->num_asked++;
    destination->sts_query =
        (struct sts_query){.reply_to = &dispatcher->mailbox, .domain = destination->domain};
    sts_service_ask(dispatcher->services.sts, &destination->sts_query);
}

static void forget_sts(struct destination *destination)
{
    sts_policy_unref(destination->sts);
    destination->sts = NULL;
    destination->sts_is_uncertain = false;
    destination->sts_expires_ms = INT64_MAX;
}

static void ask(struct dispatcher *dispatcher, struct destination *destination)
{
    destination->num_asked = 1;
    destination->query = (struct route_query){
        .item.kind = RESOLVER_ANSWER,
        .reply_to = &dispatcher->mailbox,
        .domain = destination->settings->next_hop ? NULL : destination->domain,
        .next_hop = destination->settings->next_hop,
        .port = destination->settings->port,
        .wants_tlsa = true,
    };
    resolver_ask(dispatcher->services.resolver, &destination->query);
    if (dispatcher->services.sts && delivery_wants_sts(destination->settings, destination->domain))
        ask_sts(dispatcher, destination);
    else
        forget_sts(destination);
}

static bool is_fresh(const struct destination *destination, int64_t now_ms)
{
    return destination->route && destination->route->expires_ms > now_ms &&
           destination->sts_expires_ms > now_ms;
}

void dispatcher_dispatch(struct dispatcher *dispatcher, struct delivery *delivery)
{
    struct destination *destination =
        get_destination(dispatcher, dispatcher_route_domain(delivery->message, delivery->domain));
    if (destination->num_asked == 0 && is_fresh(destination, dispatcher->loop.now_ms)) {
        place(dispatcher, destination, delivery);
        return;
    }
    delivery->next = NULL;
    if (destination->last)
        destination->last->next = delivery;
    else
        destination->first = delivery;
    destination->last = delivery;
    if (destination->num_asked == 0)
        ask(dispatcher, destination);
}

/* It was asked for before a reload, perhaps for another next hop. */
static void ask_anew(struct dispatcher *dispatcher, struct destination *destination)
{
    route_unref(destination->route);
    destination->route = NULL;
    settle(dispatcher, destination);
    if (destination->first)
        ask(dispatcher, destination);
}

/* One of the answers is there; with the last one the mail goes on. */
static void answered(struct dispatcher *dispatcher, struct destination *destination)
{
    if (--destination->num_asked)
        return;
    if (destination->snapshot != dispatcher->snapshot) {
        ask_anew(dispatcher, destination);
        return;
    }
    struct delivery *delivery = destination->first;
    destination->first = destination->last = NULL;
    while (delivery) {
        struct delivery *next = delivery->next;
        delivery->next = NULL;
        place(dispatcher, destination, delivery);
        delivery = next;
    }
}

void dispatcher_route_answered(struct dispatcher *dispatcher, struct route_query *query)
{
    struct destination *destination = container_of(query, struct destination, query);
    route_unref(destination->route);
    destination->route = query->route;
    answered(dispatcher, destination);
}

void dispatcher_sts_answered(struct dispatcher *dispatcher, struct sts_query *query)
{
    struct destination *destination = container_of(query, struct destination, sts_query);
    sts_policy_unref(destination->sts);
    destination->sts = query->policy;
    destination->sts_is_uncertain = sts_query_is_uncertain(query);
    destination->sts_expires_ms = query->expires_ms;
    answered(dispatcher, destination);
}

static void free_destination(struct destination *destination)
{
    route_unref(destination->route);
    sts_policy_unref(destination->sts);
    config_snapshot_unref(destination->snapshot);
    free(destination->domain);
    free(destination);
}

void dispatcher_sweep_destinations(struct dispatcher *dispatcher)
{
    for (size_t i = 0; i < DESTINATION_BUCKETS; i++) {
        struct destination **link = &dispatcher->destinations[i];
        while (*link) {
            struct destination *destination = *link;
            bool used = destination->num_asked || destination->first ||
                        is_fresh(destination, dispatcher->loop.now_ms);
            if (used) {
                link = &destination->next;
                continue;
            }
            *link = destination->next;
            dispatcher->num_destinations--;
            free_destination(destination);
        }
    }
}

/* A route depends on the next hop. Who is asked for keeps what the question borrows until the
 * answer is there; the resolver has the others' answers at hand. */
void dispatcher_renew_destinations(struct dispatcher *dispatcher)
{
    for (size_t i = 0; i < DESTINATION_BUCKETS; i++) {
        struct destination **link = &dispatcher->destinations[i];
        while (*link) {
            struct destination *destination = *link;
            if (destination->num_asked) {
                link = &destination->next;
                continue;
            }
            *link = destination->next;
            dispatcher->num_destinations--;
            free_destination(destination);
        }
    }
}

struct delivery *dispatcher_take_unrouted(struct dispatcher *dispatcher)
{
    struct delivery *all = NULL;
    for (size_t i = 0; i < DESTINATION_BUCKETS; i++) {
        for (struct destination *d = dispatcher->destinations[i]; d; d = d->next) {
            if (!d->first)
                continue;
            d->last->next = all;
            all = d->first;
            d->first = d->last = NULL;
        }
    }
    return all;
}

void dispatcher_free_destinations(struct dispatcher *dispatcher)
{
    for (size_t i = 0; i < DESTINATION_BUCKETS; i++) {
        while (dispatcher->destinations[i]) {
            struct destination *destination = dispatcher->destinations[i];
            dispatcher->destinations[i] = destination->next;
            free_destination(destination);
        }
    }
}
