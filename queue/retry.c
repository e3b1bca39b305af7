/* When to try again, when to give up: arithmetic that saturates.
 * It asks no clock and draws no random numbers: both are arguments. */
#include "queue/retry.h"

enum { JITTER_PERCENT_MAX = 100 };

static int64_t add_saturating(int64_t a, int64_t b)
{
    int64_t sum;
    if (!__builtin_add_overflow(a, b, &sum))
        return sum;
    return b > 0 ? INT64_MAX : INT64_MIN;
}

/* minimum, twice that, four times that ... up to maximum; a maximum below the minimum counts as the
 * minimum, so that a careless configuration does not retry faster than it says. */
static int64_t wait_without_jitter(const struct retry_policy *policy, unsigned attempts)
{
    int64_t wait = policy->minimum_ms > 0 ? policy->minimum_ms : 1;
    int64_t cap = policy->maximum_ms > wait ? policy->maximum_ms : wait;
    for (unsigned i = 1; i < attempts && wait < cap; i++)
        wait = wait > cap / 2 ? cap : wait * 2;
    return wait;
}

int64_t retry_wait_ms(const struct retry_policy *policy, unsigned attempts, uint32_t random)
{
    int64_t wait = wait_without_jitter(policy, attempts);
    unsigned jitter =
        policy->jitter_percent < JITTER_PERCENT_MAX ? policy->jitter_percent : JITTER_PERCENT_MAX;
    /* wait * (100 - jitter + 2 * jitter * random / UINT32_MAX) / 100, in 128 bits. */
    unsigned __int128 scaled =
        (unsigned __int128)(uint64_t)wait *
        ((uint64_t)(100 - jitter) * UINT32_MAX + (uint64_t)2 * jitter * random);
    scaled /= (uint64_t)100 * UINT32_MAX;
    if (scaled > INT64_MAX)
        return INT64_MAX;
    return scaled < 1 ? 1 : (int64_t)scaled;
}

int64_t retry_expiry_wall_ms(const struct retry_policy *policy, int64_t arrived_wall_ms,
                             bool null_sender, int64_t deadline_wall_ms)
{
    int64_t lifetime = null_sender ? policy->null_lifetime_ms : policy->lifetime_ms;
    int64_t expiry = add_saturating(arrived_wall_ms, lifetime > 0 ? lifetime : 0);
    return deadline_wall_ms != 0 && deadline_wall_ms < expiry ? deadline_wall_ms : expiry;
}

bool retry_next_wall_ms(const struct retry_policy *policy, unsigned attempts, uint32_t random,
                        int64_t now_wall_ms, int64_t expiry_wall_ms, int64_t *out_next_wall_ms)
{
    if (now_wall_ms >= expiry_wall_ms)
        return false;
    int64_t next = add_saturating(now_wall_ms, retry_wait_ms(policy, attempts, random));
    *out_next_wall_ms = next < expiry_wall_ms ? next : expiry_wall_ms;
    return true;
}
