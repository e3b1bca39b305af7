/* Slices of borrowed bytes, growable bounded buffers, checked numbers, ASCII case.
 *
 * struct bytes borrows; the owner must outlive it. struct buffer owns its memory and belongs to one
 * thread. Case folding is ASCII only and independent of the locale (SMTP keywords and domain
 * names, RFC 5321 2.4, RFC 4343). */
#ifndef SLUICE_BASE_BYTES_H
#define SLUICE_BASE_BYTES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct bytes {
    const uint8_t *at; /* borrowed; may be NULL when len is 0 */
    size_t len;
};

static inline struct bytes bytes_make(const void *at, size_t len)
{
    return (struct bytes){at, len};
}

static inline struct bytes bytes_of(const char *text)
{
    return (struct bytes){(const uint8_t *)text, text ? strlen(text) : 0};
}

/* The part of b from offset on; empty when offset is past the end. */
static inline struct bytes bytes_from(struct bytes b, size_t offset)
{
    return offset >= b.len ? (struct bytes){b.at + b.len, 0}
                           : (struct bytes){b.at + offset, b.len - offset};
}

static inline struct bytes bytes_first(struct bytes b, size_t len)
{
    return (struct bytes){b.at, len < b.len ? len : b.len};
}

static inline uint8_t ascii_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static inline bool ascii_is_letter(uint8_t c)
{
    return ascii_lower(c) >= 'a' && ascii_lower(c) <= 'z';
}

static inline bool ascii_is_alphanumeric(uint8_t c)
{
    return ascii_is_letter(c) || (c >= '0' && c <= '9');
}

/* Of a hexadecimal digit in either case; -1: it is none. */
static inline int ascii_hex_value(uint8_t c)
{
    uint8_t lower = ascii_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

bool bytes_equal(struct bytes a, struct bytes b);
bool bytes_equal_nocase(struct bytes a, struct bytes b);
bool bytes_starts_nocase(struct bytes b, const char *prefix);
/* Without leading and trailing SP, HT, CR and LF. */
struct bytes bytes_trim(struct bytes b);
/* Position of byte c, or b.len. */
size_t bytes_find(struct bytes b, uint8_t c);
/* A decimal number of digits only, at most max; false (out untouched) for anything else. */
bool bytes_to_u64(struct bytes b, uint64_t max, uint64_t *out) __attribute__((warn_unused_result));
/* FNV-1a with a final mix: for hash tables whose keys a stranger cannot choose in bulk. */
uint64_t bytes_hash(struct bytes b);

struct buffer {
    uint8_t *at; /* owned; NULL until the first append */
    size_t len;
    size_t cap;
    size_t max;    /* an append that would exceed it fails and sets overflow */
    bool overflow; /* sticky until buffer_clear() */
};

void buffer_init(struct buffer *b, size_t max);
void buffer_fini(struct buffer *b);
/* Empties it and keeps the memory. */
void buffer_clear(struct buffer *b);
/* Room for len more bytes at b->at + b->len (add to b->len what was used); NULL beyond max. */
uint8_t *buffer_reserve(struct buffer *b, size_t len);
bool buffer_append(struct buffer *b, const void *at, size_t len);
bool buffer_append_bytes(struct buffer *b, struct bytes bytes);
bool buffer_append_str(struct buffer *b, const char *text);
bool buffer_append_byte(struct buffer *b, uint8_t c);
bool buffer_printf(struct buffer *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Drops len bytes at the front (O(rest)). */
void buffer_consume(struct buffer *b, size_t len);

static inline struct bytes buffer_bytes(const struct buffer *b)
{
    return (struct bytes){b->at, b->len};
}

#endif
