/* The sources combined row by row, and the table "level x event". */
#include "tls/policy.h"

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <cmocka.h>
/* clang-format on */

enum { AFTER = 300000, NOW = 1000000 };

static const uint8_t digest[32];
static const struct tlsa_record usable[] = {{TLSA_DANE_EE, TLSA_SPKI, TLSA_SHA256, 32, digest}};
static const struct tlsa_record unusable[] = {{TLSA_PKIX_EE, TLSA_SPKI, TLSA_SHA256, 32, digest},
                                              {TLSA_DANE_EE, 7, TLSA_SHA256, 32, digest},
                                              {TLSA_DANE_EE, TLSA_SPKI, 9, 32, digest},
                                              {TLSA_DANE_EE, TLSA_SPKI, TLSA_SHA512, 32, digest},
                                              {TLSA_DANE_TA, TLSA_CERT, TLSA_FULL, 0, digest}};
static const struct tlsa_set no_tlsa = {.state = TLSA_NONE};
static const struct tlsa_set failed_tlsa = {.state = TLSA_FAILED};
static const struct tlsa_set good_tlsa = {TLSA_FOUND, "mx.example.test", 1, usable};
static const struct tlsa_set odd_tlsa = {TLSA_FOUND, "mx.example.test", 5, unusable};

static char *allowed[] = {"mx.example.test", "*.pool.test"};
static const struct sts_policy enforce = {.mode = STS_ENFORCE, .num_mx = 2, .mx = allowed};
static const struct sts_policy testing = {.mode = STS_TESTING, .num_mx = 2, .mx = allowed};
static const struct sts_policy off = {.mode = STS_NONE};

static struct tls_requirement combine(struct tls_policy_inputs inputs)
{
    struct tls_requirement requirement;
    if (!inputs.host)
        inputs.host = "mx.example.test";
    inputs.domain = "example.test";
    tls_policy_combine(&inputs, &requirement);
    return requirement;
}

#define IN(...) ((struct tls_policy_inputs){__VA_ARGS__})
#define N TLS_LEVEL_NONE
#define M TLS_LEVEL_MAY
#define E TLS_LEVEL_ENCRYPT
#define V TLS_LEVEL_VERIFY
#define S TLS_LEVEL_STS
#define D TLS_LEVEL_DANE
#define DO TLS_LEVEL_DANE_ONLY
enum { PKIX = TLS_CHECK_PKIX, RECORDS = TLS_CHECK_TLSA };

struct row {
    const char *name;
    struct tls_policy_inputs in;
    enum tls_level level;
    enum tls_source source;
    bool mandatory;
    unsigned checks;
    const char *unusable; /* part of the reason; NULL: usable */
};

static void check_rows(const struct row *rows, size_t num)
{
    for (size_t i = 0; i < num; i++) {
        struct tls_requirement got = combine(rows[i].in);
        bool usability = rows[i].unusable ? got.unusable && strstr(got.unusable, rows[i].unusable)
                                          : got.unusable == NULL;
        if (got.level != rows[i].level || got.source != rows[i].source ||
            got.mandatory != rows[i].mandatory || got.checks != rows[i].checks || !usability)
            fail_msg("%s: level %s, source %s, mandatory %d, checks %u, unusable %s", rows[i].name,
                     tls_level_name(got.level), tls_source_name(got.source), got.mandatory,
                     got.checks, got.unusable ? got.unusable : "-");
    }
}
#define CHECK_ROWS(rows) check_rows(rows, sizeof rows / sizeof *rows)

/* One row a line. */
/* clang-format off */
static void a_local_level_is_binding_and_needs_no_discovery(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"none", IN(.local = N), N, TLS_SOURCE_LOCAL, false, 0, NULL},
        {"may", IN(.local = M), M, TLS_SOURCE_DEFAULT, false, 0, NULL},
        {"encrypt", IN(.local = E), E, TLS_SOURCE_LOCAL, true, 0, NULL},
        {"verify", IN(.local = V), V, TLS_SOURCE_LOCAL, true, PKIX, NULL},
        {"sts without policy", IN(.local = S), S, TLS_SOURCE_LOCAL, true, PKIX, "no MTA-STS"},
        {"dane without records", IN(.local = D, .tlsa = &no_tlsa), M, TLS_SOURCE_LOCAL, false, 0, NULL},
        {"dane-only without records", IN(.local = DO, .tlsa = &no_tlsa), DO, TLS_SOURCE_LOCAL, true, 0, "no usable"},
        {"dane-only, nobody asked", IN(.local = DO), DO, TLS_SOURCE_LOCAL, true, 0, "no usable"},
        {"dane-only, odd records", IN(.local = DO, .tlsa = &odd_tlsa), DO, TLS_SOURCE_LOCAL, true, 0, "no usable"},
        {"dane-only with records", IN(.local = DO, .tlsa = &good_tlsa), DO, TLS_SOURCE_LOCAL, true, RECORDS, NULL},
        {"wrapper", IN(.local = M, .wrapper = true), E, TLS_SOURCE_LOCAL, true, 0, NULL},
    };
    CHECK_ROWS(rows);
}

static void what_is_discovered_only_adds(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"none switches off", IN(.local = N, .tlsa = &good_tlsa, .sts = &enforce), N, TLS_SOURCE_LOCAL, false, 0, NULL},
        {"none, failing", IN(.local = N, .tlsa = &failed_tlsa), N, TLS_SOURCE_LOCAL, false, 0, NULL},
        {"may + dane", IN(.local = M, .tlsa = &good_tlsa), D, TLS_SOURCE_DANE, true, RECORDS, NULL},
        {"may + odd dane", IN(.local = M, .tlsa = &odd_tlsa), E, TLS_SOURCE_DANE, true, 0, NULL},
        {"may + failed dane", IN(.local = M, .tlsa = &failed_tlsa), M, TLS_SOURCE_DEFAULT, false, 0, "look-up"},
        {"verify + dane", IN(.local = V, .tlsa = &good_tlsa), V, TLS_SOURCE_LOCAL, true, PKIX | RECORDS, NULL},
        {"encrypt + dane", IN(.local = E, .tlsa = &good_tlsa), D, TLS_SOURCE_DANE, true, RECORDS, NULL},
        {"may + sts", IN(.local = M, .sts = &enforce), S, TLS_SOURCE_STS, true, PKIX, NULL},
        {"may + sts, other host", IN(.local = M, .sts = &enforce, .host = "mx.evil.test"), S, TLS_SOURCE_STS, true, PKIX, "does not allow"},
        {"may + testing", IN(.local = M, .sts = &testing), M, TLS_SOURCE_DEFAULT, false, 0, NULL},
        {"may + mode none", IN(.local = M, .sts = &off), M, TLS_SOURCE_DEFAULT, false, 0, NULL},
        {"verify + sts", IN(.local = V, .sts = &enforce), V, TLS_SOURCE_LOCAL, true, PKIX, NULL},
        {"sts + policy", IN(.local = S, .sts = &enforce), S, TLS_SOURCE_LOCAL, true, PKIX, NULL},
        {"sts + testing", IN(.local = S, .sts = &testing), S, TLS_SOURCE_LOCAL, true, PKIX, NULL},
        {"sts + mode none", IN(.local = S, .sts = &off), S, TLS_SOURCE_LOCAL, true, PKIX, "no MTA-STS"},
    };
    CHECK_ROWS(rows);
}

static void dane_goes_before_sts_and_sts_does_not_excuse_it(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"both", IN(.local = M, .tlsa = &good_tlsa, .sts = &enforce), D, TLS_SOURCE_DANE, true, RECORDS, NULL},
        {"both, host not in policy", IN(.local = M, .tlsa = &good_tlsa, .sts = &enforce, .host = "mx.else.test"), D, TLS_SOURCE_DANE, true, RECORDS, NULL},
        {"failed dane, sts allows", IN(.local = M, .tlsa = &failed_tlsa, .sts = &enforce), M, TLS_SOURCE_DEFAULT, false, 0, "look-up"},
        {"no dane, sts", IN(.local = M, .tlsa = &no_tlsa, .sts = &enforce), S, TLS_SOURCE_STS, true, PKIX, NULL},
    };
    CHECK_ROWS(rows);
}

static void a_message_only_tightens(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"encrypt over none", IN(.local = N, .asked = E), E, TLS_SOURCE_MESSAGE, true, 0, NULL},
        {"encrypt over none finds nothing", IN(.local = N, .asked = E, .tlsa = &good_tlsa), E, TLS_SOURCE_MESSAGE, true, 0, NULL},
        {"dane-only over none", IN(.local = N, .asked = DO, .tlsa = &good_tlsa), DO, TLS_SOURCE_MESSAGE, true, RECORDS, NULL},
        {"verify over may", IN(.local = M, .asked = V), V, TLS_SOURCE_MESSAGE, true, PKIX, NULL},
        {"encrypt under verify", IN(.local = V, .asked = E), V, TLS_SOURCE_LOCAL, true, PKIX, NULL},
        {"no: what was found", IN(.local = M, .tls_optional = true, .tlsa = &good_tlsa, .sts = &enforce), M, TLS_SOURCE_DEFAULT, false, 0, NULL},
        {"no: a failed look-up", IN(.local = M, .tls_optional = true, .tlsa = &failed_tlsa), M, TLS_SOURCE_DEFAULT, false, 0, NULL},
        {"no: its own wish", IN(.local = M, .tls_optional = true, .asked = E), M, TLS_SOURCE_DEFAULT, false, 0, NULL},
        {"no: never local", IN(.local = V, .tls_optional = true), V, TLS_SOURCE_LOCAL, true, PKIX, NULL},
        {"no: never local dane", IN(.local = D, .tls_optional = true, .tlsa = &good_tlsa), D, TLS_SOURCE_DANE, true, RECORDS, NULL},
    };
    CHECK_ROWS(rows);
}

static void requiretls_needs_a_vouched_host_and_a_certificate(void **state)
{
    (void)state;
    const struct row rows[] = {
        {"insecure", IN(.local = M, .require_tls = true), E, TLS_SOURCE_MESSAGE, true, PKIX, "REQUIRETLS"},
        {"secure", IN(.local = M, .require_tls = true, .host_is_secure = true), E, TLS_SOURCE_MESSAGE, true, PKIX, NULL},
        {"next hop", IN(.local = M, .require_tls = true, .host_is_ours = true), E, TLS_SOURCE_MESSAGE, true, PKIX, NULL},
        {"sts", IN(.local = M, .require_tls = true, .sts = &enforce), S, TLS_SOURCE_STS, true, PKIX, NULL},
        {"dane", IN(.local = M, .require_tls = true, .host_is_secure = true, .tlsa = &good_tlsa), D, TLS_SOURCE_DANE, true, RECORDS, NULL},
        {"wins over no", IN(.local = M, .require_tls = true, .tls_optional = true, .host_is_secure = true, .tlsa = &good_tlsa), D, TLS_SOURCE_DANE, true, RECORDS, NULL},
    };
    CHECK_ROWS(rows);
    assert_true(combine(rows[1].in).require_tls);
    static const char *const own[] = {"relay.example.test"};
    const struct tls_names names = {own, 1};
    assert_int_equal(combine(IN(.local = M, .require_tls = true, .host_is_ours = true, .local_names = names)).names.num, 1);
    assert_true(combine(IN(.local = M, .require_tls = true, .host_is_secure = true, .local_names = names)).names_host);
    assert_true(combine(rows[0].in).bounces);
    assert_false(combine(IN(.local = M, .require_tls = true, .sts_is_uncertain = true)).bounces);
    assert_non_null(combine(IN(.local = M, .require_tls = true, .sts_is_uncertain = true)).unusable);
    assert_null(combine(IN(.local = M, .sts_is_uncertain = true)).unusable);
    assert_false(combine(rows[1].in).bounces);
    /* A look-up that failed may say something else next time. */
    assert_false(combine(IN(.local = M, .require_tls = true, .tlsa = &failed_tlsa)).bounces);
}

/* clang-format on */
static void names_come_from_whoever_demands_the_check(void **state)
{
    (void)state;
    static const char *const own[] = {"relay.example.test"};
    const struct tls_names names = {own, 1};
    struct tls_requirement verify = combine(IN(.local = V));
    struct tls_requirement named = combine(IN(.local = V, .local_names = names));
    struct tls_requirement both = combine(IN(.local = V, .local_names = names, .sts = &enforce));
    struct tls_requirement unverified = combine(IN(.local = E, .local_names = names, .asked = V));
    struct tls_requirement wish = combine(IN(.local = M, .sts = &testing));
    assert_true(verify.names_host && verify.names.num == 0);
    assert_true(!named.names_host && named.names.items == own);
    assert_true(both.names_host && both.names.items == own);
    assert_true(unverified.names_host && unverified.names.num == 0);
    assert_true(wish.wishes == PKIX && wish.checks == 0);
}

static void a_wildcard_stands_for_exactly_one_label(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool allowed;
    } rows[] = {{"mx.example.test", true},   {"mx2.example.test", false}, {"a.pool.test", true},
                {"a.b.pool.test", false},    {"pool.test", false},        {".pool.test", false},
                {"xmx.example.test", false}, {"apool.test", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(sts_policy_allows(&enforce, rows[i].host), rows[i].allowed);
}

static void decides_as_the_table_of_events_says(void **state)
{
    (void)state;
    const struct tls_requirement none = {.level = N}, may = {.level = M},
                                 must = {.level = E, .mandatory = true};
    const struct {
        const struct tls_requirement *requirement;
        enum tls_event event;
        enum tls_on_failure on_failure;
        int64_t since;
        enum tls_action action;
    } rows[] = {
        {&none, TLS_NOT_OFFERED, TLS_ON_FAILURE_PLAINTEXT_NEXT, 0, TLS_ACTION_PLAINTEXT},
        {&none, TLS_HANDSHAKE_FAILED, TLS_ON_FAILURE_DEFER, 0, TLS_ACTION_PLAINTEXT},
        {&may, TLS_NOT_OFFERED, TLS_ON_FAILURE_PLAINTEXT_NEXT, 0, TLS_ACTION_PLAINTEXT},
        {&may, TLS_NOT_OFFERED, TLS_ON_FAILURE_DEFER, NOW, TLS_ACTION_PLAINTEXT},
        {&may, TLS_REFUSED, TLS_ON_FAILURE_DEFER, 0, TLS_ACTION_PLAINTEXT},
        {&may, TLS_HANDSHAKE_FAILED, TLS_ON_FAILURE_PLAINTEXT_NEXT, 0, TLS_ACTION_NEXT_HOST},
        {&may, TLS_HANDSHAKE_FAILED, TLS_ON_FAILURE_PLAINTEXT_NEXT, NOW, TLS_ACTION_NEXT_HOST},
        {&may, TLS_HANDSHAKE_FAILED, TLS_ON_FAILURE_PLAINTEXT_NEXT, NOW - AFTER + 1,
         TLS_ACTION_NEXT_HOST},
        {&may, TLS_HANDSHAKE_FAILED, TLS_ON_FAILURE_PLAINTEXT_NEXT, NOW - AFTER,
         TLS_ACTION_PLAINTEXT},
        {&may, TLS_HANDSHAKE_FAILED, TLS_ON_FAILURE_PLAINTEXT_NEXT, 1, TLS_ACTION_PLAINTEXT},
        {&may, TLS_HANDSHAKE_FAILED, TLS_ON_FAILURE_DEFER, 1, TLS_ACTION_NEXT_HOST},
        {&may, TLS_HANDSHAKE_FAILED, TLS_ON_FAILURE_PLAINTEXT_NOW, NOW, TLS_ACTION_PLAINTEXT},
        {&must, TLS_NOT_OFFERED, TLS_ON_FAILURE_PLAINTEXT_NOW, 1, TLS_ACTION_NEXT_HOST},
        {&must, TLS_REFUSED, TLS_ON_FAILURE_PLAINTEXT_NOW, 1, TLS_ACTION_NEXT_HOST},
        {&must, TLS_HANDSHAKE_FAILED, TLS_ON_FAILURE_PLAINTEXT_NOW, 1, TLS_ACTION_NEXT_HOST},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tls_fallback fallback = {rows[i].on_failure, rows[i].since, AFTER};
        assert_int_equal(tls_policy_decide(rows[i].requirement, rows[i].event, &fallback, NOW),
                         rows[i].action);
    }
}

static void asks_for_tls_unless_none_or_long_broken(void **state)
{
    (void)state;
    const struct tls_requirement none = {.level = N}, may = {.level = M},
                                 must = {.level = E, .mandatory = true};
    struct tls_fallback well = {TLS_ON_FAILURE_PLAINTEXT_NEXT, 0, AFTER};
    struct tls_fallback young = {TLS_ON_FAILURE_PLAINTEXT_NEXT, NOW - AFTER + 1, AFTER};
    struct tls_fallback old = {TLS_ON_FAILURE_PLAINTEXT_NEXT, NOW - AFTER, AFTER};
    struct tls_fallback never = {TLS_ON_FAILURE_DEFER, 1, AFTER};
    struct tls_fallback at_once = {TLS_ON_FAILURE_PLAINTEXT_NOW, NOW, AFTER};
    assert_false(tls_policy_wants_tls(&none, &well, NOW));
    assert_true(tls_policy_wants_tls(&may, &well, NOW));
    assert_true(tls_policy_wants_tls(&may, &young, NOW));
    assert_false(tls_policy_wants_tls(&may, &old, NOW));
    assert_true(tls_policy_wants_tls(&may, &never, NOW));
    assert_false(tls_policy_wants_tls(&may, &at_once, NOW));
    assert_true(tls_policy_wants_tls(&must, &old, NOW));
}

static void names_and_levels_are_one_to_one(void **state)
{
    (void)state;
    for (int i = TLS_LEVEL_NONE; i <= TLS_LEVEL_DANE_ONLY; i++) {
        enum tls_level level;
        assert_true(tls_level_parse(tls_level_name((enum tls_level)i), &level));
        assert_int_equal(level, i);
    }
    enum tls_level level = TLS_LEVEL_ENCRYPT;
    static const char *const wrong[] = {"", "MAY", "encrypted", "enc", "wrapper"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(tls_level_parse(wrong[i], &level));
    assert_int_equal(level, TLS_LEVEL_ENCRYPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_local_level_is_binding_and_needs_no_discovery),
        cmocka_unit_test(what_is_discovered_only_adds),
        cmocka_unit_test(dane_goes_before_sts_and_sts_does_not_excuse_it),
        cmocka_unit_test(a_message_only_tightens),
        cmocka_unit_test(requiretls_needs_a_vouched_host_and_a_certificate),
        cmocka_unit_test(names_come_from_whoever_demands_the_check),
        cmocka_unit_test(a_wildcard_stands_for_exactly_one_label),
        cmocka_unit_test(decides_as_the_table_of_events_says),
        cmocka_unit_test(asks_for_tls_unless_none_or_long_broken),
        cmocka_unit_test(names_and_levels_are_one_to_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
