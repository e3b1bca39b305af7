/* Wire answers to typed records: libresolv takes the message apart, this file judges what it finds.
 * It does not cache, and it does not decide what an answer means for a route. */
#include "dns/answer.h"

#include "base/memory.h"
#include "dns/domain_name.h"

#include <arpa/nameser.h>
#include <resolv.h>
#include <stdio.h>

enum { SOA_RDATA_MIN = 22, RCODE_NXDOMAIN = 3, WIRE_MAX = 65535 };

static const char *rcode_name(unsigned rcode)
{
    static const char *const names[] = {"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN",
                                        "NOTIMP",  "REFUSED", "YXDOMAIN", "YXRRSET",
                                        "NXRRSET", "NOTAUTH", "NOTZONE"};
    return rcode < sizeof names / sizeof *names ? names[rcode] : "an unknown response code";
}

static void fail(struct answer_scratch *out, const char *why)
{
    out->answer = (struct answer){
        .status = ANSWER_FAILED, .rcode = out->answer.rcode, .text = why, .records = out->records};
}

static bool parse_record(ns_msg *msg, ns_sect section, int index, ns_rr *out)
{
    return ns_parserr(msg, section, index, out) == 0;
}

/* A TTL with the top bit set is to be treated as zero (RFC 2181 8). */
static uint32_t ttl_of(ns_rr rr)
{
    return ns_rr_ttl(rr) > INT32_MAX ? 0 : (uint32_t)ns_rr_ttl(rr);
}

static void lower_ttl(struct answer_scratch *out, uint32_t ttl_s)
{
    if (ttl_s < out->answer.ttl_s)
        out->answer.ttl_s = ttl_s;
}

static bool answers_question(ns_msg *msg, const char *name, uint16_t type)
{
    ns_rr question;
    return ns_msg_count(*msg, ns_s_qd) == 1 && parse_record(msg, ns_s_qd, 0, &question) &&
           ns_rr_type(question) == type && ns_rr_class(question) == ns_c_in &&
           domain_name_equal(ns_rr_name(question), name);
}

/* The upper bits of an EDNS response code (RFC 6891 6.1.3): BADVERS and the like leave zeros in
 * the header, which would read as "no data". */
static bool has_extended_rcode(ns_msg *msg)
{
    int num = ns_msg_count(*msg, ns_s_ar);
    for (int i = 0; i < num && i < ANSWER_SECTION_MAX; i++) {
        ns_rr rr;
        if (!parse_record(msg, ns_s_ar, i, &rr))
            return false;
        if (ns_rr_type(rr) == ns_t_opt)
            return ns_rr_ttl(rr) >> 24 != 0;
    }
    return false;
}

/* Octets with a NUL behind them in the scratch; at is NULL when it is full. */
static struct bytes keep(struct answer_scratch *out, const void *at, size_t len)
{
    if (len >= sizeof out->data - out->data_len)
        return (struct bytes){0};
    uint8_t *to = out->data + out->data_len;
    if (len)
        memcpy(to, at, len);
    to[len] = '\0';
    out->data_len += len + 1;
    return bytes_make(to, len);
}

/* The text form of the wire name at `at`, lower case, "" for the root. A name with so many escapes
 * that it exceeds any host name becomes a text that no host name is. */
static bool expand_name(ns_msg *msg, const uint8_t *at, char out[ANSWER_NAME_MAX], int *out_used)
{
    char text[NS_MAXDNAME];
    *out_used = dn_expand(ns_msg_base(*msg), ns_msg_end(*msg), at, text, sizeof text);
    if (*out_used < 0)
        return false;
    size_t len = strlen(text);
    if (len && text[len - 1] == '.')
        text[--len] = '\0';
    if (len >= ANSWER_NAME_MAX)
        len = (size_t)snprintf(text, sizeof text, "(a name that is too long)");
    for (size_t i = 0; i <= len; i++)
        out[i] = (char)ascii_lower((uint8_t)text[i]);
    return true;
}

static bool read_mx(ns_msg *msg, ns_rr rr, struct answer_scratch *out, struct answer_record *record)
{
    char name[ANSWER_NAME_MAX];
    int used;
    if (ns_rr_rdlen(rr) < 3 || !expand_name(msg, ns_rr_rdata(rr) + 2, name, &used) ||
        used != ns_rr_rdlen(rr) - 2)
        return false;
    record->preference = (uint16_t)ns_get16(ns_rr_rdata(rr));
    record->data = keep(out, name, strlen(name));
    return true;
}

/* The character strings of a TXT record, joined (RFC 7208 3.3, RFC 8461 3.1). */
static bool read_txt(ns_rr rr, struct answer_scratch *out, struct answer_record *record)
{
    uint8_t joined[UINT16_MAX];
    size_t len = 0;
    struct bytes rest = {ns_rr_rdata(rr), ns_rr_rdlen(rr)};
    while (rest.len) {
        size_t part = rest.at[0];
        if (part > rest.len - 1)
            return false;
        memcpy(joined + len, rest.at + 1, part);
        len += part;
        rest = bytes_from(rest, part + 1);
    }
    record->data = keep(out, joined, len);
    return true;
}

static bool read_address(ns_rr rr, uint8_t family, struct answer_record *record)
{
    size_t len = family == 6 ? 16 : 4;
    if (ns_rr_rdlen(rr) != len)
        return false;
    record->address.family = family;
    memcpy(record->address.octets, ns_rr_rdata(rr), len);
    return true;
}

static bool read_tlsa(ns_rr rr, struct answer_scratch *out, struct answer_record *record)
{
    const uint8_t *rdata = ns_rr_rdata(rr);
    if (ns_rr_rdlen(rr) < 3)
        return false;
    record->usage = rdata[0];
    record->selector = rdata[1];
    record->matching = rdata[2];
    record->data = keep(out, rdata + 3, ns_rr_rdlen(rr) - 3u);
    return true;
}

/* false: malformed. */
static bool add_record(ns_msg *msg, ns_rr rr, struct answer_scratch *out)
{
    struct answer_record record = {.data = {(const uint8_t *)"", 0}};
    bool ok = true;
    switch ((unsigned)ns_rr_type(rr)) {
    case TYPE_A:
        ok = read_address(rr, 4, &record);
        break;
    case TYPE_AAAA:
        ok = read_address(rr, 6, &record);
        break;
    case TYPE_MX:
        ok = read_mx(msg, rr, out, &record);
        break;
    case TYPE_TXT:
        ok = read_txt(rr, out, &record);
        break;
    case TYPE_TLSA:
        ok = read_tlsa(rr, out, &record);
        break;
    default:
        ok = false;
    }
    if (!ok)
        return false;
    lower_ttl(out, ttl_of(rr));
    if (out->answer.num_records == ANSWER_RECORDS_MAX || !record.data.at)
        out->answer.limit_hit = true;
    else
        out->records[out->answer.num_records++] = record;
    return true;
}

struct chain {
    char name[ANSWER_NAME_MAX];
    uint16_t type;
    unsigned hops;
    bool has_records;
};

enum step { STEP_DONE, STEP_ALIAS, STEP_MALFORMED };

/* One pass over the answer section for the records of chain->name, or the CNAME that leads on. */
static enum step walk_once(ns_msg *msg, struct chain *chain, struct answer_scratch *out)
{
    char target[ANSWER_NAME_MAX];
    uint32_t target_ttl_s = 0;
    bool has_target = false;
    int num = ns_msg_count(*msg, ns_s_an);
    for (int i = 0; i < num && i < ANSWER_SECTION_MAX; i++) {
        ns_rr rr;
        int used;
        if (!parse_record(msg, ns_s_an, i, &rr))
            return STEP_MALFORMED;
        if (ns_rr_class(rr) != ns_c_in || !domain_name_equal(ns_rr_name(rr), chain->name))
            continue;
        if (ns_rr_type(rr) == chain->type) {
            if (!add_record(msg, rr, out))
                return STEP_MALFORMED;
            chain->has_records = true;
        } else if (ns_rr_type(rr) == ns_t_cname) {
            if (!expand_name(msg, ns_rr_rdata(rr), target, &used) || used != ns_rr_rdlen(rr))
                return STEP_MALFORMED;
            has_target = true;
            target_ttl_s = ttl_of(rr);
        }
    }
    if (chain->has_records || !has_target)
        return STEP_DONE;
    memcpy(chain->name, target, sizeof target);
    lower_ttl(out, target_ttl_s);
    return STEP_ALIAS;
}

/* A negative answer lives for the lesser of the SOA's TTL and its last field (RFC 2308 5); without
 * a SOA it is not to be cached. false: there is none. */
static bool apply_soa(ns_msg *msg, struct answer_scratch *out)
{
    int num = ns_msg_count(*msg, ns_s_ns);
    for (int i = 0; i < num && i < ANSWER_SECTION_MAX; i++) {
        ns_rr rr;
        if (!parse_record(msg, ns_s_ns, i, &rr))
            break;
        if (ns_rr_type(rr) != ns_t_soa || ns_rr_rdlen(rr) < SOA_RDATA_MIN)
            continue;
        lower_ttl(out, ttl_of(rr));
        lower_ttl(out, (uint32_t)ns_get32(ns_rr_rdata(rr) + ns_rr_rdlen(rr) - 4));
        return true;
    }
    out->answer.ttl_s = 0;
    return false;
}

static void tell_chain(const struct chain *chain, struct answer_scratch *out)
{
    struct bytes end = {0};
    if (chain->hops > 1)
        end = keep(out, chain->name, strlen(chain->name));
    if (end.at)
        out->answer.text = (const char *)end.at;
}

static void judge(ns_msg *msg, struct chain *chain, struct answer_scratch *out)
{
    enum step step = STEP_ALIAS;
    for (chain->hops = 0; step == STEP_ALIAS && chain->hops <= ANSWER_CHAIN_MAX; chain->hops++)
        step = walk_once(msg, chain, out);
    if (step == STEP_MALFORMED) {
        fail(out, "a malformed answer");
    } else if (step == STEP_ALIAS) {
        fail(out, "too many CNAMEs in a row");
    } else if (out->answer.rcode == RCODE_NXDOMAIN) {
        /* The response code is about the end of the chain (RFC 6604 2.1). */
        apply_soa(msg, out);
        out->answer.status = ANSWER_NXDOMAIN;
        out->answer.num_records = 0;
    } else if (chain->has_records) {
        out->answer.status = ANSWER_RECORDS;
        tell_chain(chain, out);
    } else {
        uint32_t chain_ttl_s = out->answer.ttl_s;
        out->answer.status = ANSWER_NODATA;
        tell_chain(chain, out);
        if (!apply_soa(msg, out) && *out->answer.text) {
            out->answer.status = ANSWER_ALIAS;
            out->answer.ttl_s = chain_ttl_s;
        }
    }
}

void answer_parse(struct bytes wire, const char *name, uint16_t type, struct answer_scratch *out)
{
    ns_msg msg;
    struct chain chain = {.type = type};
    out->answer = (struct answer){.ttl_s = INT32_MAX, .text = "", .records = out->records};
    out->data_len = 0;
    if (wire.len < NS_HFIXEDSZ || wire.len > WIRE_MAX) {
        fail(out, "a malformed answer");
        return;
    }
    out->answer.rcode = wire.at[3] & 0x0f;
    bool is_parsed = ns_initparse(wire.at, (int)wire.len, &msg) == 0;
    if (out->answer.rcode != 0 && out->answer.rcode != RCODE_NXDOMAIN)
        fail(out, rcode_name(out->answer.rcode));
    else if (!is_parsed || !(wire.at[2] & 0x80))
        fail(out, "a malformed answer");
    else if (ns_msg_getflag(msg, ns_f_tc))
        fail(out, "a truncated answer");
    else if (!answers_question(&msg, name, type) || strlen(name) >= sizeof chain.name)
        fail(out, "an answer to another question");
    else if (has_extended_rcode(&msg))
        fail(out, "an EDNS error");
    else {
        memcpy(chain.name, name, strlen(name) + 1);
        out->answer.secure = ns_msg_getflag(msg, ns_f_ad) != 0;
        judge(&msg, &chain, out);
    }
}

static size_t copy_len(const struct answer *from)
{
    size_t len = sizeof *from + from->num_records * sizeof *from->records + strlen(from->text) + 1;
    for (size_t i = 0; i < from->num_records; i++)
        len += from->records[i].data.len + 1;
    return len;
}

struct answer *answer_copy(const struct answer *from)
{
    size_t block_len = copy_len(from);
    struct answer *to = mem_alloc(block_len);
    struct answer_record *records = (struct answer_record *)(to + 1);
    uint8_t *end = (uint8_t *)(records + from->num_records);
    for (size_t i = 0; i < from->num_records; i++) {
        records[i] = from->records[i];
        records[i].data.at = end;
        memcpy(end, from->records[i].data.at, from->records[i].data.len + 1);
        end += from->records[i].data.len + 1;
    }
    memcpy(end, from->text, strlen(from->text) + 1);
    *to = *from;
    to->refs = 1;
    to->block_len = block_len;
    to->records = records;
    to->text = (char *)end;
    return to;
}

struct answer *answer_new(enum answer_status status, const char *text)
{
    struct answer empty = {.status = status, .text = text};
    return answer_copy(&empty);
}

struct answer *answer_ref(struct answer *answer)
{
    answer->refs++;
    return answer;
}

void answer_unref(struct answer *answer)
{
    if (answer && --answer->refs == 0)
        free(answer);
}
