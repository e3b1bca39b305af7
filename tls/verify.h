/* Whether a certificate chain satisfies a requirement: chain to a trust anchor, names, validity,
 * TLSA records (RFC 6698, RFC 7671, RFC 7672). Pure but for the clock that it is given; any thread.
 */
#ifndef SLUICE_TLS_VERIFY_H
#define SLUICE_TLS_VERIFY_H

#include "tls/policy.h"

#include <openssl/base.h>
#include <openssl/pool.h>

enum { TLS_WHY_MAX = 200, TLS_PROOF_LEN = 32, TLS_CHAIN_MAX = 16 /* certificates looked at */ };

/* What is wrong with a certificate, as RFC 8460 4.3 tells failures apart. */
enum tls_fault {
    TLS_FAULT_NONE,
    TLS_FAULT_NOT_TRUSTED, /* no chain to an anchor; a broken signature; not for servers */
    TLS_FAULT_EXPIRED,     /* or not valid yet */
    TLS_FAULT_NAME,
    TLS_FAULT_TLSA /* no record matches */
};
const char *tls_fault_name(enum tls_fault fault); /* "certificate-not-trusted" ... */

struct tls_verdict {
    enum tls_fault fault; /* of what is enforced */
    enum tls_fault wish;  /* of what is only reported */
    uint8_t tlsa_usage;   /* the usage that matched, TLSA_DANE_TA or TLSA_DANE_EE; 0: none asked */
    bool by_domain;       /* DANE-TA matched the recipients' domain only, not the host: the session
                             is good for that domain alone */
    /* Seconds since 1970: until when a full handshake with the same certificates would be accepted,
     * which is when the first of those on the path to the anchor expires. A wish counts as a check.
     * TLS_VALID_FOREVER: no dates were checked. */
    int64_t valid_until_s;
    char why[TLS_WHY_MAX]; /* of fault, or of wish when there is no fault; else "" */
};
#define TLS_VALID_FOREVER INT64_MAX

/* chain: leaf first, as the peer sent it; borrowed. anchors: for TLS_CHECK_PKIX; NULL: there are
 * none. now_wall_s: seconds since 1970. */
bool tls_verify(const STACK_OF(CRYPTO_BUFFER) * chain, const struct tls_requirement *requirement,
                X509_STORE *anchors, int64_t now_wall_s, struct tls_verdict *out);

/* Digest of all that a certificate was or will be checked for; all zero when nothing is. Two
 * requirements with the same digest and the same anchors are satisfied by the same sessions.
 * by_domain: with the domain as the only name that matched. */
void tls_proof_make(const struct tls_requirement *requirement, bool by_domain,
                    uint8_t out[TLS_PROOF_LEN]);
/* Whether a session with that proof satisfies the requirement, as far as certificates go. */
bool tls_proof_satisfies(const uint8_t proof[TLS_PROOF_LEN],
                         const struct tls_requirement *requirement);

#endif
