/* Counting sessions for TLS reports, and the reports themselves (RFC 8460 4). */
#include "router/tls_report.h"
#include "tests/unit/cmocka_prelude.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct tls_report_sender sender = {
    .organization = "Example", .contact = "postmaster@example.com", .hostname = "mta.example.com"};

static struct tls_report_session success(const char *domain)
{
    return (struct tls_report_session){.domain = domain,
                                       .policy_text = "",
                                       .mx_patterns = "",
                                       .mx = "mx.test",
                                       .address = "192.0.2.1",
                                       .local = "192.0.2.9",
                                       .reason = ""};
}

static struct tls_report *sample(void)
{
    struct tls_report *report = tls_report_new("2026-11-24");
    struct tls_report_session session = success("a.test");
    tls_report_add(report, &session);
    tls_report_add(report, &session);
    session.policy = TLS_REPORT_STS;
    session.policy_text = "version: STSv1\nmode: testing\nmax_age: 86400";
    session.mx_patterns = "mx.a.test\n*.b.test";
    session.result = "certificate-expired";
    session.reason = "it ended yesterday";
    tls_report_add(report, &session);
    tls_report_add(report, &session);
    session.result = "starttls-not-supported";
    tls_report_add(report, &session);
    session = success("b.test");
    tls_report_add(report, &session);
    return report;
}

static json_int_t number(const json_t *object, const char *part, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(object, part), key));
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static void check_sample(const json_t *reports)
{
    assert_int_equal(json_array_size(reports), 2);
    const json_t *a = json_array_get(reports, 0);
    assert_string_equal(text(a, "organization-name"), "Example");
    assert_string_equal(text(a, "contact-info"), "postmaster@example.com");
    assert_string_equal(text(a, "report-id"), "2026-11-24.a.test@mta.example.com");
    const json_t *range = json_object_get(a, "date-range");
    assert_string_equal(text(range, "start-datetime"), "2026-11-24T00:00:00Z");
    assert_string_equal(text(range, "end-datetime"), "2026-11-24T23:59:59Z");
    const json_t *policies = json_object_get(a, "policies");
    assert_int_equal(json_array_size(policies), 2);
    const json_t *none = json_array_get(policies, 0), *sts = json_array_get(policies, 1);
    assert_string_equal(text(json_object_get(none, "policy"), "policy-type"), "no-policy-found");
    assert_null(json_object_get(json_object_get(none, "policy"), "policy-string"));
    assert_null(json_object_get(none, "failure-details"));
    assert_int_equal(number(none, "summary", "total-successful-session-count"), 2);
    assert_int_equal(number(none, "summary", "total-failure-session-count"), 0);
    const json_t *policy = json_object_get(sts, "policy");
    assert_string_equal(text(policy, "policy-type"), "sts");
    assert_string_equal(text(policy, "policy-domain"), "a.test");
    assert_int_equal(json_array_size(json_object_get(policy, "policy-string")), 3);
    assert_string_equal(json_string_value(json_array_get(json_object_get(policy, "mx-host"), 1)),
                        "*.b.test");
    assert_int_equal(number(sts, "summary", "total-failure-session-count"), 3);
    const json_t *details = json_object_get(sts, "failure-details");
    assert_int_equal(json_array_size(details), 2);
    const json_t *expired = json_array_get(details, 0);
    assert_string_equal(text(expired, "result-type"), "certificate-expired");
    assert_string_equal(text(expired, "sending-mta-ip"), "192.0.2.9");
    assert_string_equal(text(expired, "receiving-mx-hostname"), "mx.test");
    assert_string_equal(text(expired, "receiving-ip"), "192.0.2.1");
    assert_string_equal(text(expired, "failure-reason-code"), "it ended yesterday");
    assert_int_equal(json_integer_value(json_object_get(expired, "failed-session-count")), 2);
}

static void a_report_for_each_domain_with_all_its_policies(void **state)
{
    (void)state;
    struct tls_report *report = sample();
    json_t *all = tls_report_make(report, &sender, NULL);
    check_sample(all);
    json_decref(all);
    json_t *one = tls_report_make(report, &sender, "b.test");
    assert_int_equal(json_array_size(one), 1);
    json_decref(one);
    json_t *unknown = tls_report_make(report, &sender, "c.test");
    assert_int_equal(json_array_size(unknown), 0);
    json_decref(unknown);
    tls_report_free(report);
}

static void a_day_survives_being_written_down(void **state)
{
    (void)state;
    struct tls_report *report = sample();
    char *kept = tls_report_dump(report);
    tls_report_free(report);
    report = tls_report_load(kept, strlen(kept));
    free(kept);
    assert_non_null(report);
    assert_string_equal(tls_report_day_of(report), "2026-11-24");
    struct tls_report_session session = success("b.test");
    tls_report_add(report, &session);
    json_t *all = tls_report_make(report, &sender, NULL);
    check_sample(all);
    const json_t *b = json_array_get(json_object_get(json_array_get(all, 1), "policies"), 0);
    assert_int_equal(number(b, "summary", "total-successful-session-count"), 2);
    json_decref(all);
    tls_report_free(report);
}

static void what_is_no_day_is_not_loaded(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{}",
        "{\"version\":2,\"day\":\"2026-11-24\",\"policies\":{}}",
        "{\"version\":1,\"day\":\"2026\",\"policies\":{}}",
        "{\"version\":1,\"day\":\"2026-11-24\",\"policies\":[]}",
        "{\"version\":1,\"day\":\"2026-11-24\",\"policies\":{\"x\":{\"domain\":\"a\"}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_null(tls_report_load(texts[i], strlen(texts[i])));
}

static void kinds_of_failure_are_bounded_and_all_failures_counted(void **state)
{
    (void)state;
    struct tls_report *report = tls_report_new("2026-11-24");
    struct tls_report_session session = success("a.test");
    char mx[32];
    session.result = "validation-failure";
    session.mx = mx;
    for (int i = 0; i < TLS_REPORT_DETAILS_MAX + 10; i++) {
        snprintf(mx, sizeof mx, "mx%d.test", i);
        tls_report_add(report, &session);
    }
    json_t *all = tls_report_make(report, &sender, NULL);
    const json_t *row = json_array_get(json_object_get(json_array_get(all, 0), "policies"), 0);
    assert_int_equal(json_array_size(json_object_get(row, "failure-details")),
                     TLS_REPORT_DETAILS_MAX);
    assert_int_equal(number(row, "summary", "total-failure-session-count"),
                     TLS_REPORT_DETAILS_MAX + 10);
    json_decref(all);
    tls_report_free(report);
}

static void days_are_those_of_utc(void **state)
{
    (void)state;
    char day[TLS_REPORT_DAY_LEN + 1];
    tls_report_day(0, day);
    assert_string_equal(day, "1970-01-01");
    tls_report_day(1795478399, day);
    assert_string_equal(day, "2026-11-23");
    tls_report_day(1795478400, day);
    assert_string_equal(day, "2026-11-24");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_report_for_each_domain_with_all_its_policies),
        cmocka_unit_test(a_day_survives_being_written_down),
        cmocka_unit_test(what_is_no_day_is_not_loaded),
        cmocka_unit_test(kinds_of_failure_are_bounded_and_all_failures_counted),
        cmocka_unit_test(days_are_those_of_utc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
