/* Checks of UTF-8: is there any, and is it well-formed.
 * It does not decode or normalise. */
#include "queue/utf8.h"

bool utf8_has_high_bit(struct bytes text)
{
    const uint8_t *at = text.at;
    size_t len = text.len;
    uint64_t seen = 0;
    for (; len >= 32; at += 32, len -= 32) {
        uint64_t words[4];
        memcpy(words, at, sizeof words);
        seen |= words[0] | words[1] | words[2] | words[3];
    }
    for (; len; at++, len--)
        seen |= *at;
    return (seen & 0x8080808080808080u) != 0;
}

/* Octets of the sequence at the beginning of text; 0 when it is malformed (RFC 3629 4). */
static size_t sequence_len(struct bytes text)
{
    uint8_t lead = text.at[0];
    if (lead < 0x80)
        return 1;
    size_t len = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.len < len)
        return 0;
    /* The second octet's range excludes overlong forms, surrogates and what is too large. */
    uint8_t least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    uint8_t most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
    if (text.at[1] < least || text.at[1] > most)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((text.at[i] & 0xC0) != 0x80)
            return 0;
    return len;
}

bool utf8_is_valid(struct bytes text)
{
    while (text.len) {
        size_t len = sequence_len(text);
        if (len == 0)
            return false;
        text = bytes_from(text, len);
    }
    return true;
}
