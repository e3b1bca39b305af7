/* What a delivery demands of TLS at a host of its route: the destination's settings, the message's
 * wishes and what was discovered, handed to tls/policy.h. Pure; any thread that has the delivery.
 */
#ifndef SLUICE_ROUTER_DELIVERY_TLS_H
#define SLUICE_ROUTER_DELIVERY_TLS_H

#include "router/delivery.h"
#include "tls/verify.h"

/* out borrows from the delivery, its settings and its route. */
void delivery_tls_requirement(const struct delivery *delivery, const struct route_host *host,
                              struct tls_requirement *out);

/* What the delivery meets at a host that the requirement calls unusable. */
struct outcome delivery_tls_unusable(const struct tls_requirement *requirement);

/* Whether a session with that TLS state satisfies the requirement; kind NONE: it does. */
struct outcome delivery_tls_fits(const struct tls_requirement *requirement, bool has_tls,
                                 const uint8_t proof[TLS_PROOF_LEN]);

#endif
