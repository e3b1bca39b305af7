/* Certificates made inside a test: a CA, what it signs, chains as a peer would send them.
 *
 * Everything is static; keys are EC P-256. Times are seconds since 1970. */
#ifndef SLUICE_TESTS_SUPPORT_CERTIFICATES_H
#define SLUICE_TESTS_SUPPORT_CERTIFICATES_H

#include "base/check.h"

#include <openssl/ec.h>
#include <openssl/ec_key.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/nid.h>
#include <openssl/pool.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define CERTIFICATES_UNUSED __attribute__((unused))

struct identity {
    EVP_PKEY *key;     /* owned */
    X509 *certificate; /* owned */
};

struct identity_options {
    const char *common_name;
    const char *alt_names; /* "DNS:a.test,IP:192.0.2.1"; NULL: none */
    bool is_ca;
    int64_t from_s, until_s;
};

static void certificate_extend(X509 *certificate, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, certificate, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_nconf_nid(NULL, &context, nid, value);
    CHECK(extension && X509_add_ext(certificate, extension, -1));
    X509_EXTENSION_free(extension);
}

/* issuer NULL: self-signed. */
CERTIFICATES_UNUSED static struct identity identity_make(const struct identity_options *options,
                                                         const struct identity *issuer)
{
    static long serial;
    struct identity made = {EVP_PKEY_new(), X509_new()};
    EC_KEY *ec = EC_KEY_new_by_curve_name(NID_X9_62_prime256v1);
    X509 *certificate = made.certificate;
    CHECK(ec && EC_KEY_generate_key(ec) && EVP_PKEY_assign_EC_KEY(made.key, ec));
    CHECK(X509_set_version(certificate, X509_VERSION_3));
    ASN1_INTEGER_set(X509_get_serialNumber(certificate), ++serial);
    ASN1_TIME_set(X509_getm_notBefore(certificate), (time_t)options->from_s);
    ASN1_TIME_set(X509_getm_notAfter(certificate), (time_t)options->until_s);
    X509_NAME *name = X509_get_subject_name(certificate);
    CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                     (const unsigned char *)options->common_name, -1, -1, 0));
    CHECK(X509_set_issuer_name(certificate,
                               issuer ? X509_get_subject_name(issuer->certificate) : name));
    CHECK(X509_set_pubkey(certificate, made.key));
    certificate_extend(certificate, NID_basic_constraints,
                       options->is_ca ? "critical,CA:TRUE" : "critical,CA:FALSE");
    if (options->alt_names)
        certificate_extend(certificate, NID_subject_alt_name, options->alt_names);
    CHECK(X509_sign(certificate, issuer ? issuer->key : made.key, EVP_sha256()));
    return made;
}

CERTIFICATES_UNUSED static void identity_free(struct identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
}

/* Its DER form, freed with OPENSSL_free(). */
CERTIFICATES_UNUSED static size_t identity_der(const struct identity *identity, uint8_t **out)
{
    *out = NULL;
    int len = i2d_X509(identity->certificate, out);
    CHECK(len > 0);
    return (size_t)len;
}

/* As a peer sends it, leaf first; freed with chain_free(). */
CERTIFICATES_UNUSED static STACK_OF(CRYPTO_BUFFER) *
    chain_make(const struct identity *const *identities, size_t num)
{
    STACK_OF(CRYPTO_BUFFER) *chain = sk_CRYPTO_BUFFER_new_null();
    for (size_t i = 0; i < num; i++) {
        uint8_t *der;
        size_t len = identity_der(identities[i], &der);
        CHECK(sk_CRYPTO_BUFFER_push(chain, CRYPTO_BUFFER_new(der, len, NULL)));
        OPENSSL_free(der);
    }
    return chain;
}

CERTIFICATES_UNUSED static void chain_free(STACK_OF(CRYPTO_BUFFER) * chain)
{
    sk_CRYPTO_BUFFER_pop_free(chain, CRYPTO_BUFFER_free);
}

#endif
