/* Certificates against requirements: every fault, names, both usages of DANE with every selector
 * and matching type, and what a proof is good for. */
#include "tests/support/certificates.h"
#include "tls/verify.h"

#include <openssl/sha.h>
#include <string.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

enum { NOW = 1800000000, DAY = 86400 };

/* root -> middle -> leaf, another CA, and leaves with one fault each. */
static struct identity root, middle, leaf, stranger, foreign, expired, early, nameless;
static X509_STORE *anchors;

static struct identity make(const char *name, const char *alt_names, bool is_ca, int64_t from_s,
                            int64_t until_s, const struct identity *issuer)
{
    return identity_make(
        &(struct identity_options){name, alt_names, is_ca, NOW + from_s, NOW + until_s}, issuer);
}

static int set_up(void **state)
{
    (void)state;
    root = make("root", NULL, true, -DAY, DAY, NULL);
    middle = make("middle", NULL, true, -DAY, DAY, &root);
    leaf =
        make("leaf", "DNS:mx.example.test,DNS:*.pool.test,IP:192.0.2.1", false, -DAY, DAY, &middle);
    stranger = make("stranger", NULL, true, -DAY, DAY, NULL);
    foreign = make("foreign", "DNS:mx.example.test", false, -DAY, DAY, &stranger);
    expired = make("expired", "DNS:mx.example.test", false, -2 * DAY, -1, &root);
    early = make("early", "DNS:mx.example.test", false, 1, DAY, &root);
    nameless = make("nameless", "DNS:other.test", false, -DAY, DAY, &root);
    anchors = X509_STORE_new();
    return X509_STORE_add_cert(anchors, root.certificate) ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    struct identity *all[] = {&root,    &middle,  &leaf,  &stranger,
                              &foreign, &expired, &early, &nameless};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        identity_free(all[i]);
    X509_STORE_free(anchors);
    return 0;
}

static struct tls_verdict verify(const struct identity *const *sent, size_t num,
                                 const struct tls_requirement *requirement, X509_STORE *store)
{
    struct tls_verdict verdict;
    STACK_OF(CRYPTO_BUFFER) *chain = chain_make(sent, num);
    bool ok = tls_verify(chain, requirement, store, NOW, &verdict);
    chain_free(chain);
    assert_int_equal(ok, verdict.fault == TLS_FAULT_NONE);
    assert_int_equal(verdict.why[0] == 0,
                     verdict.fault == TLS_FAULT_NONE && verdict.wish == TLS_FAULT_NONE);
    return verdict;
}

static const struct tls_requirement host_checked = {
    .checks = TLS_CHECK_PKIX, .names_host = true, .host = "mx.example.test"};

static void each_fault_is_told_apart(void **state)
{
    (void)state;
    const struct {
        const struct identity *sent[3];
        size_t num;
        enum tls_fault fault;
    } rows[] = {
        {{&leaf, &middle}, 2, TLS_FAULT_NONE},
        {{&leaf, &middle, &root}, 3, TLS_FAULT_NONE},
        {{&leaf, &stranger, &middle}, 3, TLS_FAULT_NONE}, /* disorder is usual */
        {{&leaf}, 1, TLS_FAULT_NOT_TRUSTED},              /* the middle is missing */
        {{&foreign, &stranger}, 2, TLS_FAULT_NOT_TRUSTED},
        {{&stranger}, 1, TLS_FAULT_NOT_TRUSTED},
        {{&expired}, 1, TLS_FAULT_EXPIRED},
        {{&early}, 1, TLS_FAULT_EXPIRED},
        {{&nameless}, 1, TLS_FAULT_NAME},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(verify(rows[i].sent, rows[i].num, &host_checked, anchors).fault,
                         rows[i].fault);
    const struct identity *good[] = {&leaf, &middle};
    assert_int_equal(verify(good, 2, &host_checked, NULL).fault, TLS_FAULT_NOT_TRUSTED);
    assert_int_equal(verify(NULL, 0, &host_checked, anchors).fault, TLS_FAULT_NOT_TRUSTED);
}

static void what_is_no_certificate_is_not_trusted(void **state)
{
    (void)state;
    static const uint8_t junk[] = {0x30, 0x03, 0x02, 0x01, 0x01};
    struct tls_verdict verdict;
    STACK_OF(CRYPTO_BUFFER) *chain = sk_CRYPTO_BUFFER_new_null();
    CHECK(sk_CRYPTO_BUFFER_push(chain, CRYPTO_BUFFER_new(junk, sizeof junk, NULL)));
    assert_false(tls_verify(chain, &host_checked, anchors, NOW, &verdict));
    assert_int_equal(verdict.fault, TLS_FAULT_NOT_TRUSTED);
    chain_free(chain);
}

static void nothing_is_checked_that_nobody_asks_for(void **state)
{
    (void)state;
    const struct identity *sent[] = {&foreign};
    assert_int_equal(verify(sent, 1, &(struct tls_requirement){.mandatory = true}, NULL).fault,
                     TLS_FAULT_NONE);
}

static void names_are_matched_as_the_requirement_says(void **state)
{
    (void)state;
    static const char *const pool[] = {"nowhere.test", "a.pool.test"};
    static const char *const deep[] = {"a.b.pool.test"};
    static const char *const none[] = {"example.test"};
    const struct identity *sent[] = {&leaf, &middle};
    const struct {
        struct tls_requirement requirement;
        enum tls_fault fault;
    } rows[] = {
        {{.names = {pool, 2}}, TLS_FAULT_NONE},
        {{.names = {deep, 1}}, TLS_FAULT_NAME},
        {{.names = {none, 1}}, TLS_FAULT_NAME},
        {{.names = {pool, 2}, .names_host = true, .host = "mx.example.test"}, TLS_FAULT_NONE},
        {{.names = {pool, 2}, .names_host = true, .host = "mx.test"}, TLS_FAULT_NAME},
        {{.names_host = true, .host = "192.0.2.1", .host_is_literal = true}, TLS_FAULT_NONE},
        {{.names_host = true, .host = "192.0.2.2", .host_is_literal = true}, TLS_FAULT_NAME},
        {{.names_host = true, .host = "MX.Example.Test"}, TLS_FAULT_NONE},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tls_requirement requirement = rows[i].requirement;
        requirement.checks = TLS_CHECK_PKIX;
        assert_int_equal(verify(sent, 2, &requirement, anchors).fault, rows[i].fault);
    }
}

static void a_wish_is_reported_and_not_enforced(void **state)
{
    (void)state;
    const struct tls_requirement wish = {.wishes = TLS_CHECK_PKIX, .host = "mx.example.test"};
    const struct identity *good[] = {&leaf, &middle};
    const struct identity *bad[] = {&nameless};
    assert_int_equal(verify(good, 2, &wish, anchors).wish, TLS_FAULT_NONE);
    struct tls_verdict verdict = verify(bad, 1, &wish, anchors);
    assert_int_equal(verdict.fault, TLS_FAULT_NONE);
    assert_int_equal(verdict.wish, TLS_FAULT_NAME);
}

/* A record that matches the certificate by that selector and matching type. */
struct made_record {
    struct tlsa_record record;
    uint8_t data[4096];
};

static void make_record(struct made_record *out, uint8_t usage, uint8_t selector, uint8_t matching,
                        const struct identity *identity)
{
    uint8_t *der = NULL;
    int len = selector == TLSA_CERT
                  ? i2d_X509(identity->certificate, &der)
                  : i2d_X509_PUBKEY(X509_get_X509_PUBKEY(identity->certificate), &der);
    assert_true(len > 0 && (size_t)len <= sizeof out->data);
    if (matching == TLSA_FULL)
        memcpy(out->data, der, (size_t)len);
    else if (matching == TLSA_SHA256)
        SHA256(der, (size_t)len, out->data);
    else
        SHA512(der, (size_t)len, out->data);
    OPENSSL_free(der);
    size_t size = matching == TLSA_FULL ? (size_t)len : matching == TLSA_SHA256 ? 32 : 64;
    out->record = (struct tlsa_record){usage, selector, matching, (uint16_t)size, out->data};
}

static struct tls_verdict verify_dane(const struct identity *const *sent, size_t num,
                                      const struct tlsa_record *records, size_t num_records,
                                      const char *base, const char *domain)
{
    struct tlsa_set set = {TLSA_FOUND, base, num_records, records};
    struct tls_requirement requirement = {
        .checks = TLS_CHECK_TLSA, .tlsa = &set, .host = "mx.example.test", .domain = domain};
    return verify(sent, num, &requirement, NULL);
}

static void every_selector_and_matching_type_works_for_both_usages(void **state)
{
    (void)state;
    const struct identity *sent[] = {&leaf, &middle, &root};
    for (uint8_t selector = 0; selector <= 1; selector++) {
        for (uint8_t matching = 0; matching <= 2; matching++) {
            struct made_record ee, ta, wrong_ee, wrong_ta;
            make_record(&ee, TLSA_DANE_EE, selector, matching, &leaf);
            make_record(&ta, TLSA_DANE_TA, selector, matching, &middle);
            make_record(&wrong_ee, TLSA_DANE_EE, selector, matching, &nameless);
            make_record(&wrong_ta, TLSA_DANE_TA, selector, matching, &stranger);
            struct tls_verdict verdict = verify_dane(sent, 3, &ee.record, 1, "x.test", NULL);
            assert_int_equal(verdict.fault, TLS_FAULT_NONE);
            assert_int_equal(verdict.tlsa_usage, TLSA_DANE_EE);
            verdict = verify_dane(sent, 3, &ta.record, 1, "mx.example.test", NULL);
            assert_int_equal(verdict.fault, TLS_FAULT_NONE);
            assert_int_equal(verdict.tlsa_usage, TLSA_DANE_TA);
            verdict = verify_dane(sent, 3, &wrong_ee.record, 1, "mx.example.test", NULL);
            assert_int_equal(verdict.fault, TLS_FAULT_TLSA);
            verdict = verify_dane(sent, 3, &wrong_ta.record, 1, "mx.example.test", NULL);
            assert_int_not_equal(verdict.fault, TLS_FAULT_NONE);
        }
    }
}

static void dane_ee_minds_neither_names_nor_dates(void **state)
{
    (void)state;
    struct made_record record;
    const struct identity *sent[] = {&expired};
    make_record(&record, TLSA_DANE_EE, TLSA_SPKI, TLSA_SHA256, &expired);
    assert_int_equal(verify_dane(sent, 1, &record.record, 1, "no.test", NULL).fault,
                     TLS_FAULT_NONE);
}

static void dane_ta_minds_names_and_dates(void **state)
{
    (void)state;
    struct made_record record;
    const struct identity *old[] = {&expired, &root};
    const struct identity *good[] = {&leaf, &middle};
    make_record(&record, TLSA_DANE_TA, TLSA_CERT, TLSA_SHA256, &root);
    assert_int_equal(verify_dane(old, 2, &record.record, 1, "mx.example.test", NULL).fault,
                     TLS_FAULT_EXPIRED);
    make_record(&record, TLSA_DANE_TA, TLSA_CERT, TLSA_SHA256, &middle);
    assert_int_equal(verify_dane(good, 2, &record.record, 1, "no.test", NULL).fault,
                     TLS_FAULT_NAME);
    assert_false(verify_dane(good, 2, &record.record, 1, "mx.example.test", "no.test").by_domain);
    struct tls_verdict verdict = verify_dane(good, 2, &record.record, 1, "no.test", "b.pool.test");
    assert_int_equal(verdict.fault, TLS_FAULT_NONE);
    assert_true(verdict.by_domain);
}

/* RFC 7671 5.2.2: the anchor need not be sent when the record holds all of it. */
static void an_anchor_may_be_in_dns_alone(void **state)
{
    (void)state;
    struct made_record record;
    const struct identity *sent[] = {&leaf, &middle};
    make_record(&record, TLSA_DANE_TA, TLSA_CERT, TLSA_FULL, &root);
    assert_int_equal(verify_dane(sent, 2, &record.record, 1, "mx.example.test", NULL).fault,
                     TLS_FAULT_NONE);
    make_record(&record, TLSA_DANE_TA, TLSA_CERT, TLSA_SHA256, &root);
    assert_int_equal(verify_dane(sent, 2, &record.record, 1, "mx.example.test", NULL).fault,
                     TLS_FAULT_TLSA);
}

static void one_record_that_matches_is_enough_and_unusable_ones_count_for_nothing(void **state)
{
    (void)state;
    struct made_record next, pkix, now;
    const struct identity *sent[] = {&leaf, &middle};
    make_record(&next, TLSA_DANE_EE, TLSA_SPKI, TLSA_SHA256, &nameless); /* a rollover's */
    make_record(&pkix, TLSA_PKIX_EE, TLSA_SPKI, TLSA_SHA256, &leaf);
    make_record(&now, TLSA_DANE_EE, TLSA_SPKI, TLSA_SHA256, &leaf);
    struct tlsa_record all[] = {next.record, pkix.record, now.record};
    assert_int_equal(verify_dane(sent, 2, all, 3, "x.test", NULL).fault, TLS_FAULT_NONE);
    assert_int_equal(verify_dane(sent, 2, all, 2, "x.test", NULL).fault, TLS_FAULT_TLSA);
}

static void both_checks_must_hold_where_both_are_asked_for(void **state)
{
    (void)state;
    struct made_record record;
    make_record(&record, TLSA_DANE_EE, TLSA_SPKI, TLSA_SHA256, &foreign);
    struct tlsa_set set = {TLSA_FOUND, "mx.example.test", 1, &record.record};
    struct tls_requirement requirement = host_checked;
    requirement.checks |= TLS_CHECK_TLSA;
    requirement.tlsa = &set;
    const struct identity *sent[] = {&foreign, &stranger};
    assert_int_equal(verify(sent, 2, &requirement, anchors).fault, TLS_FAULT_NOT_TRUSTED);
    const struct identity *other[] = {&leaf, &middle};
    assert_int_equal(verify(other, 2, &requirement, anchors).fault, TLS_FAULT_TLSA);
}

/* A session may be resumed as long as a full handshake would be accepted. */
static void it_holds_until_the_first_certificate_of_the_path_expires(void **state)
{
    (void)state;
    struct identity short_middle = make("short", NULL, true, -DAY, 100, &root);
    struct identity below = make("below", "DNS:mx.example.test", false, -DAY, DAY, &short_middle);
    struct identity short_leaf = make("leaf", "DNS:mx.example.test", false, -DAY, 50, &root);
    struct made_record ta, ee;
    make_record(&ta, TLSA_DANE_TA, TLSA_CERT, TLSA_SHA256, &root);
    make_record(&ee, TLSA_DANE_EE, TLSA_CERT, TLSA_SHA256, &short_leaf);
    struct tlsa_set by_anchor = {TLSA_FOUND, "mx.example.test", 1, &ta.record};
    struct tlsa_set by_leaf = {TLSA_FOUND, "mx.example.test", 1, &ee.record};
    const struct tls_requirement anchored = {.checks = TLS_CHECK_TLSA, .tlsa = &by_anchor};
    const struct tls_requirement pinned = {.checks = TLS_CHECK_TLSA, .tlsa = &by_leaf};
    const struct tls_requirement unchecked = {.mandatory = true};
    const struct {
        const struct identity *sent[3];
        const struct tls_requirement *requirement;
        int64_t until_s;
    } rows[] = {
        {{&leaf, &middle, &root}, &host_checked, NOW + DAY},
        {{&below, &short_middle, &root}, &host_checked, NOW + 100},
        {{&short_leaf, &root, &root}, &host_checked, NOW + 50},
        {{&short_leaf, &root, &root}, &anchored, NOW + 50},
        {{&short_leaf, &root, &root}, &pinned, TLS_VALID_FOREVER}, /* RFC 7672 3.1.1 */
        {{&short_leaf, &root, &root}, &unchecked, TLS_VALID_FOREVER},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tls_verdict verdict = verify(rows[i].sent, 3, rows[i].requirement, anchors);
        assert_int_equal(verdict.fault, TLS_FAULT_NONE);
        assert_int_equal(verdict.valid_until_s, rows[i].until_s);
    }
    identity_free(&short_middle);
    identity_free(&below);
    identity_free(&short_leaf);
}

static void a_proof_is_good_for_the_same_checks_only(void **state)
{
    (void)state;
    static const char *const names[] = {"a.test"};
    struct made_record ta, ee;
    make_record(&ta, TLSA_DANE_TA, TLSA_CERT, TLSA_SHA256, &root);
    make_record(&ee, TLSA_DANE_EE, TLSA_CERT, TLSA_SHA256, &leaf);
    struct tlsa_set set_a = {TLSA_FOUND, "mx.example.test", 1, &ta.record};
    struct tlsa_set set_b = {TLSA_FOUND, "mx.example.test", 1, &ee.record};
    struct tls_requirement all[] = {
        {.checks = 0},
        {.checks = TLS_CHECK_PKIX, .names_host = true, .host = "a.test"},
        {.checks = TLS_CHECK_PKIX, .names_host = true, .host = "b.test"},
        {.checks = TLS_CHECK_PKIX, .names = {names, 1}, .host = "b.test"},
        {.checks = TLS_CHECK_TLSA, .tlsa = &set_a, .host = "a.test", .domain = "d.test"},
        {.checks = TLS_CHECK_TLSA, .tlsa = &set_b, .host = "a.test", .domain = "d.test"},
        {.checks = TLS_CHECK_TLSA | TLS_CHECK_PKIX,
         .tlsa = &set_a,
         .host = "a.test",
         .names_host = true},
        {.wishes = TLS_CHECK_PKIX, .host = "a.test"},
    };
    enum { NUM = sizeof all / sizeof *all };
    for (size_t i = 0; i < NUM; i++) {
        uint8_t proof[TLS_PROOF_LEN];
        tls_proof_make(&all[i], false, proof);
        for (size_t k = 0; k < NUM; k++)
            assert_int_equal(tls_proof_satisfies(proof, &all[k]), i == k || k == 0);
    }
}

static void a_proof_by_domain_is_good_for_that_domain_only(void **state)
{
    (void)state;
    struct made_record ta;
    make_record(&ta, TLSA_DANE_TA, TLSA_CERT, TLSA_SHA256, &root);
    struct tlsa_set set = {TLSA_FOUND, "mx.test", 1, &ta.record};
    struct tls_requirement one = {.checks = TLS_CHECK_TLSA, .tlsa = &set, .domain = "a.test"};
    struct tls_requirement two = one;
    uint8_t by_domain[TLS_PROOF_LEN], by_host[TLS_PROOF_LEN];
    two.domain = "b.test";
    tls_proof_make(&one, true, by_domain);
    tls_proof_make(&one, false, by_host);
    assert_true(tls_proof_satisfies(by_domain, &one));
    assert_false(tls_proof_satisfies(by_domain, &two));
    assert_true(tls_proof_satisfies(by_host, &one));
    assert_true(tls_proof_satisfies(by_host, &two));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_fault_is_told_apart),
        cmocka_unit_test(what_is_no_certificate_is_not_trusted),
        cmocka_unit_test(nothing_is_checked_that_nobody_asks_for),
        cmocka_unit_test(names_are_matched_as_the_requirement_says),
        cmocka_unit_test(a_wish_is_reported_and_not_enforced),
        cmocka_unit_test(every_selector_and_matching_type_works_for_both_usages),
        cmocka_unit_test(dane_ee_minds_neither_names_nor_dates),
        cmocka_unit_test(dane_ta_minds_names_and_dates),
        cmocka_unit_test(an_anchor_may_be_in_dns_alone),
        cmocka_unit_test(one_record_that_matches_is_enough_and_unusable_ones_count_for_nothing),
        cmocka_unit_test(both_checks_must_hold_where_both_are_asked_for),
        cmocka_unit_test(it_holds_until_the_first_certificate_of_the_path_expires),
        cmocka_unit_test(a_proof_is_good_for_the_same_checks_only),
        cmocka_unit_test(a_proof_by_domain_is_good_for_that_domain_only),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
