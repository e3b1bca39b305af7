/* A direct-mapped table of keyed hashes.
 * It keeps nothing that was put in, and cannot be listed. */
#include "tls/fingerprints.h"

#include "base/memory.h"

#include <openssl/rand.h>
#include <openssl/siphash.h>
#include <stdatomic.h>

void fingerprints_init(struct fingerprints *prints, size_t places)
{
    size_t num = 1;
    while (num < places)
        num *= 2;
    *prints =
        (struct fingerprints){.places = mem_zalloc(num, sizeof *prints->places), .mask = num - 1};
    RAND_bytes((uint8_t *)prints->seed, sizeof prints->seed);
}

void fingerprints_fini(struct fingerprints *prints)
{
    free((void *)prints->places);
    *prints = (struct fingerprints){0};
}

/* Never 0, which is an empty place. */
static uint64_t print_of(const struct fingerprints *prints, struct bytes what)
{
    return SIPHASH_24(prints->seed, what.at, what.len) | 1;
}

/* The lowest bit says nothing, so the place is taken from those above it. */
static _Atomic uint64_t *place_of(const struct fingerprints *prints, uint64_t print)
{
    return &prints->places[(print >> 1) & prints->mask];
}

void fingerprints_add(struct fingerprints *prints, struct bytes what)
{
    uint64_t print = print_of(prints, what);
    atomic_store_explicit(place_of(prints, print), print, memory_order_relaxed);
}

bool fingerprints_have(const struct fingerprints *prints, struct bytes what)
{
    uint64_t print = print_of(prints, what);
    return atomic_load_explicit(place_of(prints, print), memory_order_relaxed) == print;
}

void fingerprints_remove(struct fingerprints *prints, struct bytes what)
{
    uint64_t print = print_of(prints, what);
    uint64_t expected = print;
    atomic_compare_exchange_strong_explicit(place_of(prints, print), &expected, 0,
                                            memory_order_relaxed, memory_order_relaxed);
}
