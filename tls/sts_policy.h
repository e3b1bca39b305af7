/* A recipient domain's MTA-STS policy (RFC 8461 3.2). Immutable, counted, any thread.
 *
 * Plain data here; who looks it up keeps it in a cache. */
#ifndef SLUICE_TLS_STS_POLICY_H
#define SLUICE_TLS_STS_POLICY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

struct sts_policy {
    _Atomic uint32_t refs;
    enum sts_mode mode;
    int64_t max_age_s;
    size_t num_mx;
    char **mx; /* owned: A-labels in lower case, "*.example.com" stands for exactly one label */
};

/* Both by any thread; NULL allowed. */
struct sts_policy *sts_policy_ref(struct sts_policy *policy);
void sts_policy_unref(struct sts_policy *policy);
/* Whether the policy allows that MX host (RFC 8461 4.1). host: A-label in lower case. */
bool sts_policy_allows(const struct sts_policy *policy, const char *host);

#endif
