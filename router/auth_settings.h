/* The auth section of a destination: who we are to its next hop, and how that may be shown.
 * Belongs to the configuration; immutable after it was loaded. docs/auth.md has the rules. */
#ifndef SLUICE_ROUTER_AUTH_SETTINGS_H
#define SLUICE_ROUTER_AUTH_SETTINGS_H

#include "base/bytes.h"

enum {
    AUTH_USER_MAX = 255,   /* octets (RFC 4616 2) */
    AUTH_SECRET_MAX = 255, /* octets */
    AUTH_WHY_MAX = 160
};

/* Bits; a higher one is preferred: SCRAM shows nobody the secret. */
enum auth_mechanism { AUTH_LOGIN = 1, AUTH_PLAIN = 2, AUTH_SCRAM_SHA_256 = 4 };

enum auth_unverified {
    AUTH_UNVERIFIED_FALSE,    /* only over TLS with a checked certificate */
    AUTH_UNVERIFIED_TRUE,     /* over any TLS */
    AUTH_UNVERIFIED_PLAINTEXT /* even without */
};

struct auth_settings {
    char *user;         /* "": no authentication */
    char *secret_file;  /* as configured */
    const char *secret; /* borrowed from the section that names the file; NULL: none */
    uint8_t mechanisms;
    enum auth_unverified allow_unverified;
};

static inline bool auth_is_wanted(const struct auth_settings *settings)
{
    return settings->user && *settings->user;
}

bool auth_settings_equal(const struct auth_settings *a, const struct auth_settings *b);

/* The bit of a SASL mechanism's name, in any case; 0: one that we do not speak. */
uint8_t auth_mechanism_parse(struct bytes name);
const char *auth_mechanism_name(enum auth_mechanism mechanism);
/* Names with blanks between them to bits; false: one is unknown, or there is none. */
bool auth_mechanisms_parse(const char *text, uint8_t *out) __attribute__((warn_unused_result));
/* The preferred one of a set that is not empty. */
enum auth_mechanism auth_mechanism_best(uint8_t mechanisms);

/* Reads the secret: the one line of a regular file that is owned by root or by us, and that nobody
 * else may read or write. NULL with the reason in why ("is ..., expected ..."). Free it with
 * auth_secret_free(). */
char *auth_secret_read(const char *path, char why[AUTH_WHY_MAX])
    __attribute__((warn_unused_result));
/* Wipes it. NULL allowed. */
void auth_secret_free(char *secret);

#endif
