/* Builds answers: the question echoed, CNAMEs followed, EDNS, truncation over UDP.
 * Names are not compressed: the readers must not depend on it either way. */
#include "bench/dns/reply.h"

enum {
    HEADER_LEN = 12,
    RCODE_FORMERR = 1,
    RCODE_NXDOMAIN = 3,
    RCODE_NOTIMP = 4,
    FLAGS_QR_AA = 0x84,
    FLAG_TC = 0x02,
    FLAG_AD = 0x20,
    FLAG_RA = 0x80,
    TYPE_OPT = 41
};

struct question {
    struct bytes section; /* name, type and class as they came */
    char name[ZONE_NAME_MAX];
    uint16_t type;
    bool has_edns;
    size_t payload; /* what fits over UDP */
};

void reply_init(struct reply *reply)
{
    *reply = (struct reply){0};
    buffer_init(&reply->wire, REPLY_MAX);
}

void reply_fini(struct reply *reply)
{
    buffer_fini(&reply->wire);
}

static uint16_t get16(const uint8_t *at)
{
    return (uint16_t)(at[0] << 8 | at[1]);
}

static void put16(struct buffer *out, uint32_t value)
{
    buffer_append_byte(out, (uint8_t)(value >> 8));
    buffer_append_byte(out, (uint8_t)value);
}

static void put32(struct buffer *out, uint32_t value)
{
    put16(out, value >> 16);
    put16(out, value & 0xffff);
}

/* A name without compression (in a question there is nothing to point to), lower case. Octets used,
 * or 0. */
static size_t read_name(struct bytes in, char out[ZONE_NAME_MAX])
{
    size_t at = 0;
    size_t len = 0;
    while (at < in.len && in.at[at]) {
        size_t label = in.at[at++];
        if (label > 63 || label > in.len - at || len + label + 1 >= ZONE_NAME_MAX)
            return 0;
        if (len)
            out[len++] = '.';
        for (size_t i = 0; i < label; i++)
            out[len++] = (char)ascii_lower(in.at[at++]);
    }
    out[len] = '\0';
    return at < in.len ? at + 1 : 0;
}

static bool read_question(struct bytes query, struct question *out)
{
    struct bytes rest = bytes_from(query, HEADER_LEN);
    if (query.len < HEADER_LEN || get16(query.at + 4) != 1)
        return false;
    size_t used = read_name(rest, out->name);
    if (used == 0 || rest.len < used + 4)
        return false;
    out->section = bytes_first(rest, used + 4);
    out->type = get16(rest.at + used);
    rest = bytes_from(rest, used + 4);
    /* The OPT record of a query is the only one and has the root for a name (RFC 6891 6.1.1). */
    out->has_edns = get16(query.at + 10) > 0 && rest.len >= 11 && rest.at[0] == 0 &&
                    get16(rest.at + 1) == TYPE_OPT;
    out->payload = out->has_edns ? get16(rest.at + 3) : 512;
    if (out->payload < 512)
        out->payload = 512;
    if (out->payload > REPLY_UDP_MAX)
        out->payload = REPLY_UDP_MAX;
    return true;
}

static void put_record(struct buffer *out, const char *owner, const struct zone_record *record)
{
    uint8_t wire[WIRE_NAME_MAX];
    buffer_append(out, wire, zone_name_to_wire(bytes_of(owner), wire));
    put16(out, record->type);
    put16(out, 1);
    put32(out, record->ttl_s);
    put16(out, record->rdata_len);
    buffer_append(out, record->rdata, record->rdata_len);
}

static unsigned put_type(struct buffer *out, const struct zone_node *node, const char *owner,
                         uint16_t type)
{
    unsigned num = 0;
    for (const struct zone_record *r = node->records; r; r = r->next)
        if (r->type == type) {
            put_record(out, owner, r);
            num++;
        }
    return num;
}

static const struct zone_record *first_of(const struct zone_node *node, uint16_t type)
{
    const struct zone_record *record = node->records;
    while (record && record->type != type)
        record = record->next;
    return record;
}

/* Answer records, CNAMEs first; out_rcode: of the end of the chain. The first node's misbehaviour
 * is what counts, and the caller has seen to that. */
static unsigned put_answers(struct zone *zone, const struct question *question, struct buffer *out,
                            uint8_t *out_rcode)
{
    char name[ZONE_NAME_MAX];
    unsigned num = 0;
    memcpy(name, question->name, sizeof name);
    for (unsigned hops = 0; hops <= REPLY_CHAIN_MAX; hops++) {
        const struct zone_node *node = zone_find(zone, name);
        *out_rcode = node ? node->rcode : RCODE_NXDOMAIN;
        if (!node || node->rcode)
            return num;
        const struct zone_record *cname = first_of(node, ZONE_CNAME);
        if (!cname || question->type == ZONE_CNAME)
            return num + put_type(out, node, name, question->type);
        put_record(out, name, cname);
        num++;
        if (!read_name(bytes_make(cname->rdata, cname->rdata_len), name))
            return num;
    }
    return num;
}

/* The SOA of the closest name above that has one, or a made-up one of the root. */
static void put_soa(struct zone *zone, const struct reply_options *options, const char *name,
                    struct buffer *out)
{
    for (const char *at = name; at && *at; at = strchr(at, '.') ? strchr(at, '.') + 1 : NULL) {
        const struct zone_node *node = zone_find(zone, at);
        if (node && strcmp(node->name, at) == 0 && first_of(node, ZONE_SOA)) {
            put_record(out, at, first_of(node, ZONE_SOA));
            return;
        }
    }
    buffer_append_byte(out, 0);
    put16(out, ZONE_SOA);
    put16(out, 1);
    put32(out, options->negative_ttl_s);
    put16(out, 22);
    put16(out, 0);
    for (int i = 0; i < 4; i++)
        put32(out, 1);
    put32(out, options->negative_ttl_s);
}

static void put_edns(struct buffer *out)
{
    buffer_append_byte(out, 0);
    put16(out, TYPE_OPT);
    put16(out, REPLY_UDP_MAX);
    put32(out, 0);
    put16(out, 0);
}

static void start(struct buffer *out, struct bytes query, struct bytes question,
                  const struct reply_options *options)
{
    buffer_clear(out);
    buffer_append(out, query.at, 2);
    buffer_append_byte(out, (uint8_t)(FLAGS_QR_AA | (query.at[2] & 0x79)));
    buffer_append_byte(out, FLAG_RA | (options->sets_ad ? FLAG_AD : 0));
    put16(out, question.len ? 1 : 0);
    put16(out, 0);
    put16(out, 0);
    put16(out, 0);
    buffer_append_bytes(out, question);
}

static void set_counts(struct buffer *out, unsigned answers, unsigned authority, unsigned more)
{
    uint8_t counts[] = {
        (uint8_t)(answers >> 8), (uint8_t)answers, 0, (uint8_t)authority, 0, (uint8_t)more};
    memcpy(out->at + 6, counts, sizeof counts);
}

static void truncate_to(struct buffer *out, size_t len)
{
    out->len = len;
    out->overflow = false;
    out->at[2] |= FLAG_TC;
    set_counts(out, 0, 0, 0);
}

static void fill(struct zone *zone, const struct reply_options *options,
                 const struct question *question, struct buffer *out)
{
    uint8_t rcode = 0;
    unsigned answers = put_answers(zone, question, out, &rcode);
    bool is_negative = rcode == RCODE_NXDOMAIN || (rcode == 0 && answers == 0);
    out->at[3] |= rcode;
    if (is_negative)
        put_soa(zone, options, question->name, out);
    if (question->has_edns)
        put_edns(out);
    set_counts(out, answers, is_negative, question->has_edns);
}

void reply_make(struct zone *zone, const struct reply_options *options, struct bytes query,
                bool is_udp, struct reply *out)
{
    struct question question = {0};
    struct bytes none = {0};
    out->delay_ms = 0;
    out->name[0] = '\0';
    out->type = 0;
    buffer_clear(&out->wire);
    if (query.len < HEADER_LEN || query.at[2] & 0x80)
        return;
    if ((query.at[2] & 0x78) != 0 || !read_question(query, &question)) {
        start(&out->wire, query, none, options);
        out->wire.at[3] |= (query.at[2] & 0x78) != 0 ? RCODE_NOTIMP : RCODE_FORMERR;
        return;
    }
    memcpy(out->name, question.name, sizeof out->name);
    out->type = question.type;
    const struct zone_node *node = zone_find(zone, question.name);
    if (node && node->is_dropped)
        return;
    out->delay_ms = node ? node->delay_ms : 0;
    bool is_cut = is_udp && node && node->is_truncated;
    start(&out->wire, query, question.section, options);
    size_t head_len = out->wire.len;
    if (!is_cut)
        fill(zone, options, &question, &out->wire);
    if (is_cut || out->wire.overflow || (is_udp && out->wire.len > question.payload))
        truncate_to(&out->wire, head_len);
}
