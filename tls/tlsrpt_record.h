/* The TXT record _smtp._tls.DOMAIN, which says where a domain wants its TLS reports (RFC 8460 3).
 * Pure, allocates nothing; any thread. */
#ifndef SLUICE_TLS_TLSRPT_RECORD_H
#define SLUICE_TLS_TLSRPT_RECORD_H

#include "dns/domain_name.h"

enum {
    TLSRPT_ENDPOINTS_MAX = 8, /* what a record names beyond them is not used */
    TLSRPT_URI_MAX = 500,     /* octets; longer ones are not used */
    TLSRPT_MAILBOX_MAX = 254  /* octets */
};

enum tlsrpt_scheme { TLSRPT_HTTPS, TLSRPT_MAILTO };

struct tlsrpt_endpoint {
    enum tlsrpt_scheme scheme;
    struct bytes uri; /* as written; borrowed from the record */
    /* TLSRPT_HTTPS: a host name, and what the request asks for, which may lack its "/". */
    char host[DOMAIN_NAME_MAX + 1];
    uint16_t port;
    struct bytes target; /* borrowed from the record */
    /* TLSRPT_MAILTO: one address, percent-decoded, of printable ASCII; its grammar is the caller's
     * to check. */
    char mailbox[TLSRPT_MAILBOX_MAX + 1];
};

struct tlsrpt_record {
    struct tlsrpt_endpoint endpoints[TLSRPT_ENDPOINTS_MAX]; /* in the order of the record */
    size_t num;
};

/* Whether a TXT record claims to be one: others at the same name do not count. */
bool tlsrpt_record_is_one(struct bytes text);
/* One record, its strings joined. false: not in the form that RFC 8460 3 gives it. true without
 * endpoints: none of its URIs is of use to us (another scheme, user names, address literals). */
bool tlsrpt_record_parse(struct bytes text, struct tlsrpt_record *out)
    __attribute__((warn_unused_result));

#endif
