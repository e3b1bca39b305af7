/* The texts of MTA-STS: the TXT record and the policy (RFC 8461 3.1, 3.2). */
#include "base/memory.h"
#include "tests/unit/cmocka_prelude.h"
#include "tls/sts_policy.h"

#include <stdlib.h>

static void a_record_has_one_version_and_one_id(void **state)
{
    static const struct {
        const char *text;
        const char *id; /* NULL: refused */
    } rows[] = {
        {"v=STSv1; id=20160831085700Z;", "20160831085700Z"},
        {"v=STSv1;id=1", "1"},
        {"v=STSv1; id=1", "1"},
        {"v=STSv1 \t;\t id=aZ9 \t; \t", "aZ9"},
        {"v=STSv1; x=y; id=1; a.b-c_d=!:<>~;", "1"},
        {"v=STSv1; id=01234567890123456789012345678901", "01234567890123456789012345678901"},
        {"v=STSv1; id=012345678901234567890123456789012", NULL},
        {"v=STSv1; id=1; id=2", NULL},
        {"v=STSv1; id=", NULL},
        {"v=STSv1; id=a-b", NULL},
        {"v=STSv1; id=1 2", NULL},
        {"v=STSv1; id=1;;", NULL},
        {"v=STSv1; ID=1", NULL},
        {"v=STSv1;", NULL},
        {"v=STSv1", NULL},
        {"v=STSv1 id=1", NULL},
        {"v=STSv12; id=1", NULL},
        {"v=stsv1; id=1", NULL},
        {" v=STSv1; id=1", NULL},
        {"v=STSv1; =x; id=1", NULL},
        {"v=STSv1; x=; id=1", NULL},
        {"v=STSv1; x; id=1", NULL},
        {"v=STSv1; -x=1; id=1", NULL},
        {"v=STSv1; id=1; x=a=b", NULL},
        {"v=STSv1; id=1; x=\xc3\xa4", NULL},
        {"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct sts_record record = {.id = "before"};
        bool taken = sts_record_parse(bytes_of(rows[i].text), &record);
        if (taken != (rows[i].id != NULL))
            fail_msg("%s: %d", rows[i].text, taken);
        assert_string_equal(record.id, taken ? rows[i].id : "before");
    }
}

static void only_a_record_that_claims_to_be_one_counts(void **state)
{
    static const struct {
        const char *text;
        bool claims;
    } rows[] = {{"v=STSv1; id=1", true}, {"v=STSv1;", true},       {"v=STSv1 ;", true},
                {"v=STSv1", false},      {"v=STSv2; id=1", false}, {"", false}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(sts_record_is_one(bytes_of(rows[i].text)), rows[i].claims);
}

#define HEAD "version: STSv1\nmode: enforce\nmax_age: 60\n"

static void policies_are_read_line_by_line(void **state)
{
    static const struct {
        const char *text;
        const char *why; /* a part of it; NULL: taken */
        enum sts_mode mode;
        int64_t max_age_s;
        size_t num_mx;
    } rows[] = {
        {HEAD "mx: a.example\n", NULL, STS_ENFORCE, 60, 1},
        {HEAD "mx: a.example", NULL, STS_ENFORCE, 60, 1},
        {"version: STSv1\r\nmode: testing\r\nmx: a.example\r\nmax_age: 86400\r\n", NULL,
         STS_TESTING, 86400, 1},
        {"max_age:7\nmx:a.example \nmode:enforce\t\nversion:\tSTSv1", NULL, STS_ENFORCE, 7, 1},
        {HEAD "\nmx: a.example\n\n", NULL, STS_ENFORCE, 60, 1},
        {HEAD "mx: a.example\nmx: *.b.example\nmx: c_d.example.\n", NULL, STS_ENFORCE, 60, 3},
        {HEAD "mx: a.example\nnew-key: any: thing \xc3\xa4\nMode: x\n", NULL, STS_ENFORCE, 60, 1},
        {HEAD "mx: a.example\nmode: none\nmax_age: x\nversion: 2\n", NULL, STS_ENFORCE, 60, 1},
        {"version: STSv1\nmode: none\nmax_age: 0\n", NULL, STS_NONE, 0, 0},
        {"version: STSv1\nmode: none\nmax_age: 9999999999\n", NULL, STS_NONE, 31557600, 0},
        {"version: STSv1\nmode: none\nmax_age: 99999999999\n", "max_age", 0, 0, 0},
        {"version: STSv1\nmode: none\nmax_age: -1\n", "max_age", 0, 0, 0},
        {"version: STSv1\nmode: none\nmax_age:\n", "max_age", 0, 0, 0},
        {"version: STSv1\nmode: none\n", "no max_age", 0, 0, 0},
        {"version: STSv1\nmax_age: 1\n", "no mode", 0, 0, 0},
        {"mode: none\nmax_age: 1\n", "no version", 0, 0, 0},
        {"version: STSv2\nmode: none\nmax_age: 1\n", "not STSv1", 0, 0, 0},
        {"version: STSv1\nmode: Enforce\nmax_age: 1\n", "mode is none of", 0, 0, 0},
        {HEAD, "no mx", 0, 0, 0},
        {HEAD "mx: \n", "no domain name", 0, 0, 0},
        {HEAD "mx: *\n", "no domain name", 0, 0, 0},
        {HEAD "mx: *.\n", "no domain name", 0, 0, 0},
        {HEAD "mx: a.*.example\n", "no domain name", 0, 0, 0},
        {HEAD "mx: *.*.example\n", "no domain name", 0, 0, 0},
        {HEAD "mx: m\xc3\xbcx.example\n", "no domain name", 0, 0, 0},
        {HEAD "mx: a.example, b.example\n", "no domain name", 0, 0, 0},
        {HEAD "mx: a.example\nnothing\n", "key: value", 0, 0, 0},
        {HEAD "mx: a.example\n: x\n", "key: value", 0, 0, 0},
        {"<!DOCTYPE html>\n<html><body>Not found</body></html>\n", "key: value", 0, 0, 0},
        {"", "no version", 0, 0, 0},
    };
    static struct sts_policy_text policy;
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *why = "";
        bool taken = sts_policy_parse(bytes_of(rows[i].text), &policy, &why);
        if (taken != !rows[i].why || (why && !strstr(why, rows[i].why)))
            fail_msg("%s: %d, %s", rows[i].text, taken, why ? why : "");
        if (!taken)
            continue;
        assert_int_equal(policy.mode, rows[i].mode);
        assert_int_equal(policy.max_age_s, rows[i].max_age_s);
        assert_int_equal(policy.num_mx, rows[i].num_mx);
    }
}

static void limits_hold(void **state)
{
    static struct sts_policy_text policy;
    static const struct {
        const char *line;
        size_t num;
        const char *why; /* NULL: taken */
    } rows[] = {{"mx: a.example\n", STS_POLICY_MX_MAX, NULL},
                {"mx: a.example\n", STS_POLICY_MX_MAX + 1, "too many mx"},
                {"x: y\n", STS_POLICY_LINES_MAX, "too many lines"},
                {"mx: a.example                                        \n", 2000, "too large"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buffer text;
        const char *why;
        buffer_init(&text, SIZE_MAX);
        buffer_append_str(&text, HEAD);
        for (size_t k = 0; k < rows[i].num; k++)
            buffer_append_str(&text, rows[i].line);
        bool taken = sts_policy_parse(buffer_bytes(&text), &policy, &why);
        assert_int_equal(taken, !rows[i].why);
        assert_true(taken || strstr(why, rows[i].why));
        buffer_fini(&text);
    }
}

static void patterns_are_kept_in_lower_case(void **state)
{
    static struct sts_policy_text text;
    const char *why;
    (void)state;
    assert_true(sts_policy_parse(bytes_of(HEAD "mx: MX.Example.\nmx: *.B.example\n"), &text, &why));
    struct sts_policy *policy = sts_policy_new(&text, "20261124");
    assert_string_equal(policy->mx[0], "mx.example");
    assert_string_equal(policy->mx[1], "*.b.example");
    assert_string_equal(policy->id, "20261124");
    assert_true(sts_policy_allows(policy, "mx.example"));
    assert_true(sts_policy_allows(policy, "one.b.example"));
    assert_false(sts_policy_allows(policy, "b.example"));
    assert_false(sts_policy_allows(policy, "two.one.b.example"));
    sts_policy_unref(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_record_has_one_version_and_one_id),
        cmocka_unit_test(only_a_record_that_claims_to_be_one_counts),
        cmocka_unit_test(policies_are_read_line_by_line),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(patterns_are_kept_in_lower_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
