/* Queue ids: unique, sortable by arrival, never reused.
 *
 * A 64-bit number from the wall clock in microseconds, bumped past every id that was ever given
 * (the journal remembers the highest), so that a clock that steps back cannot repeat one. In text:
 * 13 characters of Crockford's base32 in lower case, most significant first, so names sort as
 * numbers. */
#ifndef SLUICE_QUEUE_QUEUE_ID_H
#define SLUICE_QUEUE_QUEUE_ID_H

#include "base/bytes.h"

enum { QUEUE_ID_LEN = 13 };

/* One thread (pickup). */
struct queue_id_source {
    uint64_t last;
};

uint64_t queue_id_next(struct queue_id_source *source, int64_t wall_us);
/* When it was given, to the millisecond: what is left to know of a message's arrival when nothing
 * else tells. */
static inline int64_t queue_id_wall_ms(uint64_t id)
{
    return (int64_t)(id / 1000);
}
/* Writes QUEUE_ID_LEN characters and a NUL. */
void queue_id_format(uint64_t id, char out[QUEUE_ID_LEN + 1]);
/* Exactly QUEUE_ID_LEN characters of the alphabet; false for anything else. */
bool queue_id_parse(struct bytes text, uint64_t *out_id) __attribute__((warn_unused_result));

#endif
