/* A recipient domain's MTA-STS policy (RFC 8461 3.2). Immutable, counted, any thread.
 *
 * sts_policy_parse() reads the text that the domain publishes: pure, allocates nothing, and what it
 * finds is borrowed from that text. sts_policy_new() makes the policy that others hold; who looked
 * it up keeps it in a cache (sts_cache.h). */
#ifndef SLUICE_TLS_STS_POLICY_H
#define SLUICE_TLS_STS_POLICY_H

#include "tls/sts_record.h"

#include <stdatomic.h>

enum sts_mode { STS_NONE, STS_TESTING, STS_ENFORCE };

enum {
    STS_POLICY_MAX = 64 * 1024,   /* octets of the text (RFC 8461 3.2) */
    STS_POLICY_MX_MAX = 256,      /* patterns */
    STS_POLICY_LINES_MAX = 1024,  /* of any kind */
    STS_MAX_AGE_MAX_S = 31557600, /* a year; what is more counts as that */
    STS_WHY_MAX = 200
};

struct sts_policy {
    _Atomic uint32_t refs;
    enum sts_mode mode;
    int64_t max_age_s;
    char id[STS_ID_MAX + 1]; /* of the TXT record under which it was fetched */
    size_t num_mx;
    char **mx; /* owned: A-labels in lower case, "*.example.com" stands for exactly one label */
};

struct sts_policy_text {
    enum sts_mode mode;
    int64_t max_age_s;
    size_t num_mx;
    struct bytes mx[STS_POLICY_MX_MAX];
};

/* Lines end with LF or CRLF. Unknown keys are ignored; of a key that may stand once, only the first
 * counts. false with static text in *out_why: no policy, and out is void. */
bool sts_policy_parse(struct bytes text, struct sts_policy_text *out, const char **out_why)
    __attribute__((warn_unused_result));
/* With one reference. */
struct sts_policy *sts_policy_new(const struct sts_policy_text *text, const char *id)
    __attribute__((returns_nonnull));
const char *sts_mode_name(enum sts_mode mode); /* "none", "testing", "enforce" */

/* Both by any thread; NULL allowed. */
struct sts_policy *sts_policy_ref(struct sts_policy *policy);
void sts_policy_unref(struct sts_policy *policy);
/* Whether the policy allows that MX host (RFC 8461 4.1). host: A-label in lower case. */
bool sts_policy_allows(const struct sts_policy *policy, const char *host);

#endif
