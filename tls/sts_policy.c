/* The policy as data, and which hosts it allows.
 * It fetches nothing and reads no text. */
#include "tls/sts_policy.h"

#include "base/memory.h"

#include <string.h>

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
