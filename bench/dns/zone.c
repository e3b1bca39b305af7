/* The responder's table of names. Nodes for all parents exist, so that a name without records of
 * its own but with names below it is "no data", not "no such name" (RFC 8020).
 * It does not build answers: reply.c does. */
#include "bench/dns/zone.h"

#include "base/memory.h"
#include "dns/route.h"

#include <stdio.h>

enum { BUCKETS = 65536, WORDS_MAX = 16, PATTERN_TTL_S = 300 };

struct zone {
    struct zone_node *buckets[BUCKETS];
    struct zone_options options;
    struct zone_node *pattern; /* the node made up for the last name of the pattern */
};

static const struct {
    const char *name;
    uint16_t type;
} types[] = {{"A", ZONE_A},   {"NS", ZONE_NS},   {"CNAME", ZONE_CNAME}, {"SOA", ZONE_SOA},
             {"MX", ZONE_MX}, {"TXT", ZONE_TXT}, {"AAAA", ZONE_AAAA},   {"TLSA", ZONE_TLSA}};

const char *zone_type_name(uint16_t type)
{
    static char other[16];
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (types[i].type == type)
            return types[i].name;
    snprintf(other, sizeof other, "TYPE%u", type);
    return other;
}

static struct zone_node **find_node(struct zone *zone, struct bytes name)
{
    struct zone_node **at = &zone->buckets[bytes_hash(name) % BUCKETS];
    while (*at && !bytes_equal(bytes_of((*at)->name), name))
        at = &(*at)->next_in_bucket;
    return at;
}

static struct zone_node *new_node(struct bytes name)
{
    struct zone_node *node = mem_zalloc(1, sizeof *node + name.len + 1);
    if (name.len)
        memcpy(node->name, name.at, name.len);
    return node;
}

static struct bytes parent_of(struct bytes name)
{
    return bytes_from(name, bytes_find(name, '.') + 1);
}

static struct zone_node *add_node(struct zone *zone, struct bytes name)
{
    struct zone_node **at = find_node(zone, name);
    if (*at)
        return *at;
    struct zone_node *node = *at = new_node(name);
    while (name.len) {
        name = parent_of(name);
        at = find_node(zone, name);
        if (*at)
            break;
        *at = new_node(name);
    }
    return node;
}

static void free_node(struct zone_node *node)
{
    while (node->records) {
        struct zone_record *record = node->records;
        node->records = record->next;
        free(record);
    }
    free(node);
}

struct zone *zone_new(const struct zone_options *options)
{
    struct zone *zone = mem_zalloc(1, sizeof *zone);
    zone->options = *options;
    if (options->domains)
        add_node(zone, bytes_of("test"));
    return zone;
}

void zone_free(struct zone *zone)
{
    for (size_t i = 0; i < BUCKETS; i++)
        while (zone->buckets[i]) {
            struct zone_node *node = zone->buckets[i];
            zone->buckets[i] = node->next_in_bucket;
            free_node(node);
        }
    if (zone->pattern)
        free_node(zone->pattern);
    free(zone);
}

size_t zone_name_to_wire(struct bytes name, uint8_t out[WIRE_NAME_MAX])
{
    size_t len = 0;
    if (name.len && name.at[name.len - 1] == '.')
        name.len--;
    while (name.len) {
        size_t label = bytes_find(name, '.');
        if (label == 0 || label > 63 || len + label + 2 > WIRE_NAME_MAX)
            return 0;
        out[len++] = (uint8_t)label;
        memcpy(out + len, name.at, label);
        len += label;
        name = bytes_from(name, label + 1);
    }
    out[len++] = 0;
    return len;
}

static void add_record(struct zone_node *node, uint16_t type, uint32_t ttl_s, struct bytes rdata)
{
    struct zone_record *record = mem_zalloc(1, sizeof *record + rdata.len);
    record->type = type;
    record->ttl_s = ttl_s;
    record->rdata_len = (uint16_t)rdata.len;
    if (rdata.len)
        memcpy(record->rdata, rdata.at, rdata.len);
    struct zone_record **at = &node->records;
    while (*at)
        at = &(*at)->next;
    *at = record;
}

/* Words of a line; "double quoted" is one word, and # or ; at a word's start begins a comment. */
static size_t split(struct bytes line, struct bytes out[WORDS_MAX])
{
    size_t num = 0;
    while (num < WORDS_MAX) {
        line = bytes_trim(line);
        if (line.len == 0 || line.at[0] == '#' || line.at[0] == ';')
            break;
        size_t len = 0;
        if (line.at[0] == '"') {
            line = bytes_from(line, 1);
            len = bytes_find(line, '"');
        } else {
            while (len < line.len && line.at[len] != ' ' && line.at[len] != '\t')
                len++;
        }
        out[num++] = bytes_first(line, len);
        line = bytes_from(line, len + (len < line.len && line.at[len] == '"'));
    }
    return num;
}

static bool put_name(struct buffer *out, struct bytes name)
{
    uint8_t wire[WIRE_NAME_MAX];
    size_t len = zone_name_to_wire(name, wire);
    return len && buffer_append(out, wire, len);
}

static bool put_number(struct buffer *out, struct bytes text, unsigned octets)
{
    uint64_t number;
    if (!bytes_to_u64(text, octets == 4 ? UINT32_MAX : (1u << 8 * octets) - 1, &number))
        return false;
    for (unsigned i = octets; i > 0; i--)
        buffer_append_byte(out, (uint8_t)(number >> 8 * (i - 1)));
    return true;
}

static bool put_address(struct buffer *out, struct bytes text, uint8_t family)
{
    struct host_address address;
    return host_address_parse(text, &address) && address.family == family &&
           buffer_append(out, address.octets, family == 6 ? 16 : 4);
}

static bool put_strings(struct buffer *out, const struct bytes *words, size_t num)
{
    for (size_t i = 0; i < num; i++)
        if (words[i].len > 255 || !buffer_append_byte(out, (uint8_t)words[i].len) ||
            !buffer_append_bytes(out, words[i]))
            return false;
    return num > 0;
}

static int hex_digit(uint8_t c)
{
    c = ascii_lower(c);
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool put_hex(struct buffer *out, struct bytes text)
{
    for (size_t i = 0; i + 1 < text.len; i += 2) {
        int high = hex_digit(text.at[i]);
        int low = hex_digit(text.at[i + 1]);
        if (high < 0 || low < 0)
            return false;
        buffer_append_byte(out, (uint8_t)(high << 4 | low));
    }
    return text.len > 0 && text.len % 2 == 0;
}

static bool put_soa(struct buffer *out, const struct bytes *words, size_t num)
{
    bool ok = num == 7 && put_name(out, words[0]) && put_name(out, words[1]);
    for (size_t i = 2; ok && i < 7; i++)
        ok = put_number(out, words[i], 4);
    return ok;
}

static bool put_rdata(struct buffer *out, uint16_t type, const struct bytes *words, size_t num)
{
    switch ((enum zone_type)type) {
    case ZONE_A:
        return num == 1 && put_address(out, words[0], 4);
    case ZONE_AAAA:
        return num == 1 && put_address(out, words[0], 6);
    case ZONE_NS:
    case ZONE_CNAME:
        return num == 1 && put_name(out, words[0]);
    case ZONE_MX:
        return num == 2 && put_number(out, words[0], 2) && put_name(out, words[1]);
    case ZONE_TXT:
        return put_strings(out, words, num);
    case ZONE_TLSA:
        return num == 4 && put_number(out, words[0], 1) && put_number(out, words[1], 1) &&
               put_number(out, words[2], 1) && put_hex(out, words[3]);
    case ZONE_SOA:
        return put_soa(out, words, num);
    }
    return false;
}

static bool set_directive(struct zone_node *node, const struct bytes *words, size_t num)
{
    static const struct {
        const char *name;
        uint8_t rcode;
    } rcodes[] = {{"FORMERR", 1}, {"SERVFAIL", 2}, {"NXDOMAIN", 3}, {"NOTIMP", 4}, {"REFUSED", 5}};
    uint64_t delay;
    for (size_t i = 0; num == 1 && i < sizeof rcodes / sizeof *rcodes; i++)
        if (bytes_equal_nocase(words[0], bytes_of(rcodes[i].name))) {
            node->rcode = rcodes[i].rcode;
            return true;
        }
    if (num == 1 && bytes_equal_nocase(words[0], bytes_of("DROP")))
        return node->is_dropped = true;
    if (num == 1 && bytes_equal_nocase(words[0], bytes_of("TRUNCATE")))
        return node->is_truncated = true;
    if (num != 2 || !bytes_equal_nocase(words[0], bytes_of("DELAY")) ||
        !bytes_to_u64(words[1], 600 * 1000, &delay))
        return false;
    node->delay_ms = (unsigned)delay;
    return true;
}

static uint16_t type_of(struct bytes word)
{
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (bytes_equal_nocase(word, bytes_of(types[i].name)))
            return types[i].type;
    return 0;
}

/* Lower case without a final dot; the root is "". */
static bool owner_name(struct bytes text, char out[ZONE_NAME_MAX])
{
    uint8_t wire[WIRE_NAME_MAX];
    if (zone_name_to_wire(text, wire) == 0)
        return false;
    size_t len = text.len - (text.len && text.at[text.len - 1] == '.');
    for (size_t i = 0; i < len; i++)
        out[i] = (char)ascii_lower(text.at[i]);
    out[len] = '\0';
    return true;
}

bool zone_add_line(struct zone *zone, struct bytes line, char why[ZONE_WHY_MAX])
{
    struct bytes words[WORDS_MAX];
    char name[ZONE_NAME_MAX];
    uint64_t ttl;
    size_t num = split(line, words);
    if (num == 0)
        return true;
    if (num < 2 || !owner_name(words[0], name)) {
        snprintf(why, ZONE_WHY_MAX, "expected NAME TYPE TTL DATA or NAME DIRECTIVE");
        return false;
    }
    uint16_t type = type_of(words[1]);
    struct zone_node *node = add_node(zone, bytes_of(name));
    if (!type) {
        if (set_directive(node, words + 1, num - 1))
            return true;
        snprintf(why, ZONE_WHY_MAX, "%.*s is neither a type nor a directive", (int)words[1].len,
                 (const char *)words[1].at);
        return false;
    }
    struct buffer rdata;
    buffer_init(&rdata, 4096);
    bool ok = num > 3 && bytes_to_u64(words[2], INT32_MAX, &ttl) &&
              put_rdata(&rdata, type, words + 3, num - 3);
    if (ok)
        add_record(node, type, (uint32_t)ttl, buffer_bytes(&rdata));
    else
        snprintf(why, ZONE_WHY_MAX, "bad TTL or data of a record of type %s", zone_type_name(type));
    buffer_fini(&rdata);
    return ok;
}

/* "d17.test" or "mx.d17.test": a node made up for it, or NULL. */
static const struct zone_node *find_pattern(struct zone *zone, struct bytes name)
{
    uint64_t number;
    bool is_host = bytes_starts_nocase(name, "mx.");
    struct bytes domain = is_host ? bytes_from(name, 3) : name;
    size_t dot = bytes_find(domain, '.');
    if (!zone->options.domains || domain.len < 2 || domain.at[0] != 'd' ||
        !bytes_equal(bytes_from(domain, dot), bytes_of(".test")) ||
        !bytes_to_u64((struct bytes){domain.at + 1, dot - 1}, zone->options.domains - 1, &number))
        return NULL;
    if (zone->pattern)
        free_node(zone->pattern);
    zone->pattern = new_node(name);
    if (is_host) {
        uint8_t octets[] = {127, 0, 1, (uint8_t)(number % zone->options.hosts + 1)};
        add_record(zone->pattern, ZONE_A, PATTERN_TTL_S, bytes_make(octets, sizeof octets));
    } else {
        uint8_t rdata[5 + WIRE_NAME_MAX] = {0, 10, 2, 'm', 'x'};
        size_t len = zone_name_to_wire(domain, rdata + 5);
        add_record(zone->pattern, ZONE_MX, PATTERN_TTL_S, bytes_make(rdata, 5 + len));
    }
    return zone->pattern;
}

const struct zone_node *zone_find(struct zone *zone, const char *name)
{
    struct bytes rest = bytes_of(name);
    struct zone_node *node = *find_node(zone, rest);
    if (node)
        return node;
    const struct zone_node *pattern = find_pattern(zone, rest);
    if (pattern)
        return pattern;
    do
        rest = parent_of(rest);
    while (rest.len && !*find_node(zone, rest));
    char wildcard[ZONE_NAME_MAX + 2];
    snprintf(wildcard, sizeof wildcard, rest.len ? "*.%.*s" : "*", (int)rest.len,
             (const char *)rest.at);
    return *find_node(zone, bytes_of(wildcard));
}
