/* What a delivery demands of TLS at a host of its route: the destination's settings, the message's
 * wishes and what was discovered, handed to tls/policy.h. Pure; any thread that has the delivery.
 */
#ifndef SLUICE_ROUTER_DELIVERY_TLS_H
#define SLUICE_ROUTER_DELIVERY_TLS_H

#include "router/delivery.h"
#include "tls/verify.h"

/* Whether the domain is asked for an MTA-STS policy: next hops are the operator's, and literals
 * have no domain that could publish anything. */
bool delivery_wants_sts(const struct destination_settings *settings, const char *domain);
/* out borrows from the delivery, its settings and its route. */
void delivery_tls_requirement(const struct delivery *delivery, const struct route_host *host,
                              struct tls_requirement *out);

/* What the delivery meets at a host that the requirement calls unusable. */
struct outcome delivery_tls_unusable(const struct tls_requirement *requirement);

/* Whether a session with that TLS state satisfies the requirement; kind NONE: it does. */
struct outcome delivery_tls_fits(const struct tls_requirement *requirement, bool has_tls,
                                 const uint8_t proof[TLS_PROOF_LEN]);

/* The name to ask the host for: the TLSA base domain where there are records, else the MX host
 * (RFC 7672 3.2.1); NULL: none. Borrowed from the requirement or the host. */
const char *delivery_tls_sni(const struct tls_requirement *requirement,
                             const struct route_host *host);
/* The word of RFC 8460 4.3 for a handshake that failed; fault: of the certificate; static. */
const char *delivery_tls_failure(enum tls_fault fault);

/* What came of TLS at the host of an attempt. */
struct delivery_tls_state {
    bool has_session, has_tls;
    enum tls_fault fault;         /* of the certificate that ended the handshake */
    enum tls_fault wish;          /* of the one that was accepted all the same */
    enum outcome_phase failed_in; /* without a session: where the host failed */
};

/* What the domain's MTA-STS policy says of that, in testing too: "ok", "mx-mismatch", or by the
 * names of RFC 8460 4.3; static. NULL: the host was not reached. requirement->sts is not NULL. */
const char *delivery_sts_result(const struct tls_requirement *requirement,
                                const struct delivery_tls_state *state);

/* Whether the attempt failed because its host did not satisfy a policy in `enforce`. */
bool delivery_is_refused_by_sts(const struct delivery *delivery);

#endif
