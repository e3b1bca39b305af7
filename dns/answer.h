/* An answer from a DNS server: wire octets to typed records, with TTL and the AD bit.
 *
 * answer_parse() is pure and allocates nothing; what it makes lives in the scratch until the next
 * call. answer_copy() makes a counted copy in one block. The copies belong to one thread. */
#ifndef SLUICE_DNS_ANSWER_H
#define SLUICE_DNS_ANSWER_H

#include "dns/route.h"

enum {
    ANSWER_RECORDS_MAX = 100,    /* kept of one answer */
    ANSWER_SECTION_MAX = 1000,   /* looked at in one section */
    ANSWER_DATA_MAX = 16 * 1024, /* names and data of all records of one answer */
    ANSWER_CHAIN_MAX = 10,       /* CNAMEs one behind the other */
    ANSWER_NAME_MAX = 254        /* of a name with its NUL */
};

enum answer_type { TYPE_A = 1, TYPE_MX = 15, TYPE_TXT = 16, TYPE_AAAA = 28, TYPE_TLSA = 52 };

enum answer_status {
    ANSWER_RECORDS,
    ANSWER_NODATA,
    ANSWER_NXDOMAIN,
    ANSWER_ALIAS, /* a CNAME whose target the server did not look up: ask for `alias` */
    ANSWER_FAILED /* SERVFAIL, REFUSED, truncated, malformed; says nothing about the name */
};

struct answer_record {
    uint16_t preference;               /* MX */
    uint8_t usage, selector, matching; /* TLSA */
    struct host_address address;       /* A, AAAA */
    struct bytes data; /* MX: lower case name, "" for the root; TLSA, TXT: data. A NUL follows. */
};

struct answer {
    unsigned refs;
    enum answer_status status;
    uint8_t rcode;  /* as the server sent it; 0 when there was no answer at all */
    bool secure;    /* AD; whether that is worth anything is for the resolver to say */
    bool limit_hit; /* records were left out */
    uint32_t ttl_s; /* the least of chain and records; negative: by the SOA (RFC 2308 5), or 0 */
    /* ALIAS: the name to ask for; FAILED: what happened; RECORDS, NODATA: the name to which CNAMEs
     * led, "" when there was none. */
    const char *text;
    size_t num_records;
    const struct answer_record *records;
    size_t block_len; /* of a copy: the octets it takes */
};

/* What a look-up found, with the cache's judgement of its age. */
struct answer_found {
    struct answer *answer; /* never NULL */
    int64_t expires_ms;    /* monotonic */
    bool is_stale;         /* an expired answer that stands in while the servers fail */
};

struct answer_scratch {
    struct answer answer;
    struct answer_record records[ANSWER_RECORDS_MAX];
    uint8_t data[ANSWER_DATA_MAX];
    size_t data_len;
};

/* wire: a whole DNS message; name (A-label, lower case) and type: what was asked. */
void answer_parse(struct bytes wire, const char *name, uint16_t type, struct answer_scratch *out);

struct answer *answer_copy(const struct answer *from) __attribute__((returns_nonnull));
/* Without records; text is copied. */
struct answer *answer_new(enum answer_status status, const char *text)
    __attribute__((returns_nonnull));
struct answer *answer_ref(struct answer *answer);
void answer_unref(struct answer *answer); /* NULL allowed */

#endif
