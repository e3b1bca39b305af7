/* The table "level x event" of the header and of docs/tls.md.
 * It opens no connection, reads no certificate and remembers nothing (broken_hosts.c does). */
#include "tls/policy.h"

#include "base/check.h"

#include <string.h>

static const char *const level_names[] = {
    [TLS_LEVEL_NONE] = "none", [TLS_LEVEL_MAY] = "may", [TLS_LEVEL_ENCRYPT] = "encrypt"};
enum { NUM_LEVELS = sizeof level_names / sizeof *level_names };

/* PLAINTEXT_ONCE_BROKEN: next host, until this one has been broken for long enough. */
enum verdict { PLAINTEXT, PLAINTEXT_ONCE_BROKEN, NEXT_HOST };

static const enum verdict verdicts[NUM_LEVELS][TLS_HANDSHAKE_FAILED + 1] = {
    [TLS_LEVEL_NONE] = {[TLS_NOT_OFFERED] = PLAINTEXT,
                        [TLS_REFUSED] = PLAINTEXT,
                        [TLS_HANDSHAKE_FAILED] = PLAINTEXT},
    [TLS_LEVEL_MAY] = {[TLS_NOT_OFFERED] = PLAINTEXT,
                       [TLS_REFUSED] = PLAINTEXT,
                       [TLS_HANDSHAKE_FAILED] = PLAINTEXT_ONCE_BROKEN},
    [TLS_LEVEL_ENCRYPT] = {[TLS_NOT_OFFERED] = NEXT_HOST,
                           [TLS_REFUSED] = NEXT_HOST,
                           [TLS_HANDSHAKE_FAILED] = NEXT_HOST},
};

static bool broken_long_enough(int64_t broken_since_ms, int64_t plaintext_after_ms, int64_t now_ms)
{
    return broken_since_ms != 0 && now_ms - broken_since_ms >= plaintext_after_ms;
}

const char *tls_level_name(enum tls_level level)
{
    CHECK((unsigned)level < NUM_LEVELS);
    return level_names[level];
}

bool tls_level_parse(const char *name, enum tls_level *out)
{
    for (unsigned i = 0; i < NUM_LEVELS; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            *out = (enum tls_level)i;
            return true;
        }
    }
    return false;
}

enum tls_action tls_policy_decide(enum tls_level level, enum tls_event event,
                                  int64_t broken_since_ms, int64_t plaintext_after_ms,
                                  int64_t now_ms)
{
    CHECK((unsigned)level < NUM_LEVELS && (unsigned)event <= TLS_HANDSHAKE_FAILED);
    switch (verdicts[level][event]) {
    case PLAINTEXT:
        return TLS_ACTION_PLAINTEXT;
    case PLAINTEXT_ONCE_BROKEN:
        return broken_long_enough(broken_since_ms, plaintext_after_ms, now_ms)
                   ? TLS_ACTION_PLAINTEXT
                   : TLS_ACTION_NEXT_HOST;
    case NEXT_HOST:
        break;
    }
    return TLS_ACTION_NEXT_HOST;
}

bool tls_policy_wants_tls(enum tls_level level, int64_t broken_since_ms, int64_t plaintext_after_ms,
                          int64_t now_ms)
{
    switch (level) {
    case TLS_LEVEL_NONE:
        return false;
    case TLS_LEVEL_MAY:
        return !broken_long_enough(broken_since_ms, plaintext_after_ms, now_ms);
    case TLS_LEVEL_ENCRYPT:
        break;
    }
    return true;
}
