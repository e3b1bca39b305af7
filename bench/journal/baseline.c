/* Stores into anonymous memory, see the header. Nothing is ever read back. */
#include "bench/journal/baseline.h"

#include "base/check.h"

#include <sys/mman.h>

enum { RECORD_MAX = 1024 };

void baseline_init(struct baseline *baseline)
{
    void *memory = mmap(NULL, JOURNAL_SEGMENT_LEN, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    CHECK(memory != MAP_FAILED);
    baseline->memory = memory;
    atomic_init(&baseline->reserved, 0);
}

void baseline_fini(struct baseline *baseline)
{
    munmap(baseline->memory, JOURNAL_SEGMENT_LEN);
}

void baseline_store(struct baseline *baseline, const struct journal_record *record)
{
    static const struct journal_seed seed = {.seq = 1, .salt = UINT64_C(0x0123456789abcdef)};
    _Alignas(JOURNAL_ALIGN) uint8_t room[RECORD_MAX];
    struct buffer image = {.at = room, .cap = sizeof room, .max = sizeof room};
    CHECK(journal_record_encode(record, &image));
    uint64_t at = atomic_fetch_add(&baseline->reserved, image.len) %
                  (JOURNAL_SEGMENT_LEN - RECORD_MAX) / JOURNAL_ALIGN * JOURNAL_ALIGN;
    uint64_t mark = journal_record_seal(image.at, image.len, &seed, at);
    memcpy(baseline->memory + at + sizeof mark, image.at + sizeof mark, image.len - sizeof mark);
    __atomic_store_n((uint64_t *)(void *)(baseline->memory + at), mark, __ATOMIC_RELEASE);
}
