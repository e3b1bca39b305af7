/* Queue ids: giving them out, and their text form.
 * It does not remember the highest id across restarts: the journal does. */
#include "queue/queue_id.h"

static const char alphabet[33] = "0123456789abcdefghjkmnpqrstvwxyz";

uint64_t queue_id_next(struct queue_id_source *source, int64_t wall_us)
{
    uint64_t id = wall_us > 0 ? (uint64_t)wall_us : 0;
    if (id <= source->last)
        id = source->last + 1;
    source->last = id;
    return id;
}

void queue_id_format(uint64_t id, char out[QUEUE_ID_LEN + 1])
{
    for (int i = QUEUE_ID_LEN - 1; i >= 0; i--) {
        out[i] = alphabet[id & 31];
        id >>= 5;
    }
    out[QUEUE_ID_LEN] = '\0';
}

bool queue_id_parse(struct bytes text, uint64_t *out_id)
{
    uint64_t id = 0;
    if (text.len != QUEUE_ID_LEN)
        return false;
    for (size_t i = 0; i < QUEUE_ID_LEN; i++) {
        const char *at = text.at[i] ? strchr(alphabet, text.at[i]) : NULL;
        if (!at)
            return false;
        uint64_t digit = (uint64_t)(at - alphabet);
        /* 13 characters are 65 bits: the first one may use only four of its five. */
        if (i == 0 && digit > 15)
            return false;
        id = id << 5 | digit;
    }
    *out_id = id;
    return true;
}
