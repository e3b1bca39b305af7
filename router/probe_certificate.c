/* From X.509 to JSON. It checks nothing: tls/verify.c does. */
#include "router/probe_certificate.h"

#include "base/bytes.h"
#include "router/smtp_reply.h"

#include <arpa/inet.h>
#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/mem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

enum { TEXT_MAX = 1024, NAMES_MAX = 100 };

/* What a stranger's certificate says, fit to be shown. */
static json_t *shown(struct bytes text)
{
    char safe[TEXT_MAX];
    size_t len = 0;
    (void)smtp_text_append(safe, sizeof safe, &len, text);
    return json_string(safe);
}

static json_t *name_text(X509_NAME *name)
{
    BIO *bio = BIO_new(BIO_s_mem());
    const uint8_t *at = NULL;
    size_t len = 0;
    json_t *text = NULL;
    if (bio && name && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) >= 0 &&
        BIO_mem_contents(bio, &at, &len))
        text = shown(bytes_make(at, len));
    BIO_free(bio);
    return text ? text : json_null();
}

/* RFC 3339 in UTC. */
static json_t *time_text(const ASN1_TIME *time)
{
    ASN1_GENERALIZEDTIME *wide = ASN1_TIME_to_generalizedtime((ASN1_TIME *)time, NULL);
    json_t *text = NULL;
    if (wide && ASN1_STRING_length(wide) == 15) {
        const char *d = (const char *)ASN1_STRING_get0_data(wide);
        text =
            json_sprintf("%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", d, d + 4, d + 6, d + 8, d + 10, d + 12);
    }
    ASN1_GENERALIZEDTIME_free(wide);
    return text ? text : json_null();
}

static json_t *alternative_name(const GENERAL_NAME *name)
{
    char text[INET6_ADDRSTRLEN];
    if (name->type == GEN_DNS)
        return shown(bytes_make(ASN1_STRING_get0_data(name->d.dNSName),
                                (size_t)ASN1_STRING_length(name->d.dNSName)));
    if (name->type != GEN_IPADD)
        return NULL;
    int len = ASN1_STRING_length(name->d.iPAddress);
    int family = len == 4 ? AF_INET : len == 16 ? AF_INET6 : AF_UNSPEC;
    if (family == AF_UNSPEC ||
        !inet_ntop(family, ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text))
        return NULL;
    return json_string(text);
}

static json_t *alternative_names(X509 *certificate)
{
    json_t *out = json_array();
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    for (size_t i = 0; names && i < sk_GENERAL_NAME_num(names) && i < NAMES_MAX; i++) {
        json_t *text = alternative_name(sk_GENERAL_NAME_value(names, i));
        if (text)
            json_array_append_new(out, text);
    }
    GENERAL_NAMES_free(names);
    return out;
}

static json_t *key_text(X509 *certificate)
{
    EVP_PKEY *key = X509_get_pubkey(certificate);
    json_t *text = json_null();
    if (key) {
        int id = EVP_PKEY_id(key);
        const char *name = id == EVP_PKEY_RSA       ? "RSA"
                           : id == EVP_PKEY_EC      ? "EC"
                           : id == EVP_PKEY_ED25519 ? "Ed25519"
                                                    : "other";
        text = json_sprintf("%s %d", name, EVP_PKEY_bits(key));
    }
    EVP_PKEY_free(key);
    return text;
}

static json_t *hex_digest(const uint8_t *at, size_t len)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char text[2 * SHA256_DIGEST_LENGTH + 1];
    SHA256(at, len, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return json_string(text);
}

static json_t *spki_digest(X509 *certificate)
{
    uint8_t *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
    json_t *text = len > 0 ? hex_digest(der, (size_t)len) : json_null();
    OPENSSL_free(der);
    return text;
}

static json_t *describe(CRYPTO_BUFFER *buffer)
{
    X509 *certificate = X509_parse_from_buffer(buffer);
    if (!certificate)
        return json_pack("{s:s}", "error", "it cannot be parsed");
    json_t *out = json_pack(
        "{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "subject",
        name_text(X509_get_subject_name(certificate)), "issuer",
        name_text(X509_get_issuer_name(certificate)), "names", alternative_names(certificate),
        "not_before", time_text(X509_get0_notBefore(certificate)), "not_after",
        time_text(X509_get0_notAfter(certificate)), "key", key_text(certificate), "sha256",
        hex_digest(CRYPTO_BUFFER_data(buffer), CRYPTO_BUFFER_len(buffer)), "spki_sha256",
        spki_digest(certificate));
    X509_free(certificate);
    return out;
}

json_t *probe_certificates(const STACK_OF(CRYPTO_BUFFER) * chain)
{
    json_t *out = json_array();
    for (size_t i = 0; chain && i < sk_CRYPTO_BUFFER_num(chain); i++)
        json_array_append_new(out, describe(sk_CRYPTO_BUFFER_value(chain, i)));
    return out;
}
