/* A frozen SSL_CTX for clients with its trust anchors: one per identity (protocol settings, trust
 * anchors, client certificate). Immutable after tls_context_new(), so any thread may make channels
 * from it.
 *
 * No ALPN, no early data, no renegotiation. Certificate chains are kept as bytes in one pool of the
 * process, so that sessions of the same server share theirs. */
#ifndef SLUICE_TLS_CONTEXT_H
#define SLUICE_TLS_CONTEXT_H

#include "base/bytes.h"
#include "tls/session_cache.h"
#include "tls/trust.h"

struct tls_context {
    SSL_CTX *ssl_ctx;            /* owned */
    struct tls_trust trust;      /* owned */
    uint8_t settings_digest[32]; /* for session keys; the same in every process with the same
                                    settings, anchors and client certificate */
};

/* All borrowed during tls_context_new() only; NULL stands for "". */
struct tls_context_options {
    const char *ca_file;        /* trust anchors beside the system's, in PEM; "": none */
    const char *system_ca_file; /* see tls_trust_init() */
    const char *cert_file;      /* client certificate and the chain above it, in PEM; "": none */
    const char *key_file;       /* its key; "": in cert_file. Others may not be able to read it */
    const char *groups;         /* "": "X25519:P-256"; docs/tls.md says why it is set */
    const char *ciphers;        /* of TLS 1.2 and below; "": BoringSSL's */
    uint16_t min_version, max_version; /* TLS1_2_VERSION ...; 0: TLS 1.2, TLS 1.3 */
};

/* NULL with a line in why. */
struct tls_context *tls_context_new(const struct tls_context_options *options,
                                    char why[TLS_WHY_MAX]) __attribute__((warn_unused_result));
void tls_context_free(struct tls_context *context);
/* "BoringSSL (API 17)": for --version and the log. */
const char *tls_library_name(void);

#endif
