/* When to try again, and when to give up. Pure: times and random bits are arguments. */
#ifndef SLUICE_QUEUE_RETRY_H
#define SLUICE_QUEUE_RETRY_H

#include <stdbool.h>
#include <stdint.h>

struct retry_policy {
    int64_t minimum_ms;       /* after the first failed attempt */
    int64_t maximum_ms;       /* doubling stops here */
    int64_t lifetime_ms;      /* from arrival to the bounce */
    int64_t null_lifetime_ms; /* the same for the null sender (DSN) */
    unsigned jitter_percent;  /* 10: each wait is 90 to 110 % */
    int64_t warn_after_ms;    /* from arrival to the word that it is late; 0: none is sent */
};

/* The wait after `attempts` failed attempts (1: the first has failed). random: any 32 bits. Never
 * below 1 ms, and saturates instead of overflowing whatever the policy and the count. */
int64_t retry_wait_ms(const struct retry_policy *policy, unsigned attempts, uint32_t random);
/* The instant after which the message is not tried again: arrival + lifetime, or the message's own
 * deadline if it has one (deadline_wall_ms != 0) and that is sooner. */
int64_t retry_expiry_wall_ms(const struct retry_policy *policy, int64_t arrived_wall_ms,
                             bool null_sender, int64_t deadline_wall_ms);
/* The next try, clamped so that one last try happens just at the expiry; false when now is past it:
 * the recipient is bounced (5.4.7 / 4.4.7, with its last outcome in the text). */
bool retry_next_wall_ms(const struct retry_policy *policy, unsigned attempts, uint32_t random,
                        int64_t now_wall_ms, int64_t expiry_wall_ms, int64_t *out_next_wall_ms)
    __attribute__((warn_unused_result));

#endif
