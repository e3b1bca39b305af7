/* Routes: their life. A route is one block of memory, so its last holder frees it at once.
 * It judges nothing: route_build.c does. */
#include "dns/route.h"

#include "base/memory.h"
#include "dns/route_draft.h"

#include <stdio.h>

struct route *route_ref(struct route *route)
{
    atomic_fetch_add_explicit(&route->refs, 1, memory_order_relaxed);
    return route;
}

void route_unref(struct route *route)
{
    if (route && atomic_fetch_sub_explicit(&route->refs, 1, memory_order_acq_rel) == 1)
        free(route);
}

/* Copies len octets and a NUL to *end, and moves it. */
static const char *put_text(char **end, const void *at, size_t len)
{
    char *to = *end;
    if (len)
        memcpy(to, at, len);
    to[len] = '\0';
    *end += len + 1;
    return to;
}

static size_t draft_len(const struct route_draft *draft)
{
    size_t len = sizeof(struct route) + draft->num_hosts * sizeof(struct route_host) +
                 draft->host_set.len + 1 + strlen(draft->site_name) + 1;
    for (size_t i = 0; i < draft->num_hosts; i++) {
        const struct draft_host *host = &draft->hosts[i];
        len += host->num_addresses * sizeof(struct host_address) + strlen(host->name) + 1;
        len += host->tlsa.num * sizeof(struct tlsa_record);
        len += host->tlsa.base ? strlen(host->tlsa.base) + 1 : 0;
        for (size_t k = 0; k < host->tlsa.num; k++)
            len += host->records[k].len + 1u;
    }
    return len;
}

/* The TLSA records' data and the base domain. */
static void put_tlsa(char **end, const struct draft_host *from, struct tlsa_record *records,
                     struct route_host *to)
{
    to->tlsa = from->tlsa;
    to->tlsa.records = records;
    if (from->tlsa.base)
        to->tlsa.base = put_text(end, from->tlsa.base, strlen(from->tlsa.base));
    for (size_t i = 0; i < from->tlsa.num; i++) {
        records[i] = from->records[i];
        records[i].data = (const uint8_t *)put_text(end, records[i].data, records[i].len);
    }
}

/* Hosts first, then TLSA records, addresses, texts last: each part needs less alignment than the
 * one before it. */
struct route *route_draft_finish(const struct route_draft *draft)
{
    struct route *route = mem_zalloc(1, draft_len(draft));
    struct route_host *hosts = (struct route_host *)(route + 1);
    struct tlsa_record *records = (struct tlsa_record *)(hosts + draft->num_hosts);
    size_t num_records = 0;
    for (size_t i = 0; i < draft->num_hosts; i++)
        num_records += draft->hosts[i].tlsa.num;
    struct host_address *addresses = (struct host_address *)(records + num_records);
    for (size_t i = 0; i < draft->num_hosts; i++) {
        const struct draft_host *from = &draft->hosts[i];
        hosts[i] = (struct route_host){.preference = from->preference,
                                       .is_literal = from->is_literal,
                                       .secure = from->secure,
                                       .num_addresses = from->num_addresses,
                                       .addresses = addresses};
        memcpy(addresses, from->addresses, from->num_addresses * sizeof *addresses);
        addresses += from->num_addresses;
    }
    char *end = (char *)addresses;
    for (size_t i = 0; i < draft->num_hosts; i++) {
        hosts[i].name = put_text(&end, draft->hosts[i].name, strlen(draft->hosts[i].name));
        put_tlsa(&end, &draft->hosts[i], records, &hosts[i]);
        records += draft->hosts[i].tlsa.num;
    }
    route->host_set = put_text(&end, draft->host_set.at, draft->host_set.len);
    route->site_name = put_text(&end, draft->site_name, strlen(draft->site_name));
    route->hosts = hosts;
    route->num_hosts = draft->num_hosts;
    route->refs = 1;
    route->verdict = ROUTE_OK;
    route->transport = draft->target->transport;
    route->port = draft->target->port;
    route->secure = draft->secure;
    route->is_stale = draft->is_stale;
    route->expires_ms = draft->expires_ms;
    return route;
}

struct route *route_new_verdict(const struct route_target *target, enum route_verdict verdict,
                                uint16_t code, uint32_t enhanced, int64_t expires_ms,
                                const char *format, ...)
{
    struct route_draft draft = {.target = target,
                                .site_name = target->site_name ? target->site_name : target->name,
                                .expires_ms = expires_ms};
    struct route *route = route_draft_finish(&draft);
    route->verdict = verdict;
    route->code = code;
    for (int i = 0; i < 3; i++)
        route->enhanced[i] = (uint8_t)(enhanced >> (16 - 8 * i));
    va_list args;
    va_start(args, format);
    vsnprintf(route->why, sizeof route->why, format, args);
    va_end(args);
    return route;
}
