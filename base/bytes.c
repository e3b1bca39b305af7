/* Slices, bounded buffers, checked numbers.
 * Nothing here knows a protocol. */
#include "base/bytes.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>

bool bytes_equal(struct bytes a, struct bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.at, b.at, a.len) == 0);
}

bool bytes_equal_nocase(struct bytes a, struct bytes b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (ascii_lower(a.at[i]) != ascii_lower(b.at[i]))
            return false;
    return true;
}

bool bytes_starts_nocase(struct bytes b, const char *prefix)
{
    struct bytes p = bytes_of(prefix);
    return b.len >= p.len && bytes_equal_nocase(bytes_first(b, p.len), p);
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

struct bytes bytes_trim(struct bytes b)
{
    while (b.len && is_space(b.at[0])) {
        b.at++;
        b.len--;
    }
    while (b.len && is_space(b.at[b.len - 1]))
        b.len--;
    return b;
}

size_t bytes_find(struct bytes b, uint8_t c)
{
    const uint8_t *hit = b.len ? memchr(b.at, c, b.len) : NULL;
    return hit ? (size_t)(hit - b.at) : b.len;
}

bool bytes_to_u64(struct bytes b, uint64_t max, uint64_t *out)
{
    uint64_t value = 0;
    if (b.len == 0)
        return false;
    for (size_t i = 0; i < b.len; i++) {
        uint8_t digit = (uint8_t)(b.at[i] - '0');
        if (digit > 9 || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
        if (value > max)
            return false;
    }
    *out = value;
    return true;
}

uint64_t bytes_hash(struct bytes b)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < b.len; i++)
        h = (h ^ b.at[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ (h >> 32);
}

void buffer_init(struct buffer *b, size_t max)
{
    *b = (struct buffer){.max = max};
}

void buffer_fini(struct buffer *b)
{
    free(b->at);
    *b = (struct buffer){.max = b->max};
}

void buffer_clear(struct buffer *b)
{
    b->len = 0;
    b->overflow = false;
}

uint8_t *buffer_reserve(struct buffer *b, size_t len)
{
    if (b->overflow || len > b->max || b->len > b->max - len) {
        b->overflow = true;
        return NULL;
    }
    size_t need = b->len + len;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap : 128;
        while (cap < need)
            cap *= 2;
        if (cap > b->max)
            cap = b->max;
        b->at = mem_realloc(b->at, cap, 1);
        b->cap = cap;
    }
    return b->at + b->len;
}

bool buffer_append(struct buffer *b, const void *at, size_t len)
{
    if (len == 0)
        return !b->overflow;
    uint8_t *to = buffer_reserve(b, len);
    if (!to)
        return false;
    memcpy(to, at, len);
    b->len += len;
    return true;
}

bool buffer_append_bytes(struct buffer *b, struct bytes bytes)
{
    return buffer_append(b, bytes.at, bytes.len);
}

bool buffer_append_str(struct buffer *b, const char *text)
{
    return buffer_append(b, text, strlen(text));
}

bool buffer_append_byte(struct buffer *b, uint8_t c)
{
    return buffer_append(b, &c, 1);
}

bool buffer_printf(struct buffer *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = vsnprintf(NULL, 0, format, args);
    va_end(args);
    CHECK(len >= 0);
    /* vsnprintf() writes a NUL after the text, for which the buffer has no use. */
    uint8_t *to = buffer_reserve(b, (size_t)len + 1);
    if (!to)
        return false;
    va_start(args, format);
    vsnprintf((char *)to, (size_t)len + 1, format, args);
    va_end(args);
    b->len += (size_t)len;
    return true;
}

void buffer_consume(struct buffer *b, size_t len)
{
    CHECK(len <= b->len);
    if (len == 0)
        return;
    memmove(b->at, b->at + len, b->len - len);
    b->len -= len;
}
