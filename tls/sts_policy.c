/* The policy as data, and which hosts it allows.
 * It fetches nothing and reads no text. */
#include "tls/sts_policy.h"

#include "base/check.h"
#include "base/memory.h"
#include "dns/domain_name.h"

#include <string.h>

static char *copy_pattern(struct bytes pattern)
{
    char name[DOMAIN_NAME_MAX + 1];
    bool is_wild = bytes_starts_nocase(pattern, "*.");
    bool ok = domain_name_normalise(bytes_from(pattern, is_wild ? 2 : 0), name);
    CHECK(ok); /* sts_policy_parse() has seen to it */
    return mem_printf("%s%s", is_wild ? "*." : "", name);
}

struct sts_policy *sts_policy_new(const struct sts_policy_text *text, const char *id)
{
    struct sts_policy *policy = mem_zalloc(1, sizeof *policy);
    policy->refs = 1;
    policy->mode = text->mode;
    policy->max_age_s = text->max_age_s;
    CHECK(strlen(id) < sizeof policy->id);
    memcpy(policy->id, id, strlen(id));
    policy->num_mx = text->num_mx;
    policy->mx = mem_zalloc(text->num_mx + 1, sizeof *policy->mx);
    for (size_t i = 0; i < text->num_mx; i++)
        policy->mx[i] = copy_pattern(text->mx[i]);
    return policy;
}

struct sts_policy *sts_policy_ref(struct sts_policy *policy)
{
    if (policy)
        atomic_fetch_add_explicit(&policy->refs, 1, memory_order_relaxed);
    return policy;
}

void sts_policy_unref(struct sts_policy *policy)
{
    if (!policy || atomic_fetch_sub_explicit(&policy->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < policy->num_mx; i++)
        free(policy->mx[i]);
    free(policy->mx);
    free(policy);
}

static bool matches(const char *pattern, const char *host)
{
    if (strncmp(pattern, "*.", 2) != 0)
        return strcmp(pattern, host) == 0;
    const char *dot = strchr(host, '.');
    return dot && dot != host && strcmp(pattern + 1, dot) == 0;
}

bool sts_policy_allows(const struct sts_policy *policy, const char *host)
{
    for (size_t i = 0; i < policy->num_mx; i++)
        if (matches(policy->mx[i], host))
            return true;
    return false;
}
