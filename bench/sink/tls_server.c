/* Contexts whose tickets are made here, so that they can be counted, withheld and made useless.
 * It does no I/O and checks no client certificate. */
#include "bench/sink/tls_server.h"

#include "base/check.h"
#include "base/memory.h"

#include <openssl/cipher.h>
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/mem.h>
#include <openssl/rand.h>
#include <openssl/sha.h>

struct tls_server {
    SSL_CTX *ctx;                          /* owned */
    const struct personality *personality; /* borrowed */
    uint8_t master[SHA256_DIGEST_LENGTH];  /* ticket keys derive from it */
    _Atomic uint64_t handshakes;
};

enum { KEY_NAME_LEN = 16, AES_KEY_LEN = 16, MAC_KEY_LEN = 32, IV_LEN = 16 };

struct ticket_key {
    uint8_t name[KEY_NAME_LEN];
    uint8_t aes[AES_KEY_LEN];
    uint8_t mac[MAC_KEY_LEN];
};
_Static_assert(sizeof(struct ticket_key) == SHA512_DIGEST_LENGTH, "one digest makes one key");

/* Listeners that name the same ticket-key come to the same keys, as the hosts of one cluster do. */
static void derive_master(struct tls_server *server, const struct tls_identity *identity)
{
    const char *name = server->personality->ticket_key;
    if (!name) {
        RAND_bytes(server->master, sizeof server->master);
        return;
    }
    SHA256_CTX hash;
    SHA256_Init(&hash);
    SHA256_Update(&hash, identity->ticket_secret, sizeof identity->ticket_secret);
    SHA256_Update(&hash, name, strlen(name));
    SHA256_Final(server->master, &hash);
}

static void current_ticket_key(const struct tls_server *server, struct ticket_key *out)
{
    unsigned rotate = server->personality->rotate;
    uint64_t epoch =
        rotate ? atomic_load_explicit(&server->handshakes, memory_order_relaxed) / rotate : 0;
    SHA512_CTX hash;
    SHA512_Init(&hash);
    SHA512_Update(&hash, server->master, sizeof server->master);
    SHA512_Update(&hash, &epoch, sizeof epoch);
    SHA512_Final((uint8_t *)out, &hash);
}

static int seal(SSL *ssl, const struct ticket_key *key, uint8_t *key_name, uint8_t *iv,
                EVP_CIPHER_CTX *cipher, HMAC_CTX *mac)
{
    memcpy(key_name, key->name, KEY_NAME_LEN);
    RAND_bytes(iv, IV_LEN);
    if (!EVP_EncryptInit_ex(cipher, EVP_aes_128_cbc(), NULL, key->aes, iv) ||
        !HMAC_Init_ex(mac, key->mac, MAC_KEY_LEN, EVP_sha256(), NULL))
        return -1;
    counters_add(SSL_get_app_data(ssl), COUNT_TICKETS_ISSUED, 1);
    return 1;
}

static int open_ticket(SSL *ssl, const struct tls_server *server, const struct ticket_key *key,
                       const uint8_t *key_name, const uint8_t *iv, EVP_CIPHER_CTX *cipher,
                       HMAC_CTX *mac)
{
    if (CRYPTO_memcmp(key_name, key->name, KEY_NAME_LEN) != 0)
        return 0; /* of a key that was turned over: a full handshake follows */
    if (!EVP_DecryptInit_ex(cipher, EVP_aes_128_cbc(), NULL, key->aes, iv) ||
        !HMAC_Init_ex(mac, key->mac, MAC_KEY_LEN, EVP_sha256(), NULL))
        return -1;
    /* TLS 1.3 tickets follow the handshake, so it is not too late to withhold them. TLS 1.2 renews
     * none unless 2 is returned here. */
    if (server->personality->no_ticket_reissue && SSL_version(ssl) >= TLS1_3_VERSION)
        SSL_set_options(ssl, SSL_OP_NO_TICKET);
    return 1;
}

static int on_ticket(SSL *ssl, uint8_t *key_name, uint8_t *iv, EVP_CIPHER_CTX *cipher,
                     HMAC_CTX *mac, int encrypt)
{
    const struct tls_server *server = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    struct ticket_key key;
    current_ticket_key(server, &key);
    return encrypt ? seal(ssl, &key, key_name, iv, cipher, mac)
                   : open_ticket(ssl, server, &key, key_name, iv, cipher, mac);
}

static void set_tickets(struct tls_server *server)
{
    const struct personality *p = server->personality;
    SSL_CTX_set_session_cache_mode(server->ctx, SSL_SESS_CACHE_OFF); /* tickets or nothing */
    SSL_CTX_set_num_tickets(server->ctx, p->tickets);
    if (p->tickets == 0)
        SSL_CTX_set_options(server->ctx, SSL_OP_NO_TICKET);
    if (p->ticket_lifetime_s) {
        SSL_CTX_set_timeout(server->ctx, p->ticket_lifetime_s);
        SSL_CTX_set_session_psk_dhe_timeout(server->ctx, p->ticket_lifetime_s);
    }
    SSL_CTX_set_tlsext_ticket_key_cb(server->ctx, on_ticket);
}

static bool set_protocol(SSL_CTX *ctx, enum personality_tls tls)
{
    uint16_t least = tls == PERSONALITY_TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION;
    uint16_t most = tls == PERSONALITY_TLS_1_2 ? TLS1_2_VERSION : TLS1_3_VERSION;
    /* The groups are fixed so that figures do not depend on the library's age. */
    return SSL_CTX_set_min_proto_version(ctx, least) && SSL_CTX_set_max_proto_version(ctx, most) &&
           SSL_CTX_set1_curves_list(ctx, "X25519:P-256");
}

static bool set_identity(SSL_CTX *ctx, const struct tls_identity *identity)
{
    if (!SSL_CTX_use_certificate(ctx, identity->certificate) ||
        !SSL_CTX_use_PrivateKey(ctx, identity->key))
        return false;
    for (size_t i = 0; identity->intermediates && i < sk_X509_num(identity->intermediates); i++) {
        if (!SSL_CTX_add1_chain_cert(ctx, sk_X509_value(identity->intermediates, i)))
            return false;
    }
    return true;
}

struct tls_server *tls_server_new(const struct personality *personality,
                                  const struct tls_identity *identity)
{
    struct tls_server *server = mem_zalloc(1, sizeof *server);
    server->personality = personality;
    server->ctx = SSL_CTX_new(TLS_method());
    CHECK(server->ctx);
    SSL_CTX_set_app_data(server->ctx, server);
    SSL_CTX_set_mode(server->ctx,
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    derive_master(server, identity);
    set_tickets(server);
    if (set_protocol(server->ctx, personality->tls) && set_identity(server->ctx, identity))
        return server;
    tls_server_free(server);
    return NULL;
}

void tls_server_free(struct tls_server *server)
{
    if (!server)
        return;
    SSL_CTX_free(server->ctx);
    free(server);
}

SSL *tls_server_accept(struct tls_server *server, struct counters *counters)
{
    SSL *ssl = SSL_new(server->ctx);
    CHECK(ssl);
    SSL_set_accept_state(ssl);
    SSL_set_shed_handshake_config(ssl, 1);
    SSL_set_app_data(ssl, counters);
    return ssl;
}

void tls_server_count_handshake(struct tls_server *server)
{
    atomic_fetch_add_explicit(&server->handshakes, 1, memory_order_relaxed);
}

const char *tls_error(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return text ? text : "no reason given";
}
