/* A route while it is being made: route_build.c fills it, route.c turns it into one block.
 * One thread; everything in it is borrowed until route_draft_finish() returns. */
#ifndef SLUICE_DNS_ROUTE_DRAFT_H
#define SLUICE_DNS_ROUTE_DRAFT_H

#include "dns/route_build.h"

/* Room for every host with the longest name and "65535:" before it. */
enum { HOST_SET_MAX = 32 + ROUTE_HOSTS_MAX * (DOMAIN_NAME_MAX + 8) };

struct draft_host {
    const char *name;
    uint16_t preference;
    bool is_literal;
    bool secure;
    uint8_t num_addresses;
    struct host_address addresses[ROUTE_ADDRESSES_MAX];
    struct tlsa_set tlsa; /* without records: they are those below, their data borrowed */
    struct tlsa_record records[TLSA_RECORDS_MAX];
};

struct route_draft {
    const struct route_target *target;
    const char *site_name;
    struct buffer host_set; /* owned by who made the draft */
    struct draft_host hosts[ROUTE_HOSTS_MAX];
    size_t num_hosts;
    int64_t expires_ms;
    bool secure;
    bool is_stale;
};

struct route *route_draft_finish(const struct route_draft *draft)
    __attribute__((warn_unused_result, returns_nonnull));

#endif
