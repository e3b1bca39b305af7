/* A day of TLS sessions as a tree of JSON, which is also what is kept of it.
 * It sends nothing and touches no file. */
#include "router/tls_report.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

struct tls_report {
    char day[TLS_REPORT_DAY_LEN + 1];
    json_t *policies;    /* owned: by domain, type and text */
    json_int_t left_out; /* sessions of domains beyond the bound */
};

static const char *const policy_types[] = {
    [TLS_REPORT_NO_POLICY] = "no-policy-found",
    [TLS_REPORT_TLSA] = "tlsa",
    [TLS_REPORT_STS] = "sts",
};

void tls_report_day(int64_t wall_s, char out[TLS_REPORT_DAY_LEN + 1])
{
    time_t time = (time_t)wall_s;
    struct tm utc;
    CHECK(gmtime_r(&time, &utc) &&
          strftime(out, TLS_REPORT_DAY_LEN + 1, "%Y-%m-%d", &utc) == TLS_REPORT_DAY_LEN);
}

int64_t tls_report_day_begin_s(const char *day)
{
    struct tm utc = {.tm_year = (int)strtoul(day, NULL, 10) - 1900,
                     .tm_mon = (int)strtoul(day + 5, NULL, 10) - 1,
                     .tm_mday = (int)strtoul(day + 8, NULL, 10)};
    return (int64_t)timegm(&utc);
}

bool tls_report_begins_with_day(const char *text)
{
    static const char pattern[TLS_REPORT_DAY_LEN + 1] = "dddd-dd-dd";
    for (size_t i = 0; i < TLS_REPORT_DAY_LEN; i++)
        if (pattern[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != pattern[i])
            return false;
    return true;
}

struct tls_report *tls_report_new(const char day[TLS_REPORT_DAY_LEN + 1])
{
    struct tls_report *report = mem_zalloc(1, sizeof *report);
    memcpy(report->day, day, sizeof report->day);
    report->policies = json_object();
    return report;
}

void tls_report_free(struct tls_report *report)
{
    if (!report)
        return;
    json_decref(report->policies);
    free(report);
}

const char *tls_report_day_of(const struct tls_report *report)
{
    return report->day;
}

static json_t *text_or_null(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

static json_t *lines_of(const char *text)
{
    json_t *out = json_array();
    while (*text) {
        size_t len = strcspn(text, "\n");
        if (len)
            json_array_append_new(out, json_stringn(text, len));
        text += len + (text[len] == '\n');
    }
    return out;
}

static void count_one(json_t *object, const char *key)
{
    json_int_t before = json_integer_value(json_object_get(object, key));
    json_object_set_new(object, key, json_integer(before + 1));
}

/* NULL: there is no room for another. */
static json_t *policy_of(struct tls_report *report, const struct tls_report_session *session)
{
    char *key = mem_printf("%s\n%s\n%s", session->domain, policy_types[session->policy],
                           session->policy_text);
    json_t *policy = json_object_get(report->policies, key);
    if (!policy && json_object_size(report->policies) < TLS_REPORT_POLICIES_MAX) {
        policy =
            json_pack("{s:s, s:s, s:o, s:o, s:i, s:i, s:{}}", "domain", session->domain, "type",
                      policy_types[session->policy], "string", lines_of(session->policy_text), "mx",
                      lines_of(session->mx_patterns), "successes", 0, "failures", 0, "details");
        if (policy)
            json_object_set_new(report->policies, key, policy);
    }
    free(key);
    return policy;
}

static void add_detail(json_t *details, const struct tls_report_session *session)
{
    char *key = mem_printf("%s\n%s\n%s\n%s\n%s", session->result, session->mx, session->address,
                           session->local, session->reason);
    json_t *detail = json_object_get(details, key);
    if (!detail && json_object_size(details) < TLS_REPORT_DETAILS_MAX) {
        detail = json_pack("{s:s, s:o, s:o, s:o, s:o, s:i}", "result", session->result, "mx",
                           text_or_null(session->mx), "address", text_or_null(session->address),
                           "local", text_or_null(session->local), "reason",
                           text_or_null(session->reason), "count", 0);
        if (detail)
            json_object_set_new(details, key, detail);
    }
    if (detail)
        count_one(detail, "count");
    free(key);
}

void tls_report_add(struct tls_report *report, const struct tls_report_session *session)
{
    json_t *policy = policy_of(report, session);
    if (!policy) {
        report->left_out++;
        return;
    }
    count_one(policy, session->result ? "failures" : "successes");
    if (session->result)
        add_detail(json_object_get(policy, "details"), session);
}

char *tls_report_dump(const struct tls_report *report)
{
    json_t *all = json_pack("{s:i, s:s, s:I, s:O}", "version", 1, "day", report->day, "left_out",
                            report->left_out, "policies", report->policies);
    char *text = json_dumps(all, JSON_COMPACT);
    json_decref(all);
    CHECK(text);
    return text;
}

static bool is_policy(const json_t *policy)
{
    return json_is_string(json_object_get(policy, "domain")) &&
           json_is_string(json_object_get(policy, "type")) &&
           json_is_array(json_object_get(policy, "string")) &&
           json_is_array(json_object_get(policy, "mx")) &&
           json_is_integer(json_object_get(policy, "successes")) &&
           json_is_integer(json_object_get(policy, "failures")) &&
           json_is_object(json_object_get(policy, "details"));
}

struct tls_report *tls_report_load(const char *text, size_t len)
{
    json_t *all = json_loadb(text, len, 0, NULL);
    const char *day = json_string_value(json_object_get(all, "day")), *key;
    json_t *policies = json_object_get(all, "policies"), *policy;
    bool is_one = json_integer_value(json_object_get(all, "version")) == 1 && day &&
                  strlen(day) == TLS_REPORT_DAY_LEN && json_is_object(policies);
    if (is_one)
        json_object_foreach(policies, key, policy) is_one = is_one && is_policy(policy);
    struct tls_report *report = NULL;
    if (is_one) {
        report = tls_report_new(day);
        json_decref(report->policies);
        report->policies = json_incref(policies);
        report->left_out = json_integer_value(json_object_get(all, "left_out"));
    }
    json_decref(all);
    return report;
}

/* RFC 8460 4.4: what is not known is left out. */
static void set_known(json_t *object, const char *key, json_t *value)
{
    if (json_is_string(value))
        json_object_set(object, key, value);
}

static json_t *details_of(const json_t *policy)
{
    json_t *out = json_array(), *detail;
    const char *key;
    json_object_foreach(json_object_get(policy, "details"), key, detail)
    {
        json_t *row = json_object();
        set_known(row, "result-type", json_object_get(detail, "result"));
        set_known(row, "sending-mta-ip", json_object_get(detail, "local"));
        set_known(row, "receiving-mx-hostname", json_object_get(detail, "mx"));
        set_known(row, "receiving-ip", json_object_get(detail, "address"));
        json_object_set(row, "failed-session-count", json_object_get(detail, "count"));
        set_known(row, "failure-reason-code", json_object_get(detail, "reason"));
        json_array_append_new(out, row);
    }
    return out;
}

static json_t *policy_row(const json_t *policy)
{
    json_t *description = json_pack("{s:O, s:O}", "policy-type", json_object_get(policy, "type"),
                                    "policy-domain", json_object_get(policy, "domain"));
    json_t *string = json_object_get(policy, "string"), *mx = json_object_get(policy, "mx");
    if (json_array_size(string))
        json_object_set(description, "policy-string", string);
    if (json_array_size(mx))
        json_object_set(description, "mx-host", mx);
    json_t *row = json_pack("{s:o, s:{s:O, s:O}}", "policy", description, "summary",
                            "total-successful-session-count", json_object_get(policy, "successes"),
                            "total-failure-session-count", json_object_get(policy, "failures"));
    json_t *details = details_of(policy);
    if (json_array_size(details))
        json_object_set(row, "failure-details", details);
    json_decref(details);
    return row;
}

char *tls_report_id(const char *day, const char *domain, const char *hostname)
{
    return mem_printf("%s.%s@%s", day, domain, hostname);
}

const char *tls_report_domain(const json_t *report)
{
    const json_t *first = json_array_get(json_object_get(report, "policies"), 0);
    return json_string_value(json_object_get(json_object_get(first, "policy"), "policy-domain"));
}

static json_t *report_for(const struct tls_report *report, const struct tls_report_sender *sender,
                          const char *domain)
{
    json_t *range =
        json_pack("{s:o, s:o}", "start-datetime", json_sprintf("%sT00:00:00Z", report->day),
                  "end-datetime", json_sprintf("%sT23:59:59Z", report->day));
    char *id = tls_report_id(report->day, domain, sender->hostname);
    json_t *out = json_pack("{s:s, s:o, s:s, s:[]}", "organization-name", sender->organization,
                            "date-range", range, "report-id", id, "policies");
    free(id);
    if (*sender->contact)
        json_object_set_new(out, "contact-info", json_string(sender->contact));
    return out;
}

json_t *tls_report_make(const struct tls_report *report, const struct tls_report_sender *sender,
                        const char *only)
{
    json_t *by_domain = json_object(), *out = json_array(), *policy, *one;
    const char *key;
    json_object_foreach(report->policies, key, policy)
    {
        const char *domain = json_string_value(json_object_get(policy, "domain"));
        if (only && strcmp(only, domain) != 0)
            continue;
        if (!json_object_get(by_domain, domain))
            json_object_set_new(by_domain, domain, report_for(report, sender, domain));
        json_array_append_new(json_object_get(json_object_get(by_domain, domain), "policies"),
                              policy_row(policy));
    }
    json_object_foreach(by_domain, key, one) json_array_append(out, one);
    json_decref(by_domain);
    return out;
}
