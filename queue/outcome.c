/* Names of outcomes for logs and tools.
 * It does not decide any: router/outcome_table.c does. */
#include "queue/outcome.h"

#include "base/check.h"

const char *outcome_kind_name(enum outcome_kind kind)
{
    static const char *const names[] = {"none", "delivered", "deferred", "bounced", "returned"};
    CHECK((unsigned)kind < sizeof names / sizeof *names);
    return names[kind];
}

const char *outcome_phase_name(enum outcome_phase phase)
{
    static const char *const names[] = {"queue",    "route",   "connect", "banner", "ehlo",
                                        "starttls", "tls",     "auth",    "mail",   "rcpt",
                                        "data",     "content", "final"};
    CHECK((unsigned)phase < sizeof names / sizeof *names);
    return names[phase];
}
