/* Claims: files in new/ that are known already, by inode and identity.
 * They live in memory only; after a restart recovery makes them anew. */
#include "base/memory.h"
#include "router/pickup.h"

static struct claim *const *bucket_of(const struct pickup *pickup, uint64_t ino)
{
    return &pickup->claims[(ino * 0x9e3779b97f4a7c15u >> 32) % PICKUP_CLAIM_BUCKETS];
}

bool pickup_knows_inode(const struct pickup *pickup, uint64_t ino)
{
    for (const struct claim *claim = *bucket_of(pickup, ino); claim; claim = claim->next)
        if (claim->identity.ino == ino)
            return true;
    return false;
}

bool pickup_is_claimed(const struct pickup *pickup, const struct file_identity *identity)
{
    for (const struct claim *claim = *bucket_of(pickup, identity->ino); claim; claim = claim->next)
        if (file_identity_equal(&claim->identity, identity))
            return true;
    return false;
}

void pickup_claim(struct pickup *pickup, const struct file_identity *identity)
{
    struct claim **bucket = (struct claim **)bucket_of(pickup, identity->ino);
    struct claim *claim = mem_alloc(sizeof *claim);
    *claim = (struct claim){.next = *bucket, .identity = *identity};
    *bucket = claim;
}

void pickup_drop_claim(struct pickup *pickup, const struct file_identity *identity)
{
    struct claim **link = (struct claim **)bucket_of(pickup, identity->ino);
    while (*link && !file_identity_equal(&(*link)->identity, identity))
        link = &(*link)->next;
    struct claim *claim = *link;
    if (!claim)
        return;
    *link = claim->next;
    free(claim);
}

void pickup_drop_all_claims(struct pickup *pickup)
{
    for (unsigned i = 0; i < PICKUP_CLAIM_BUCKETS; i++) {
        while (pickup->claims[i]) {
            struct claim *claim = pickup->claims[i];
            pickup->claims[i] = claim->next;
            free(claim);
        }
    }
}
