/* Certificates as people want to see them. Pure; any thread. */
#ifndef SLUICE_ROUTER_PROBE_CERTIFICATE_H
#define SLUICE_ROUTER_PROBE_CERTIFICATE_H

#include <jansson.h>
#include <openssl/pool.h>

/* An array, leaf first: {subject, issuer, names, not_before, not_after, key, sha256, spki_sha256}.
 * One that cannot be parsed gives {error}. The caller's to free. */
json_t *probe_certificates(const STACK_OF(CRYPTO_BUFFER) * chain);

#endif
