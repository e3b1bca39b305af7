/* Certificate chains against requirements, with BoringSSL's X509 for chains and CBS for digests.
 * It does not decide what has to be checked (policy.c), nor what a failure leads to. */
#include "tls/verify.h"

#include "base/bytes.h"
#include "base/check.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/sha.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

static const char *const fault_names[] = {
    [TLS_FAULT_NONE] = "none",
    [TLS_FAULT_NOT_TRUSTED] = "certificate-not-trusted",
    [TLS_FAULT_EXPIRED] = "certificate-expired",
    [TLS_FAULT_NAME] = "certificate-host-mismatch",
    [TLS_FAULT_TLSA] = "validation-failure",
};

const char *tls_fault_name(enum tls_fault fault)
{
    CHECK((unsigned)fault < sizeof fault_names / sizeof *fault_names);
    return fault_names[fault];
}

/* One chain under verification. */
struct chain {
    const STACK_OF(CRYPTO_BUFFER) * sent;
    size_t num; /* of sent, bounded */
    int64_t now_wall_s;
    int64_t valid_until_s; /* see struct tls_verdict */
};

static struct bytes certificate_at(const struct chain *chain, size_t i)
{
    const CRYPTO_BUFFER *buffer = sk_CRYPTO_BUFFER_value(chain->sent, i);
    return bytes_make(CRYPTO_BUFFER_data(buffer), CRYPTO_BUFFER_len(buffer));
}

/* The SubjectPublicKeyInfo of a certificate, without parsing the rest (RFC 5280 4.1). */
static bool find_spki(struct bytes certificate, struct bytes *out)
{
    CBS all, outer, tbs, skipped, spki;
    CBS_init(&all, certificate.at, certificate.len);
    if (!CBS_get_asn1(&all, &outer, CBS_ASN1_SEQUENCE) ||
        !CBS_get_asn1(&outer, &tbs, CBS_ASN1_SEQUENCE) ||
        !CBS_get_optional_asn1(&tbs, NULL, NULL,
                               CBS_ASN1_CONTEXT_SPECIFIC | CBS_ASN1_CONSTRUCTED | 0) ||
        !CBS_get_asn1(&tbs, &skipped, CBS_ASN1_INTEGER))
        return false;
    /* signature, issuer, validity, subject */
    for (int i = 0; i < 4; i++)
        if (!CBS_get_asn1(&tbs, &skipped, CBS_ASN1_SEQUENCE))
            return false;
    if (!CBS_get_asn1_element(&tbs, &spki, CBS_ASN1_SEQUENCE))
        return false;
    *out = bytes_make(CBS_data(&spki), CBS_len(&spki));
    return true;
}

static bool record_matches(const struct tlsa_record *record, struct bytes certificate)
{
    uint8_t digest[SHA512_DIGEST_LENGTH];
    struct bytes part = certificate;
    if (record->selector == TLSA_SPKI && !find_spki(certificate, &part))
        return false;
    if (record->matching == TLSA_SHA256)
        part = bytes_make(SHA256(part.at, part.len, digest), SHA256_DIGEST_LENGTH);
    else if (record->matching == TLSA_SHA512)
        part = bytes_make(SHA512(part.at, part.len, digest), SHA512_DIGEST_LENGTH);
    return part.len == record->len && memcmp(part.at, record->data, part.len) == 0;
}

static X509 *parse(struct bytes certificate)
{
    const uint8_t *at = certificate.at;
    X509 *parsed = d2i_X509(NULL, &at, (long)certificate.len);
    if (parsed && at != certificate.at + certificate.len) {
        X509_free(parsed);
        return NULL;
    }
    return parsed;
}

static enum tls_fault fault_of(int error)
{
    switch (error) {
    case X509_V_OK:
        return TLS_FAULT_NONE;
    case X509_V_ERR_CERT_HAS_EXPIRED:
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return TLS_FAULT_EXPIRED;
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        return TLS_FAULT_NAME;
    default:
        return TLS_FAULT_NOT_TRUSTED;
    }
}

static STACK_OF(X509) * parse_rest(const struct chain *chain)
{
    STACK_OF(X509) *rest = sk_X509_new_null();
    CHECK(rest); /* want of memory */
    for (size_t i = 1; i < chain->num; i++) {
        X509 *certificate = parse(certificate_at(chain, i));
        /* One that cannot be read may be one that is not needed. */
        if (certificate)
            CHECK(sk_X509_push(rest, certificate));
    }
    return rest;
}

/* The first end of all on the path: a session that outlived it would stand for a handshake that
 * fails. The anchor counts as well, because the verification looks at its dates too. */
static int64_t first_end_s(X509_STORE_CTX *context, int64_t now_wall_s)
{
    const STACK_OF(X509) *path = X509_STORE_CTX_get0_chain(context);
    ASN1_TIME *now = ASN1_TIME_set(NULL, (time_t)now_wall_s);
    int64_t first_s = TLS_VALID_FOREVER;
    CHECK(now); /* want of memory */
    for (size_t i = 0; path && i < sk_X509_num(path); i++) {
        int days, seconds;
        int64_t end_s = now_wall_s;
        if (ASN1_TIME_diff(&days, &seconds, now, X509_get0_notAfter(sk_X509_value(path, i))))
            end_s += (int64_t)days * 86400 + seconds;
        first_s = end_s < first_s ? end_s : first_s;
    }
    ASN1_TIME_free(now);
    return first_s;
}

/* Chain to one of the anchors, validity, fit for a server; no names. */
static enum tls_fault verify_chain(struct chain *chain, X509 *leaf, X509_STORE *anchors,
                                   bool any_anchor, char why[TLS_WHY_MAX])
{
    STACK_OF(X509) *rest = parse_rest(chain);
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    int error = X509_V_ERR_UNSPECIFIED;
    CHECK(context); /* want of memory */
    if (X509_STORE_CTX_init(context, anchors, leaf, rest)) {
        X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(context);
        X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
        X509_VERIFY_PARAM_set_time(param, (time_t)chain->now_wall_s);
        X509_VERIFY_PARAM_set_depth(param, TLS_CHAIN_MAX);
        /* An anchor need not be self-signed: what a record or a file names is trusted as it is. */
        if (any_anchor)
            X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_PARTIAL_CHAIN);
        error = X509_verify_cert(context) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(context);
        if (error == X509_V_OK && X509_STORE_CTX_get_error(context) != X509_V_OK)
            error = X509_STORE_CTX_get_error(context);
    }
    if (error != X509_V_OK) {
        snprintf(why, TLS_WHY_MAX, "%s", X509_verify_cert_error_string(error));
    } else {
        int64_t end_s = first_end_s(context, chain->now_wall_s);
        chain->valid_until_s = end_s < chain->valid_until_s ? end_s : chain->valid_until_s;
    }
    X509_STORE_CTX_free(context);
    sk_X509_pop_free(rest, X509_free);
    ERR_clear_error();
    return fault_of(error);
}

/* RFC 6125 6.4: DNS names only where there is one; a wildcard is a whole leftmost label. */
static bool has_name(X509 *leaf, const char *name)
{
    return X509_check_host(leaf, name, strlen(name), X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS, NULL) ==
           1;
}

static bool has_host(X509 *leaf, const struct tls_requirement *requirement)
{
    return requirement->host_is_literal ? X509_check_ip_asc(leaf, requirement->host, 0) == 1
                                        : has_name(leaf, requirement->host);
}

static bool has_one_of(X509 *leaf, const struct tls_names *names)
{
    for (size_t i = 0; i < names->num; i++)
        if (has_name(leaf, names->items[i]))
            return true;
    return names->num == 0;
}

static enum tls_fault wrong_name(const char *name, char why[TLS_WHY_MAX])
{
    snprintf(why, TLS_WHY_MAX, "the certificate is not for %.150s", name);
    return TLS_FAULT_NAME;
}

static enum tls_fault verify_pkix(struct chain *chain, X509 *leaf, X509_STORE *anchors,
                                  const struct tls_names *names, bool names_host,
                                  const struct tls_requirement *requirement, char why[TLS_WHY_MAX])
{
    if (!leaf || !anchors) {
        snprintf(why, TLS_WHY_MAX, "%s",
                 leaf ? "there are no trust anchors" : "the certificate cannot be read");
        return TLS_FAULT_NOT_TRUSTED;
    }
    enum tls_fault fault = verify_chain(chain, leaf, anchors, true, why);
    if (fault != TLS_FAULT_NONE)
        return fault;
    if (names && !has_one_of(leaf, names))
        return wrong_name(names->items[0], why);
    if (names_host && !has_host(leaf, requirement))
        return wrong_name(requirement->host, why);
    return TLS_FAULT_NONE;
}

/* The certificate that a usage 2 record names: in the chain, or whole in the record. Owned by the
 * caller; NULL: none. */
static X509 *find_anchor(const struct chain *chain, const struct tlsa_record *record)
{
    for (size_t i = 0; i < chain->num; i++)
        if (record_matches(record, certificate_at(chain, i)))
            return parse(certificate_at(chain, i));
    if (record->selector == TLSA_CERT && record->matching == TLSA_FULL)
        return parse(bytes_make(record->data, record->len));
    return NULL;
}

static enum tls_fault verify_dane_ta(struct chain *chain, X509 *leaf,
                                     const struct tlsa_record *record,
                                     const struct tls_requirement *requirement,
                                     struct tls_verdict *out)
{
    X509 *anchor = leaf ? find_anchor(chain, record) : NULL;
    if (!anchor)
        return TLS_FAULT_TLSA;
    X509_STORE *store = X509_STORE_new();
    CHECK(store && X509_STORE_add_cert(store, anchor));
    enum tls_fault fault = verify_chain(chain, leaf, store, true, out->why);
    X509_STORE_free(store);
    X509_free(anchor);
    if (fault != TLS_FAULT_NONE)
        return fault;
    out->by_domain = !has_name(leaf, requirement->tlsa->base);
    if (out->by_domain && !(requirement->domain && has_name(leaf, requirement->domain)))
        return wrong_name(requirement->tlsa->base, out->why);
    return TLS_FAULT_NONE;
}

/* RFC 7672 3.1.1: with usage 3 neither names nor dates count. It goes first, being the cheapest. */
static enum tls_fault verify_tlsa(struct chain *chain, X509 *leaf,
                                  const struct tls_requirement *requirement,
                                  struct tls_verdict *out)
{
    const struct tlsa_set *tlsa = requirement->tlsa;
    enum tls_fault fault = TLS_FAULT_TLSA;
    for (size_t i = 0; i < tlsa->num; i++) {
        const struct tlsa_record *record = &tlsa->records[i];
        if (record->usage == TLSA_DANE_EE && tls_tlsa_is_usable(record) &&
            record_matches(record, certificate_at(chain, 0))) {
            out->tlsa_usage = TLSA_DANE_EE;
            return TLS_FAULT_NONE;
        }
    }
    snprintf(out->why, sizeof out->why, "no TLSA record matches the certificate");
    for (size_t i = 0; i < tlsa->num; i++) {
        const struct tlsa_record *record = &tlsa->records[i];
        if (record->usage != TLSA_DANE_TA || !tls_tlsa_is_usable(record))
            continue;
        enum tls_fault found = verify_dane_ta(chain, leaf, record, requirement, out);
        if (found == TLS_FAULT_NONE) {
            out->tlsa_usage = TLSA_DANE_TA;
            return TLS_FAULT_NONE;
        }
        if (found != TLS_FAULT_TLSA)
            fault = found;
    }
    return fault;
}

static bool needs_leaf(const struct tls_requirement *requirement)
{
    if ((requirement->checks | requirement->wishes) & TLS_CHECK_PKIX)
        return true;
    for (size_t i = 0; requirement->tlsa && i < requirement->tlsa->num; i++)
        if (requirement->tlsa->records[i].usage == TLSA_DANE_TA)
            return true;
    return false;
}

static void verify_all(struct chain *chain, X509 *leaf, const struct tls_requirement *requirement,
                       X509_STORE *anchors, struct tls_verdict *out)
{
    if (requirement->checks & TLS_CHECK_TLSA)
        out->fault = verify_tlsa(chain, leaf, requirement, out);
    if (out->fault == TLS_FAULT_NONE && (requirement->checks & TLS_CHECK_PKIX))
        out->fault = verify_pkix(chain, leaf, anchors, &requirement->names, requirement->names_host,
                                 requirement, out->why);
    if (out->fault == TLS_FAULT_NONE) {
        out->why[0] = 0;
        if (requirement->wishes & TLS_CHECK_PKIX)
            out->wish = verify_pkix(chain, leaf, anchors, NULL, true, requirement, out->why);
    }
}

bool tls_verify(const STACK_OF(CRYPTO_BUFFER) * sent, const struct tls_requirement *requirement,
                X509_STORE *anchors, int64_t now_wall_s, struct tls_verdict *out)
{
    struct chain chain = {
        .sent = sent, .now_wall_s = now_wall_s, .valid_until_s = TLS_VALID_FOREVER};
    *out = (struct tls_verdict){.fault = TLS_FAULT_NONE, .valid_until_s = TLS_VALID_FOREVER};
    if (!requirement->checks && !requirement->wishes)
        return true;
    chain.num = sent ? sk_CRYPTO_BUFFER_num(sent) : 0;
    if (chain.num == 0) {
        snprintf(out->why, sizeof out->why, "the peer sent no certificate");
        out->fault = TLS_FAULT_NOT_TRUSTED;
        return false;
    }
    if (chain.num > TLS_CHAIN_MAX)
        chain.num = TLS_CHAIN_MAX;
    X509 *leaf = needs_leaf(requirement) ? parse(certificate_at(&chain, 0)) : NULL;
    verify_all(&chain, leaf, requirement, anchors, out);
    out->valid_until_s = chain.valid_until_s;
    X509_free(leaf);
    ERR_clear_error();
    return out->fault == TLS_FAULT_NONE;
}

/* A length goes before each part, so that ("ab", "c") and ("a", "bc") differ. */
static void add_part(SHA256_CTX *sha, const void *at, size_t len)
{
    uint8_t head[4] = {(uint8_t)(len >> 24), (uint8_t)(len >> 16), (uint8_t)(len >> 8),
                       (uint8_t)len};
    SHA256_Update(sha, head, sizeof head);
    SHA256_Update(sha, at, len);
}

static void add_text(SHA256_CTX *sha, const char *text)
{
    add_part(sha, text ? text : "", text ? strlen(text) : 0);
}

static void add_records(SHA256_CTX *sha, const struct tlsa_set *tlsa)
{
    add_text(sha, tlsa->base);
    for (size_t i = 0; i < tlsa->num; i++) {
        const struct tlsa_record *record = &tlsa->records[i];
        if (!tls_tlsa_is_usable(record))
            continue;
        uint8_t kind[] = {record->usage, record->selector, record->matching};
        add_part(sha, kind, sizeof kind);
        add_part(sha, record->data, record->len);
    }
}

void tls_proof_make(const struct tls_requirement *requirement, bool by_domain,
                    uint8_t out[TLS_PROOF_LEN])
{
    uint8_t head[] = {(uint8_t)requirement->checks, (uint8_t)requirement->wishes, by_domain,
                      requirement->names_host, (uint8_t)requirement->names.num};
    SHA256_CTX sha;
    memset(out, 0, TLS_PROOF_LEN);
    if (!requirement->checks && !requirement->wishes)
        return;
    SHA256_Init(&sha);
    SHA256_Update(&sha, head, sizeof head);
    if (requirement->checks & TLS_CHECK_TLSA)
        add_records(&sha, requirement->tlsa);
    if (by_domain)
        add_text(&sha, requirement->domain);
    for (size_t i = 0; (requirement->checks & TLS_CHECK_PKIX) && i < requirement->names.num; i++)
        add_text(&sha, requirement->names.items[i]);
    if (requirement->names_host || requirement->wishes)
        add_text(&sha, requirement->host);
    SHA256_Final(out, &sha);
}

bool tls_proof_satisfies(const uint8_t proof[TLS_PROOF_LEN],
                         const struct tls_requirement *requirement)
{
    uint8_t needed[TLS_PROOF_LEN];
    if (!requirement->checks && !requirement->wishes)
        return true;
    tls_proof_make(requirement, false, needed);
    if (memcmp(proof, needed, sizeof needed) == 0)
        return true;
    if (!(requirement->checks & TLS_CHECK_TLSA))
        return false;
    tls_proof_make(requirement, true, needed);
    return memcmp(proof, needed, sizeof needed) == 0;
}
