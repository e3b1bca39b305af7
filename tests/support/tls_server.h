/* A TLS server inside a test: a context with a certificate of its own, and a peer that speaks
 * through memory BIOs, so that the test decides how many octets move at a time and when.
 *
 * Everything is static: a test includes it and links nothing more. */
#ifndef SLUICE_TESTS_SUPPORT_TLS_SERVER_H
#define SLUICE_TESTS_SUPPORT_TLS_SERVER_H

#include "base/bytes.h"
#include "base/check.h"

#include <errno.h>
#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#define TLS_SERVER_UNUSED __attribute__((unused))

struct tls_server_options {
    uint16_t max_version; /* 0: TLS 1.3; the least is TLS 1.0, so that a client can be refused */
    bool no_tickets_on_resumption; /* TLS 1.3 */
    bool no_tickets;
};

struct tls_peer {
    SSL *ssl;    /* owned, with its BIOs */
    int fd;      /* borrowed */
    size_t step; /* octets that a pump moves at most in each direction */
    bool handshake_done;
    bool failed; /* or closed by the client */
    bool eof;
    size_t num_chunks; /* recv() calls that brought something */
    struct buffer received;
};

static EVP_PKEY *tls_server_make_key(void)
{
    EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
    CHECK(ec && EC_KEY_generate_key(ec));
    EVP_PKEY *key = EVP_PKEY_new();
    CHECK(key && EVP_PKEY_assign_EC_KEY(key, ec));
    return key;
}

static X509 *tls_server_make_certificate(EVP_PKEY *key)
{
    X509 *certificate = X509_new();
    CHECK(certificate && X509_set_version(certificate, X509_VERSION_3));
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), 1);
    X509_gmtime_adj(X509_getm_notBefore(certificate), -3600);
    X509_gmtime_adj(X509_getm_notAfter(certificate), 24 * 3600);
    X509_NAME *name = X509_get_subject_name(certificate);
    CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                     (const unsigned char *)"mx.example.test", -1, -1, 0));
    CHECK(X509_set_issuer_name(certificate, name) && X509_set_pubkey(certificate, key));
    CHECK(X509_sign(certificate, key, EVP_sha256()));
    return certificate;
}

/* After the session was decoded and before the server's flight: the option then holds back new
 * tickets only. */
static void tls_server_on_state(const SSL *ssl, int type, int value)
{
    (void)value;
    if (type == SSL_CB_ACCEPT_LOOP && SSL_session_reused(ssl))
        SSL_set_options((SSL *)(uintptr_t)ssl, SSL_OP_NO_TICKET);
}

TLS_SERVER_UNUSED static SSL_CTX *tls_server_new(const struct tls_server_options *options)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_method());
    EVP_PKEY *key = tls_server_make_key();
    X509 *certificate = tls_server_make_certificate(key);
    CHECK(SSL_CTX_use_certificate(ctx, certificate) && SSL_CTX_use_PrivateKey(ctx, key));
    X509_free(certificate);
    EVP_PKEY_free(key);
    CHECK(SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION));
    uint16_t max = options->max_version ? options->max_version : TLS1_3_VERSION;
    CHECK(SSL_CTX_set_max_proto_version(ctx, max));
    if (options->no_tickets)
        SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET);
    if (options->no_tickets_on_resumption)
        SSL_CTX_set_info_callback(ctx, tls_server_on_state);
    return ctx;
}

/* Tickets given before are no longer understood. */
TLS_SERVER_UNUSED static void tls_server_change_ticket_key(SSL_CTX *ctx)
{
    uint8_t keys[48];
    RAND_bytes(keys, sizeof keys);
    CHECK(SSL_CTX_set_tlsext_ticket_keys(ctx, keys, sizeof keys));
}

TLS_SERVER_UNUSED static void tls_peer_init(struct tls_peer *peer, SSL_CTX *ctx, int fd)
{
    *peer = (struct tls_peer){.fd = fd, .step = 64 * 1024};
    buffer_init(&peer->received, 64 * 1024 * 1024);
    peer->ssl = SSL_new(ctx);
    BIO *in = BIO_new(BIO_s_mem());
    BIO *out = BIO_new(BIO_s_mem());
    CHECK(peer->ssl && in && out);
    BIO_set_mem_eof_return(in, -1);
    SSL_set_bio(peer->ssl, in, out);
    SSL_set_accept_state(peer->ssl);
}

TLS_SERVER_UNUSED static void tls_peer_fini(struct tls_peer *peer)
{
    SSL_free(peer->ssl);
    buffer_fini(&peer->received);
}

static void tls_peer_pull(struct tls_peer *peer)
{
    static uint8_t octets[64 * 1024];
    size_t most = peer->step < sizeof octets ? peer->step : sizeof octets;
    ssize_t len = recv(peer->fd, octets, most, MSG_DONTWAIT);
    if (len > 0) {
        peer->num_chunks++;
        CHECK(BIO_write(SSL_get_rbio(peer->ssl), octets, (int)len) == len);
    } else if (len == 0) {
        peer->eof = true;
    }
}

static void tls_peer_push(struct tls_peer *peer)
{
    BIO *out = SSL_get_wbio(peer->ssl);
    const uint8_t *at;
    size_t len;
    CHECK(BIO_mem_contents(out, &at, &len));
    if (len == 0)
        return;
    ssize_t sent =
        send(peer->fd, at, len < peer->step ? len : peer->step, MSG_DONTWAIT | MSG_NOSIGNAL);
    static uint8_t dropped[64 * 1024];
    if (sent > 0)
        CHECK(BIO_read(out, dropped, (int)sent) == sent);
}

/* Moves up to `step` octets in each direction and lets the server act on them. */
TLS_SERVER_UNUSED static void tls_peer_pump(struct tls_peer *peer)
{
    tls_peer_pull(peer);
    if (!peer->handshake_done && !peer->failed) {
        int result = SSL_do_handshake(peer->ssl);
        peer->handshake_done = result == 1;
        peer->failed = result <= 0 && SSL_get_error(peer->ssl, result) != SSL_ERROR_WANT_READ;
    }
    while (peer->handshake_done && !peer->failed) {
        static uint8_t plain[16 * 1024];
        int result = SSL_read(peer->ssl, plain, sizeof plain);
        if (result > 0) {
            CHECK(buffer_append(&peer->received, plain, (size_t)result));
            continue;
        }
        peer->failed = SSL_get_error(peer->ssl, result) != SSL_ERROR_WANT_READ;
        break;
    }
    ERR_clear_error();
    tls_peer_push(peer);
}

/* Leaves when pumped. */
TLS_SERVER_UNUSED static void tls_peer_say(struct tls_peer *peer, struct bytes plain)
{
    while (plain.len > 0) {
        int result = SSL_write(peer->ssl, plain.at, (int)plain.len);
        CHECK(result > 0);
        plain = bytes_from(plain, (size_t)result);
    }
}

#endif
