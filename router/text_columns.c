/* Pads and cuts UTF-8 by the columns that it takes.
 * It does not ask the locale: what it writes is UTF-8 wherever it runs. */
#include "router/text_columns.h"

#include "router/json_line.h"

struct range {
    uint32_t first, last;
};

static const struct range zero_width[] = {{0x0300, 0x036f}, {0x0483, 0x0489}, {0x0591, 0x05bd},
                                          {0x064b, 0x065f}, {0x1ab0, 0x1aff}, {0x1dc0, 0x1dff},
                                          {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}};
static const struct range double_width[] = {
    {0x1100, 0x115f},   {0x2e80, 0x303e},   {0x3041, 0xa4cf},  {0xac00, 0xd7a3},
    {0xf900, 0xfaff},   {0xfe30, 0xfe6f},   {0xff00, 0xff60},  {0xffe0, 0xffe6},
    {0x1f300, 0x1f64f}, {0x1f900, 0x1f9ff}, {0x20000, 0x3fffd}};
/* Would hide or reorder what is shown: zero-width joiners and directions. */
static const struct range masked[] = {{0x00, 0x1f},     {0x7f, 0x9f},     {0x200b, 0x200f},
                                      {0x2028, 0x202e}, {0x2060, 0x206f}, {0xfeff, 0xfeff}};

static bool in_ranges(uint32_t code, const struct range *ranges, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (code >= ranges[i].first && code <= ranges[i].last)
            return true;
    return false;
}
#define IN(code, ranges) in_ranges(code, ranges, sizeof(ranges) / sizeof *(ranges))

static uint32_t decode(const uint8_t *at, size_t len)
{
    uint32_t code = len == 1 ? at[0] : at[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++)
        code = code << 6 | (at[i] & 0x3f);
    return code;
}

struct glyph {
    struct bytes octets; /* as written */
    size_t taken;        /* octets of the source */
    size_t width;
};

static struct glyph next_glyph(struct bytes text)
{
    size_t len = utf8_char_len(text);
    uint32_t code = len ? decode(text.at, len) : 0;
    if (len == 0 || IN(code, masked))
        return (struct glyph){bytes_of("?"), len ? len : 1, 1};
    size_t width = IN(code, zero_width) ? 0 : IN(code, double_width) ? 2 : 1;
    return (struct glyph){bytes_first(text, len), len, width};
}

static size_t width_of(struct bytes text, size_t enough)
{
    size_t width = 0;
    for (size_t pos = 0; pos < text.len && width <= enough;) {
        struct glyph glyph = next_glyph(bytes_from(text, pos));
        width += glyph.width;
        pos += glyph.taken;
    }
    return width;
}

void text_columns_put(struct buffer *out, struct bytes text, size_t columns, bool pad)
{
    bool fits = width_of(text, columns) <= columns;
    size_t room = fits ? columns : columns - (columns > 0);
    size_t used = 0;
    for (size_t pos = 0; pos < text.len;) {
        struct glyph glyph = next_glyph(bytes_from(text, pos));
        if (used + glyph.width > room)
            break;
        buffer_append_bytes(out, glyph.octets);
        used += glyph.width;
        pos += glyph.taken;
    }
    if (!fits && columns > 0) {
        buffer_append_str(out, "\xe2\x80\xa6"); /* U+2026, one column */
        used++;
    }
    for (; pad && used < columns; used++)
        buffer_append_byte(out, ' ');
}
