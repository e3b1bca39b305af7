/* The key of the session cache: one digest of everything that makes sharing a session safe.
 * Nothing else may build a key. */
#include "base/bytes.h"
#include "tls/session_cache.h"

#include <openssl/sha.h>

/* A length goes before each part, so that ("ab", "c") and ("a", "bc") differ. */
static void add_part(SHA256_CTX *sha, struct bytes part)
{
    uint8_t len[8];
    for (size_t i = 0; i < sizeof len; i++)
        len[i] = (uint8_t)((uint64_t)part.len >> (8 * (sizeof len - 1 - i)));
    SHA256_Update(sha, len, sizeof len);
    SHA256_Update(sha, part.at, part.len);
}

struct session_key session_key_make(const struct session_key_parts *parts)
{
    /* Fixed numbers for scope and obligation come first; the version changes with the meaning of
     * any part, since keys are meant to outlive a process. */
    const uint8_t numbers[] = {2, (uint8_t)parts->scope, parts->mandatory,
                               (uint8_t)(parts->port >> 8), (uint8_t)parts->port};
    SHA256_CTX sha;
    SHA256_Init(&sha);
    SHA256_Update(&sha, numbers, sizeof numbers);
    add_part(&sha, parts->destination);
    add_part(&sha, parts->peer_name);
    add_part(&sha, parts->sni);
    add_part(&sha, parts->proof);
    add_part(&sha, parts->settings_digest);
    struct session_key key;
    SHA256_Final(key.digest, &sha);
    return key;
}
