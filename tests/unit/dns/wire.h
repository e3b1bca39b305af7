/* DNS messages by hand, for tests: a header, one question, records in any section.
 * Names are written without compression unless a test appends its own octets. */
#ifndef SLUICE_TESTS_DNS_WIRE_H
#define SLUICE_TESTS_DNS_WIRE_H

#include "base/bytes.h"

enum { WIRE_ANSWER, WIRE_AUTHORITY, WIRE_ADDITIONAL };

/* Flags of the header: QR RD RA, and the bits that tests add. */
enum { WIRE_REPLY = 0x8180, WIRE_TC = 0x0200, WIRE_AD = 0x0020 };

static inline void wire_16(struct buffer *b, unsigned value)
{
    buffer_append_byte(b, (uint8_t)(value >> 8));
    buffer_append_byte(b, (uint8_t)value);
}

static inline void wire_32(struct buffer *b, uint32_t value)
{
    wire_16(b, value >> 16);
    wire_16(b, value & 0xffff);
}

static inline void wire_name(struct buffer *b, const char *name)
{
    struct bytes rest = bytes_of(name);
    while (rest.len) {
        size_t label = bytes_find(rest, '.');
        buffer_append_byte(b, (uint8_t)label);
        buffer_append(b, rest.at, label);
        rest = bytes_from(rest, label + 1);
    }
    buffer_append_byte(b, 0);
}

static inline void wire_start(struct buffer *b, unsigned id, unsigned flags, const char *name,
                              uint16_t type)
{
    buffer_clear(b);
    wire_16(b, id);
    wire_16(b, flags);
    wire_16(b, 1);
    wire_16(b, 0);
    wire_16(b, 0);
    wire_16(b, 0);
    wire_name(b, name);
    wire_16(b, type);
    wire_16(b, 1);
}

static inline void wire_record(struct buffer *b, int section, const char *owner, uint16_t type,
                               uint32_t ttl, const void *rdata, size_t len)
{
    uint8_t *count = b->at + 6 + 2 * section;
    unsigned num = (unsigned)(count[0] << 8 | count[1]) + 1;
    count[0] = (uint8_t)(num >> 8);
    count[1] = (uint8_t)num;
    wire_name(b, owner);
    wire_16(b, type);
    wire_16(b, 1);
    wire_32(b, ttl);
    wire_16(b, (unsigned)len);
    buffer_append(b, rdata, len);
}

static inline void wire_mx(struct buffer *b, const char *owner, uint32_t ttl, unsigned preference,
                           const char *host)
{
    struct buffer rdata;
    buffer_init(&rdata, 1024);
    wire_16(&rdata, preference);
    wire_name(&rdata, host);
    wire_record(b, WIRE_ANSWER, owner, 15, ttl, rdata.at, rdata.len);
    buffer_fini(&rdata);
}

static inline void wire_cname(struct buffer *b, const char *owner, uint32_t ttl, const char *target)
{
    struct buffer rdata;
    buffer_init(&rdata, 1024);
    wire_name(&rdata, target);
    wire_record(b, WIRE_ANSWER, owner, 5, ttl, rdata.at, rdata.len);
    buffer_fini(&rdata);
}

static inline void wire_soa(struct buffer *b, uint32_t ttl, uint32_t minimum)
{
    struct buffer rdata;
    buffer_init(&rdata, 1024);
    wire_name(&rdata, "");
    wire_name(&rdata, "");
    for (int i = 0; i < 4; i++)
        wire_32(&rdata, 7);
    wire_32(&rdata, minimum);
    wire_record(b, WIRE_AUTHORITY, "", 6, ttl, rdata.at, rdata.len);
    buffer_fini(&rdata);
}

#endif
