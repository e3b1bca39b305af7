/* Makes the frozen SSL_CTX of context.h and the digest of its settings.
 * It checks no certificate of a peer: verify.c does. */
#include "tls/context.h"

#include "base/check.h"
#include "base/memory.h"
#include "tls/channel_bio.h"
#include "tls/pem_file.h"

#include <openssl/err.h>
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

enum { CLIENT_CHAIN_MAX = 16 };

static CRYPTO_BUFFER_POOL *pool;
static pthread_once_t pool_once = PTHREAD_ONCE_INIT;

static const char *text_or(const char *text, const char *otherwise)
{
    return text && *text ? text : otherwise;
}

/* One for the process and never freed: sessions in a cache hold buffers of it for longer than any
 * context lives. */
static void make_pool(void)
{
    pool = CRYPTO_BUFFER_POOL_new();
    CHECK(pool); /* want of memory */
}

static bool set_protocol(SSL_CTX *ssl_ctx, const struct tls_context_options *options,
                         char why[TLS_WHY_MAX])
{
    const char *groups = text_or(options->groups, default_groups);
    const char *ciphers = text_or(options->ciphers, NULL);
    uint16_t min = options->min_version ? options->min_version : TLS1_2_VERSION;
    uint16_t max = options->max_version ? options->max_version : TLS1_3_VERSION;
    if (!SSL_CTX_set1_curves_list(ssl_ctx, groups)) {
        snprintf(why, TLS_WHY_MAX, "unknown TLS group in \"%s\"", groups);
        return false;
    }
    if (ciphers && !SSL_CTX_set_strict_cipher_list(ssl_ctx, ciphers)) {
        snprintf(why, TLS_WHY_MAX, "unknown TLS cipher in \"%s\"", ciphers);
        return false;
    }
    if (min > max || !SSL_CTX_set_min_proto_version(ssl_ctx, min) ||
        !SSL_CTX_set_max_proto_version(ssl_ctx, max)) {
        snprintf(why, TLS_WHY_MAX, "no TLS version lies between the least and the most allowed");
        return false;
    }
    return true;
}

struct client_chain {
    CRYPTO_BUFFER *certificates[CLIENT_CHAIN_MAX]; /* owned */
    size_t num;
};

static void add_certificate(void *ctx, struct bytes der)
{
    struct client_chain *chain = ctx;
    if (chain->num < CLIENT_CHAIN_MAX)
        chain->certificates[chain->num++] = CRYPTO_BUFFER_new(der.at, der.len, pool);
}

static EVP_PKEY *read_key(const char *path, char why[TLS_WHY_MAX])
{
    struct buffer pem;
    EVP_PKEY *key = NULL;
    buffer_init(&pem, TLS_PEM_FILE_MAX);
    if (pem_file_read(path, true, &pem, why)) {
        BIO *bio = BIO_new_mem_buf(pem.at, (int)pem.len);
        CHECK(bio); /* want of memory */
        /* No pass phrase: nobody is there to type it. */
        key = PEM_read_bio_PrivateKey(bio, NULL, NULL, (void *)(uintptr_t) "");
        BIO_free(bio);
        if (!key)
            snprintf(why, TLS_WHY_MAX, "%s: no private key in PEM form in it, or an encrypted one",
                     path);
    }
    if (pem.len)
        OPENSSL_cleanse(pem.at, pem.len);
    buffer_fini(&pem);
    ERR_clear_error();
    return key;
}

static bool read_chain(const char *path, struct client_chain *chain, char why[TLS_WHY_MAX])
{
    struct buffer pem;
    buffer_init(&pem, TLS_PEM_FILE_MAX);
    bool ok = pem_file_read(path, false, &pem, why);
    if (ok && pem_certificates(buffer_bytes(&pem), add_certificate, chain) == 0) {
        snprintf(why, TLS_WHY_MAX, "%s: no certificate in PEM form in it", path);
        ok = false;
    }
    if (pem.len)
        OPENSSL_cleanse(pem.at, pem.len); /* the key may be in the same file */
    buffer_fini(&pem);
    return ok;
}

static bool set_client_certificate(SSL_CTX *ssl_ctx, const struct tls_context_options *options,
                                   SHA256_CTX *sha, char why[TLS_WHY_MAX])
{
    const char *cert_file = text_or(options->cert_file, NULL);
    struct client_chain chain = {.num = 0};
    if (!cert_file)
        return true;
    EVP_PKEY *key = read_key(text_or(options->key_file, cert_file), why);
    bool ok = key && read_chain(cert_file, &chain, why);
    if (ok && !SSL_CTX_set_chain_and_key(ssl_ctx, chain.certificates, chain.num, key, NULL)) {
        snprintf(why, TLS_WHY_MAX, "%s: its key does not belong to its first certificate",
                 cert_file);
        ok = false;
    }
    for (size_t i = 0; i < chain.num; i++) {
        SHA256_Update(sha, CRYPTO_BUFFER_data(chain.certificates[i]),
                      CRYPTO_BUFFER_len(chain.certificates[i]));
        CRYPTO_BUFFER_free(chain.certificates[i]);
    }
    EVP_PKEY_free(key);
    ERR_clear_error();
    return ok;
}

static void set_behaviour(SSL_CTX *ssl_ctx)
{
    SSL_CTX_set0_buffer_pool(ssl_ctx, pool);
    SSL_CTX_set_mode(ssl_ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_early_data_enabled(ssl_ctx, 0);
    SSL_CTX_set_session_cache_mode(ssl_ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ssl_ctx, channel_on_new_session);
    SSL_CTX_set_custom_verify(ssl_ctx, SSL_VERIFY_PEER, channel_on_verify);
}

static void digest_protocol(SHA256_CTX *sha, const struct tls_context_options *options)
{
    const char *groups = text_or(options->groups, default_groups);
    const char *ciphers = text_or(options->ciphers, "");
    uint16_t versions[] = {options->min_version ? options->min_version : TLS1_2_VERSION,
                           options->max_version ? options->max_version : TLS1_3_VERSION};
    SHA256_Update(sha, versions, sizeof versions);
    SHA256_Update(sha, groups, strlen(groups) + 1);
    SHA256_Update(sha, ciphers, strlen(ciphers) + 1);
}

struct tls_context *tls_context_new(const struct tls_context_options *options,
                                    char why[TLS_WHY_MAX])
{
    SHA256_CTX sha;
    struct tls_context *context = mem_zalloc(1, sizeof *context);
    pthread_once(&pool_once, make_pool);
    context->ssl_ctx = SSL_CTX_new(TLS_with_buffers_method());
    CHECK(context->ssl_ctx); /* want of memory */
    set_behaviour(context->ssl_ctx);
    SHA256_Init(&sha);
    digest_protocol(&sha, options);
    if (!set_protocol(context->ssl_ctx, options, why) ||
        !set_client_certificate(context->ssl_ctx, options, &sha, why) ||
        !tls_trust_init(&context->trust, text_or(options->ca_file, ""),
                        text_or(options->system_ca_file, ""), why)) {
        tls_context_free(context);
        return NULL;
    }
    SHA256_Update(&sha, context->trust.digest, sizeof context->trust.digest);
    SHA256_Final(context->settings_digest, &sha);
    return context;
}

void tls_context_free(struct tls_context *context)
{
    if (!context)
        return;
    tls_trust_fini(&context->trust);
    SSL_CTX_free(context->ssl_ctx);
    free(context);
}

const char *tls_library_name(void)
{
    return "BoringSSL (API " TEXT_OF_VALUE(BORINGSSL_API_VERSION) ")";
}
