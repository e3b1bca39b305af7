/* What DNS says of the certificates of a mail host: TLSA records (RFC 6698) and whether they may be
 * believed. Plain data; part of a route, immutable with it. tls/policy.c says what follows. */
#ifndef SLUICE_DNS_TLSA_H
#define SLUICE_DNS_TLSA_H

#include <stddef.h>
#include <stdint.h>

enum tlsa_state {
    TLSA_NOT_ASKED, /* the answers that led to the host were not secure, or nobody wants to know */
    TLSA_NONE,      /* there are none, or not securely: DANE does not apply */
    TLSA_FOUND,     /* securely; whether one is usable is tls/'s to say */
    TLSA_FAILED     /* SERVFAIL, bogus, timeout: the host must not be used (RFC 7672 2.1.2) */
};

/* RFC 6698 2.1, by the acronyms of RFC 7218. */
enum tlsa_usage { TLSA_PKIX_TA = 0, TLSA_PKIX_EE = 1, TLSA_DANE_TA = 2, TLSA_DANE_EE = 3 };
enum tlsa_selector { TLSA_CERT = 0, TLSA_SPKI = 1 };
enum tlsa_matching { TLSA_FULL = 0, TLSA_SHA256 = 1, TLSA_SHA512 = 2 };

struct tlsa_record {
    uint8_t usage, selector, matching; /* any value: what is unknown is unusable */
    uint16_t len;                      /* octets of data */
    const uint8_t *data;
};

enum { TLSA_RECORDS_MAX = 32 }; /* of one host; a larger set counts as a failed look-up */

struct tlsa_set {
    enum tlsa_state state;
    /* The TLSA base domain (RFC 7672 2.2.1), which is also the SNI: the host's name, or what its
     * CNAME led to. */
    const char *base;
    size_t num;
    const struct tlsa_record *records;
};

#endif
