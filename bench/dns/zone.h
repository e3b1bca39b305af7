/* What the responder answers: records and misbehaviour by name, read from a zone file, and domains
 * by pattern for benches. One thread. The file's syntax is in `sluice-dns --help`. */
#ifndef SLUICE_BENCH_DNS_ZONE_H
#define SLUICE_BENCH_DNS_ZONE_H

#include "base/bytes.h"

enum { ZONE_WHY_MAX = 200, ZONE_NAME_MAX = 254, WIRE_NAME_MAX = 255 };

enum zone_type {
    ZONE_A = 1,
    ZONE_NS = 2,
    ZONE_CNAME = 5,
    ZONE_SOA = 6,
    ZONE_MX = 15,
    ZONE_TXT = 16,
    ZONE_AAAA = 28,
    ZONE_TLSA = 52
};

struct zone_record {
    struct zone_record *next;
    uint16_t type;
    uint32_t ttl_s;
    uint16_t rdata_len;
    uint8_t rdata[]; /* wire form, names not compressed */
};

struct zone_node {
    struct zone_node *next_in_bucket;
    struct zone_record *records; /* in the file's order */
    uint8_t rcode;               /* other than 0: what to answer for every type */
    bool is_dropped;             /* no answer at all */
    bool is_truncated;           /* over UDP: TC and nothing else */
    unsigned delay_ms;
    char name[];
};

struct zone;

struct zone_options {
    unsigned domains; /* d0.test .. d(N-1).test */
    unsigned hosts;   /* 127.0.1.1 .. 127.0.1.HOSTS serve them */
};

struct zone *zone_new(const struct zone_options *options);
void zone_free(struct zone *zone);
/* One line of a zone file, without its line end. false with a reason. */
bool zone_add_line(struct zone *zone, struct bytes line, char why[ZONE_WHY_MAX])
    __attribute__((warn_unused_result));
/* The node that answers for a name (lower case, no final dot): itself or a wildcard
 * (RFC 4592: below the closest name that exists). NULL: the name does not exist.
 * Borrowed until the next call. */
const struct zone_node *zone_find(struct zone *zone, const char *name);
/* The wire form of a name in text; "" and "." are the root. 0: it does not fit. */
size_t zone_name_to_wire(struct bytes name, uint8_t out[WIRE_NAME_MAX]);
/* "MX", "TYPE99" ... */
const char *zone_type_name(uint16_t type);

#endif
