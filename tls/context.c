/* Makes the frozen SSL_CTX of context.h and the digest of its settings.
 * It checks no certificate: channel_on_verify() does what a level asks for. */
#include "tls/context.h"

#include "base/check.h"
#include "base/memory.h"
#include "tls/channel_bio.h"

#include <errno.h>
#include <openssl/is_boringssl.h>
#include <openssl/pem.h>
#include <openssl/pool.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#ifndef OPENSSL_IS_BORINGSSL
#error "these are not BoringSSL's headers: see cmake/FindBoringSSL.cmake"
#endif

#define TEXT_OF(number) #number
#define TEXT_OF_VALUE(number) TEXT_OF(number)

/* Set because the default of a current BoringSSL also sends an X25519MLKEM768 share: 80 us more for
 * each TLS 1.3 handshake and a ClientHello of over 1.2 KB. See docs/tls.md. */
static const char default_groups[] = "X25519:P-256";

static CRYPTO_BUFFER_POOL *pool;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

static void make_pool(void);
static bool digest_ca_file(const char *path, uint8_t out_digest[SHA256_DIGEST_LENGTH],
                           char why[TLS_WHY_MAX]);
static bool digest_certificates(struct bytes pem, uint8_t out_digest[SHA256_DIGEST_LENGTH]);
static bool read_file(const char *path, struct buffer *out, char why[TLS_WHY_MAX]);
static bool set_up(SSL_CTX *ssl_ctx, const char *groups, char why[TLS_WHY_MAX]);

struct tls_context *tls_context_new(const struct tls_context_options *options,
                                    char why[TLS_WHY_MAX])
{
    const char *groups = options->groups && *options->groups ? options->groups : default_groups;
    uint8_t anchors[SHA256_DIGEST_LENGTH] = {0};
    if (options->ca_file && *options->ca_file && !digest_ca_file(options->ca_file, anchors, why))
        return NULL;
    pthread_once(&pool_once, make_pool);
    SSL_CTX *ssl_ctx = SSL_CTX_new(TLS_with_buffers_method());
    CHECK(ssl_ctx); /* want of memory */
    if (!set_up(ssl_ctx, groups, why)) {
        SSL_CTX_free(ssl_ctx);
        return NULL;
    }
    struct tls_context *context = mem_zalloc(1, sizeof *context);
    context->ssl_ctx = ssl_ctx;
    SHA256_CTX sha;
    SHA256_Init(&sha);
    static const char protocol[] = "TLS 1.2-1.3, default ciphers, no client certificate";
    SHA256_Update(&sha, protocol, sizeof protocol);
    SHA256_Update(&sha, groups, strlen(groups) + 1);
    SHA256_Update(&sha, anchors, sizeof anchors);
    SHA256_Final(context->settings_digest, &sha);
    return context;
}

void tls_context_free(struct tls_context *context)
{
    if (!context)
        return;
    SSL_CTX_free(context->ssl_ctx);
    free(context);
}

const char *tls_library_name(void)
{
    return "BoringSSL (API " TEXT_OF_VALUE(BORINGSSL_API_VERSION) ")";
}

/* One for the process and never freed: sessions in a cache hold buffers of it for longer than any
 * context lives. */
static void make_pool(void)
{
    pool = CRYPTO_BUFFER_POOL_new();
    CHECK(pool); /* want of memory */
}

static bool set_up(SSL_CTX *ssl_ctx, const char *groups, char why[TLS_WHY_MAX])
{
    if (!SSL_CTX_set1_curves_list(ssl_ctx, groups)) {
        snprintf(why, TLS_WHY_MAX, "unknown TLS group in \"%s\"", groups);
        return false;
    }
    CHECK(SSL_CTX_set_min_proto_version(ssl_ctx, TLS1_2_VERSION));
    CHECK(SSL_CTX_set_max_proto_version(ssl_ctx, TLS1_3_VERSION));
    SSL_CTX_set0_buffer_pool(ssl_ctx, pool);
    SSL_CTX_set_mode(ssl_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_early_data_enabled(ssl_ctx, 0);
    SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl_ctx, channel_on_new_session);
    SSL_CTX_set_custom_verify(ssl_ctx, SSL_VERIFY_PEER, channel_on_verify);
    return true;
}

static bool digest_ca_file(const char *path, uint8_t out_digest[SHA256_DIGEST_LENGTH],
                           char why[TLS_WHY_MAX])
{
    struct buffer pem;
    buffer_init(&pem, TLS_CA_FILE_MAX);
    bool ok = read_file(path, &pem, why);
    if (ok && !digest_certificates(buffer_bytes(&pem), out_digest)) {
        snprintf(why, TLS_WHY_MAX, "%s: no certificate in PEM form in it", path);
        ok = false;
    }
    buffer_fini(&pem);
    return ok;
}

static bool read_file(const char *path, struct buffer *out, char why[TLS_WHY_MAX])
{
    FILE *file = fopen(path, "re");
    if (!file) {
        snprintf(why, TLS_WHY_MAX, "%s: %s", path, strerror(errno));
        return false;
    }
    enum { PIECE = 64 * 1024 };
    const char *wrong = NULL;
    for (size_t len = 1; len > 0 && !wrong;) {
        uint8_t *to = buffer_reserve(out, PIECE);
        len = to ? fread(to, 1, PIECE, file) : 0;
        out->len += len;
        if (!to)
            wrong = "larger than 16 MiB";
        else if (ferror(file))
            wrong = strerror(errno);
    }
    fclose(file);
    if (wrong)
        snprintf(why, TLS_WHY_MAX, "%s: %s", path, wrong);
    return !wrong;
}

/* Of the certificates alone, so that a comment in the file costs no TLS session. */
static bool digest_certificates(struct bytes pem, uint8_t out_digest[SHA256_DIGEST_LENGTH])
{
    BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
    CHECK(bio); /* want of memory */
    SHA256_CTX sha;
    SHA256_Init(&sha);
    bool found = false;
    char *name, *header;
    unsigned char *der;
    long der_len;
    while (PEM_read_bio(bio, &name, &header, &der, &der_len)) {
        if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_TRUSTED) == 0) {
            found = true;
            SHA256_Update(&sha, der, (size_t)der_len);
        }
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_free(der);
    }
    ERR_clear_error(); /* PEM_read_bio() ends with one */
    BIO_free(bio);
    SHA256_Final(out_digest, &sha);
    return found;
}
