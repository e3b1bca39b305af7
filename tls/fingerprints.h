/* A memory of things that were, by 64 bits of each: "was this destination evicted?" It forgets when
 * two fall into the same place, and is wrong otherwise once in 2^63 times: good enough for a reason
 * in a counter, and for nothing else.
 *
 * No lock; any thread. */
#ifndef SLUICE_TLS_FINGERPRINTS_H
#define SLUICE_TLS_FINGERPRINTS_H

#include "base/bytes.h"

struct fingerprints {
    _Atomic uint64_t *places; /* owned array */
    size_t mask;
    uint64_t seed[2]; /* a stranger cannot aim at a place */
};

/* places: rounded up to a power of two, at least 1; 8 octets each, of which what is never used
 * costs nothing. */
void fingerprints_init(struct fingerprints *prints, size_t places);
void fingerprints_fini(struct fingerprints *prints);
void fingerprints_add(struct fingerprints *prints, struct bytes what);
bool fingerprints_have(const struct fingerprints *prints, struct bytes what);
void fingerprints_remove(struct fingerprints *prints, struct bytes what);

#endif
