/* From a question on the wire to the answer on the wire. Pure but for the zone it reads. */
#ifndef SLUICE_BENCH_DNS_REPLY_H
#define SLUICE_BENCH_DNS_REPLY_H

#include "bench/dns/zone.h"

enum { REPLY_MAX = 65535, REPLY_UDP_MAX = 1232, REPLY_CHAIN_MAX = 10 };

struct reply_options {
    bool sets_ad;            /* AD in every answer, as from a validating resolver */
    uint32_t negative_ttl_s; /* of the SOA that negative answers carry */
};

struct reply {
    struct buffer wire; /* owned; empty: say nothing */
    unsigned delay_ms;
    char name[ZONE_NAME_MAX]; /* what was asked; for the log */
    uint16_t type;
};

void reply_init(struct reply *reply);
void reply_fini(struct reply *reply);
void reply_make(struct zone *zone, const struct reply_options *options, struct bytes query,
                bool is_udp, struct reply *out);

#endif
