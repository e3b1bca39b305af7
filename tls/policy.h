/* TLS policy: what a delivery demands of a connection to one mail host, and where plaintext may go.
 * Pure; the only place that decides it.
 *
 * Four sources are combined for each host: what the operator configured for the destination, what
 * DNS says of the host (DANE, RFC 7672), what the recipient domain publishes (MTA-STS, RFC 8461),
 * and what the message asks for. What is configured is binding, what is discovered and what the
 * message asks for can only add to it; `none` switches discovery off. DANE goes before MTA-STS, and
 * MTA-STS never excuses a failure of DANE. TLS-Required: No (RFC 8689 5) switches off what was
 * discovered, never what was configured. docs/tls.md has the tables. */
#ifndef SLUICE_TLS_POLICY_H
#define SLUICE_TLS_POLICY_H

#include "dns/tlsa.h"
#include "tls/sts_policy.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tls_level {
    TLS_LEVEL_NONE, /* never STARTTLS, nothing is discovered */
    TLS_LEVEL_MAY,  /* opportunistic: TLS where offered, else plaintext; and what is discovered */
    TLS_LEVEL_ENCRYPT,  /* TLS or nothing; the certificate is not checked */
    TLS_LEVEL_VERIFY,   /* a certificate of a trusted CA for the host's name or the given names */
    TLS_LEVEL_STS,      /* an MTA-STS policy that allows the host, and its certificate checked */
    TLS_LEVEL_DANE,     /* as the host's TLSA records say; without any: the next source */
    TLS_LEVEL_DANE_ONLY /* usable TLSA records that match, or nothing */
};

/* Which source decided the level in force. */
enum tls_source {
    TLS_SOURCE_DEFAULT,
    TLS_SOURCE_LOCAL, /* configuration */
    TLS_SOURCE_MESSAGE,
    TLS_SOURCE_DANE,
    TLS_SOURCE_STS
};

const char *tls_level_name(enum tls_level level);
bool tls_level_parse(const char *name, enum tls_level *out) __attribute__((warn_unused_result));
const char *tls_source_name(enum tls_source source);

struct tls_names {
    const char *const *items; /* borrowed: A-labels in lower case */
    size_t num;
};

/* All borrowed by the requirement that is made of it. */
struct tls_policy_inputs {
    enum tls_level local;
    struct tls_names local_names; /* what `verify` accepts; none: the host's name */
    bool wrapper;                 /* TLS from the first octet, without STARTTLS (RFC 8314) */
    enum tls_level asked;         /* by the message; NONE: nothing */
    bool require_tls;             /* by the message: RFC 8689 2 */
    bool tls_optional;            /* by the message: TLS-Required: No */
    const char *host;             /* the MX host, or the address in text when is_literal */
    bool host_is_literal;
    bool host_is_secure; /* DNSSEC vouches for the way from the domain to the host */
    bool host_is_ours;   /* a configured next hop: no DNS answer led to it */
    const char *domain;  /* of the recipients: the second name under DANE-TA (RFC 7672 3.2.2) */
    const struct tlsa_set *tlsa;  /* NULL: nobody asked */
    const struct sts_policy *sts; /* NULL: none */
    bool sts_is_uncertain;        /* none, but that may be for a failure that passes */
};

enum {
    TLS_CHECK_PKIX = 1, /* chain to a trust anchor, and one of the names */
    TLS_CHECK_TLSA = 2  /* the records; with usage 2 also base or domain as name */
};

/* What the connection has to satisfy. */
struct tls_requirement {
    enum tls_level level;
    enum tls_source source;
    bool mandatory;         /* TLS or nothing */
    bool wrapper;           /* TLS from the first octet */
    bool require_tls;       /* the session must offer REQUIRETLS after TLS */
    unsigned checks;        /* TLS_CHECK_... */
    unsigned wishes;        /* checked, reported, not enforced: MTA-STS in testing */
    const char *unusable;   /* static text: why the host must not be used now; NULL: it may */
    bool bounces;           /* with unusable: no later attempt is expected to find it otherwise */
    struct tls_names names; /* under TLS_CHECK_PKIX: one of them; none: no such condition */
    bool names_host;        /* under TLS_CHECK_PKIX: also `host`; the wish means always that */
    const char *host;
    bool host_is_literal; /* an address: the certificate has to name it as such */
    const char *domain;
    const struct tlsa_set *tlsa; /* with TLS_CHECK_TLSA */
    /* The domain's MTA-STS policy where it counts at this host, be it in testing; NULL: it does
     * not. */
    const struct sts_policy *sts;
    bool sts_allows; /* ... and names the host */
};

void tls_policy_combine(const struct tls_policy_inputs *inputs, struct tls_requirement *out);

/* A record with which RFC 7672 3.1 lets a client work: usage 2 or 3 with known selector and
 * matching type, and data of the length that these have. */
bool tls_tlsa_is_usable(const struct tlsa_record *record);

/* What a host did when TLS was wanted. */
enum tls_event { TLS_NOT_OFFERED, TLS_REFUSED, TLS_HANDSHAKE_FAILED };

enum tls_action {
    TLS_ACTION_PLAINTEXT, /* go on without TLS (after a failed handshake: on a new connection) */
    TLS_ACTION_NEXT_HOST  /* leave this host; when none is left, defer */
};

/* tls.on_failure: what a failed handshake leads to where TLS is not mandatory. */
enum tls_on_failure {
    TLS_ON_FAILURE_DEFER,          /* never plaintext at a host that offers TLS */
    TLS_ON_FAILURE_PLAINTEXT_NEXT, /* in a later attempt, at a host that has been failing for
                                      plaintext_after_ms */
    TLS_ON_FAILURE_PLAINTEXT_NOW   /* in the same attempt */
};

struct tls_fallback {
    enum tls_on_failure on_failure;
    int64_t broken_since_ms; /* monotonic: first failure in a row, by tls_broken_hosts_since(); 0 */
    int64_t plaintext_after_ms;
};

/* The table "level x event" of docs/tls.md. */
enum tls_action tls_policy_decide(const struct tls_requirement *requirement, enum tls_event event,
                                  const struct tls_fallback *fallback, int64_t now_ms);
/* Whether to ask for TLS at all on a new connection, where it is offered. */
bool tls_policy_wants_tls(const struct tls_requirement *requirement,
                          const struct tls_fallback *fallback, int64_t now_ms);

#endif
