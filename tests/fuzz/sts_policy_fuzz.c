/* Any text as an MTA-STS policy: what is taken comes back the same when it is written and read
 * again, and its patterns are names that can be compared. */
#include "base/check.h"
#include "tls/sts_policy.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct sts_policy *read_back(const struct sts_policy *policy)
{
    static struct sts_policy_text parsed;
    struct buffer text;
    const char *why;
    buffer_init(&text, SIZE_MAX);
    buffer_printf(&text, "version: STSv1\r\nmode: %s\r\nmax_age: %lld\r\n",
                  sts_mode_name(policy->mode), (long long)policy->max_age_s);
    for (size_t i = 0; i < policy->num_mx; i++)
        buffer_printf(&text, "mx: %s\r\n", policy->mx[i]);
    bool ok = text.len > STS_POLICY_MAX || sts_policy_parse(buffer_bytes(&text), &parsed, &why);
    CHECK(ok);
    struct sts_policy *again = text.len > STS_POLICY_MAX ? NULL : sts_policy_new(&parsed, "1");
    buffer_fini(&text);
    return again;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct sts_policy_text parsed;
    const char *why = NULL;
    bool ok = sts_policy_parse(bytes_make(data, size), &parsed, &why);
    CHECK(ok == !why);
    if (!ok)
        return 0;
    struct sts_policy *policy = sts_policy_new(&parsed, "1");
    struct sts_policy *again = read_back(policy);
    CHECK(policy->max_age_s >= 0 && policy->max_age_s <= STS_MAX_AGE_MAX_S);
    for (size_t i = 0; again && i < policy->num_mx; i++) {
        const char *pattern = policy->mx[i];
        CHECK(strcmp(pattern, again->mx[i]) == 0);
        CHECK(pattern[0] == '*' || sts_policy_allows(policy, pattern));
    }
    CHECK(!again || (again->num_mx == policy->num_mx && again->mode == policy->mode &&
                     again->max_age_s == policy->max_age_s));
    sts_policy_unref(policy);
    sts_policy_unref(again);
    return 0;
}
