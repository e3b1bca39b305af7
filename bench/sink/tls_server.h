/* The server side of TLS for one listener: an SSL_CTX with the listener's protocol versions and a
 * ticket behaviour as odd as asked for.
 *
 * Made before the threads start; SSLs of it may be used by any thread. */
#ifndef SLUICE_BENCH_SINK_TLS_SERVER_H
#define SLUICE_BENCH_SINK_TLS_SERVER_H

#include "bench/sink/personality.h"
#include "bench/sink/stats.h"

#include <openssl/is_boringssl.h>
#include <openssl/ssl.h>

#ifndef OPENSSL_IS_BORINGSSL
#error "another libssl's headers come before BoringSSL's"
#endif

enum { TLS_SECRET_LEN = 32 };

/* What all listeners share. */
struct tls_identity {
    X509 *certificate;                     /* owned */
    STACK_OF(X509) * intermediates;        /* owned; NULL: none */
    EVP_PKEY *key;                         /* owned */
    uint8_t ticket_secret[TLS_SECRET_LEN]; /* random; keys of one ticket-key name derive from it */
};

/* From PEM files: the certificate first, then its chain. */
bool tls_identity_load(struct tls_identity *out, const char *cert_file, const char *key_file)
    __attribute__((warn_unused_result));
/* A self-signed EC P-256 one for these names. */
bool tls_identity_make(struct tls_identity *out, const char *const *names, size_t num_names)
    __attribute__((warn_unused_result));
bool tls_identity_save(const struct tls_identity *identity, const char *cert_file)
    __attribute__((warn_unused_result));
void tls_identity_fini(struct tls_identity *identity);

struct tls_server;

/* personality is borrowed. NULL when the library refuses the identity. */
struct tls_server *tls_server_new(const struct personality *personality,
                                  const struct tls_identity *identity)
    __attribute__((warn_unused_result));
void tls_server_free(struct tls_server *server);
/* Counts the tickets it issues into counters, borrowed as long as the SSL lives. The caller gives
 * it a BIO. */
SSL *tls_server_accept(struct tls_server *server, struct counters *counters)
    __attribute__((returns_nonnull));
/* To be told of each completed handshake: turns the ticket key over. */
void tls_server_count_handshake(struct tls_server *server);
/* What the library says about the last failure on this thread; clears it. */
const char *tls_error(void);

#endif
