/* A frozen SSL_CTX for clients: one per identity (protocol settings; later anchors and client
 * certificate). Immutable after tls_context_new(), so any thread may make channels from it.
 *
 * TLS 1.2 and 1.3, no ALPN, no early data, no renegotiation. Certificate chains are kept as bytes
 * in one pool of the process, so that sessions of the same server share theirs. */
#ifndef SLUICE_TLS_CONTEXT_H
#define SLUICE_TLS_CONTEXT_H

#include "base/bytes.h"
#include "tls/session_cache.h"

struct tls_context {
    SSL_CTX *ssl_ctx;            /* owned */
    uint8_t settings_digest[32]; /* for session keys; the same in every process with the same
                                    settings and anchors */
};

struct tls_context_options {
    const char *ca_file; /* borrowed; "" or NULL: none needed (levels here do not check); refused
                            when it cannot be read or holds no certificate in PEM */
    const char *groups;  /* "X25519:P-256" when NULL: see docs/tls.md for why it is set */
};

enum { TLS_WHY_MAX = 200, TLS_CA_FILE_MAX = 16 * 1024 * 1024 };

/* NULL with a line in why. */
struct tls_context *tls_context_new(const struct tls_context_options *options,
                                    char why[TLS_WHY_MAX]) __attribute__((warn_unused_result));
void tls_context_free(struct tls_context *context);
/* "BoringSSL (API 17)": for --version and the log. */
const char *tls_library_name(void);

#endif
