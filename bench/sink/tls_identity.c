/* The sink's certificate: read from PEM files, or made on the spot.
 * It builds no context; see tls_server.c. */
#include "base/check.h"
#include "base/memory.h"
#include "bench/sink/tls_server.h"

#include <openssl/bytestring.h>
#include <openssl/ec_key.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/nid.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

enum { VALID_S = 30 * 24 * 3600, BACKDATED_S = 3600, CHAIN_MAX = 10 };

static bool load_chain(struct tls_identity *out, FILE *file)
{
    out->certificate = PEM_read_X509(file, NULL, NULL, NULL);
    if (!out->certificate)
        return false;
    out->intermediates = sk_X509_new_null();
    for (unsigned i = 0; i < CHAIN_MAX; i++) {
        X509 *next = PEM_read_X509(file, NULL, NULL, NULL);
        if (!next)
            break;
        CHECK(sk_X509_push(out->intermediates, next));
    }
    ERR_clear_error(); /* the end of the file is no failure */
    return true;
}

bool tls_identity_load(struct tls_identity *out, const char *cert_file, const char *key_file)
{
    *out = (struct tls_identity){0};
    RAND_bytes(out->ticket_secret, sizeof out->ticket_secret);
    FILE *file = fopen(cert_file, "re");
    if (!file)
        return false;
    bool ok = load_chain(out, file);
    fclose(file);
    file = ok ? fopen(key_file, "re") : NULL;
    if (file) {
        out->key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
        fclose(file);
    }
    if (out->key)
        return true;
    tls_identity_fini(out);
    return false;
}

static EVP_PKEY *make_key(void)
{
    EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
    EVP_PKEY *key = EVP_PKEY_new();
    CHECK(ec && key && EC_KEY_generate_key(ec) && EVP_PKEY_assign_EC_KEY(key, ec));
    return key;
}

static bool add_names(X509 *certificate, const char *const *names, size_t num_names)
{
    struct buffer text;
    buffer_init(&text, 1 << 20);
    for (size_t i = 0; i < num_names; i++)
        buffer_printf(&text, "%sDNS:%s", i ? "," : "", names[i]);
    buffer_append_byte(&text, '\0');
    X509_EXTENSION *extension =
        X509V3_EXT_nconf_nid(NULL, NULL, NID_subject_alt_name, (char *)text.at);
    bool ok = extension && X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    buffer_fini(&text);
    return ok;
}

static bool fill(X509 *certificate, EVP_PKEY *key, const char *const *names, size_t num_names)
{
    uint64_t serial;
    RAND_bytes((uint8_t *)&serial, sizeof serial);
    X509_NAME *subject = X509_get_subject_name(certificate);
    return X509_set_version(certificate, 2) && /* v3 */
           ASN1_INTEGER_set_uint64(X509_get_serialNumber(certificate), serial >> 1) &&
           X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATED_S) &&
           X509_gmtime_adj(X509_getm_notAfter(certificate), VALID_S) &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const uint8_t *)names[0], -1,
                                      -1, 0) &&
           X509_set_issuer_name(certificate, subject) && add_names(certificate, names, num_names) &&
           X509_set_pubkey(certificate, key) && X509_sign(certificate, key, EVP_sha256()) > 0;
}

bool tls_identity_make(struct tls_identity *out, const char *const *names, size_t num_names)
{
    *out = (struct tls_identity){.certificate = X509_new(), .key = make_key()};
    CHECK(out->certificate && num_names > 0);
    RAND_bytes(out->ticket_secret, sizeof out->ticket_secret);
    if (fill(out->certificate, out->key, names, num_names))
        return true;
    tls_identity_fini(out);
    return false;
}

bool tls_identity_save(const struct tls_identity *identity, const char *cert_file)
{
    FILE *file = fopen(cert_file, "we");
    if (!file)
        return false;
    bool ok = PEM_write_X509(file, identity->certificate);
    return fclose(file) == 0 && ok;
}

void tls_identity_fini(struct tls_identity *identity)
{
    X509_free(identity->certificate);
    sk_X509_pop_free(identity->intermediates, X509_free);
    EVP_PKEY_free(identity->key);
    *identity = (struct tls_identity){0};
}
