/* Private to content: where a long line is folded. The scan counts by it what the reader writes.
 *
 * A line on the wire has at most CONTENT_LINE_MAX octets; what is over goes to the next line behind
 * one SP, so that a long header field stays one field (as Postfix does). A UTF-8 sequence stays in
 * one piece. */
#ifndef SLUICE_QUEUE_CONTENT_LINE_H
#define SLUICE_QUEUE_CONTENT_LINE_H

#include "queue/content.h"

enum { CONTENT_FOLD_LEN = 3 /* CR LF SP */ };

/* How many octets of an unfinished UTF-8 sequence, at most three, a line ends with when it is
 * line_len long: the octets of run, which came behind `before` of them. Only near the line's limit,
 * because nobody needs it elsewhere; so it depends on the line's octets alone, not on how they were
 * divided into runs. */
static inline unsigned content_sequence_len(unsigned before, uint64_t line_len, struct bytes run)
{
    if (line_len <= CONTENT_LINE_MAX - 8)
        return 0;
    size_t at = run.len > 4 ? run.len - 4 : 0;
    unsigned len = at ? 0 : before;
    for (; at < run.len; at++) {
        uint8_t c = run.at[at];
        if (c >= 0xC0)
            len = 1;
        else if (c < 0x80 || len == 0 || len == 3)
            len = 0;
        else
            len++;
    }
    return len;
}

/* At a line's limit, with the octet `next` to come: how many octets move to the new line. */
static inline unsigned content_fold_back(unsigned sequence_len, uint8_t next)
{
    return (next & 0xC0) == 0x80 ? sequence_len : 0;
}

#endif
