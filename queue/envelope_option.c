/* The X-Sluice-... options of the block on top of a file.
 * What this version cannot honour, and would do harm by ignoring, is refused. */
#include "base/memory.h"
#include "queue/envelope_parser.h"

#include <stdio.h>
#include <time.h>

static const int64_t deadline_max_ms = (int64_t)3650 * 24 * 3600 * 1000;

static bool is_printable(struct bytes value)
{
    for (size_t i = 0; i < value.len; i++)
        if (value.at[i] < ' ' || value.at[i] > '~')
            return false;
    return value.len > 0;
}

static bool is(struct bytes value, const char *text)
{
    return bytes_equal_nocase(value, bytes_of(text));
}

static const char *read_priority(struct envelope *out, struct bytes value)
{
    uint64_t priority;
    if (!bytes_to_u64(value, 9, &priority))
        return "expected a number from 0 to 9";
    out->priority = (int)priority;
    return NULL;
}

static bool read_duration(struct bytes value, int64_t *out_ms)
{
    static const struct {
        const char *unit;
        int64_t ms;
    } units[] = {{"ms", 1},      {"s", 1000},     {"m", 60000},
                 {"h", 3600000}, {"d", 86400000}, {"w", 604800000}};
    size_t digits = 0;
    uint64_t number;
    while (digits < value.len && value.at[digits] >= '0' && value.at[digits] <= '9')
        digits++;
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        uint64_t most = (uint64_t)(deadline_max_ms / units[i].ms);
        if (is(bytes_from(value, digits), units[i].unit) &&
            bytes_to_u64(bytes_first(value, digits), most, &number) && number > 0) {
            *out_ms = (int64_t)number * units[i].ms;
            return true;
        }
    }
    return false;
}

/* width digits at the beginning of *text and the octet `after` behind them (0: none); consumes. */
static bool take_number(struct bytes *text, size_t width, uint8_t after, int *out)
{
    uint64_t number;
    if (text->len < width + (after != 0) ||
        !bytes_to_u64(bytes_first(*text, width), 9999, &number) ||
        (after && ascii_lower(text->at[width]) != after))
        return false;
    *text = bytes_from(*text, width + (after != 0));
    *out = (int)number;
    return true;
}

/* "Z", "+02:00", "-05:30" and nothing behind it. */
static bool take_zone(struct bytes text, int *out_minutes)
{
    int hours, minutes;
    if (text.len == 1 && ascii_lower(text.at[0]) == 'z') {
        *out_minutes = 0;
        return true;
    }
    if (text.len != 6 || (text.at[0] != '+' && text.at[0] != '-'))
        return false;
    int sign = text.at[0] == '-' ? -1 : 1;
    text = bytes_from(text, 1);
    if (!take_number(&text, 2, ':', &hours) || !take_number(&text, 2, 0, &minutes) || hours > 23 ||
        minutes > 59)
        return false;
    *out_minutes = sign * (60 * hours + minutes);
    return true;
}

/* RFC 3339 5.6, to the second; a fraction is read and dropped. */
static bool read_instant(struct bytes value, int64_t *out_ms)
{
    struct tm tm = {0};
    int year, month, zone;
    if (!take_number(&value, 4, '-', &year) || !take_number(&value, 2, '-', &month) ||
        !take_number(&value, 2, 't', &tm.tm_mday) || !take_number(&value, 2, ':', &tm.tm_hour) ||
        !take_number(&value, 2, ':', &tm.tm_min) || !take_number(&value, 2, 0, &tm.tm_sec))
        return false;
    if (value.len && value.at[0] == '.')
        do
            value = bytes_from(value, 1);
        while (value.len && value.at[0] >= '0' && value.at[0] <= '9');
    if (!take_zone(value, &zone) || year < 1970 || tm.tm_hour > 23 || tm.tm_min > 59 ||
        tm.tm_sec > 60 || month < 1 || month > 12)
        return false;
    tm.tm_year = year - 1900;
    tm.tm_mon = month - 1;
    tm.tm_sec -= tm.tm_sec == 60; /* a leap second */
    int day = tm.tm_mday;
    int64_t ms = ((int64_t)timegm(&tm) - zone * 60) * 1000;
    /* timegm() turns 30 February into 2 March. */
    if (tm.tm_mday != day || ms <= 0)
        return false;
    *out_ms = ms;
    return true;
}

static const char *read_deadline(struct envelope *out, struct bytes value)
{
    if (read_duration(value, &out->deadline_after_ms) ||
        read_instant(value, &out->deadline_wall_ms))
        return NULL;
    return "expected a duration (30m, 2h, 5d) or an instant (2030-01-31T12:00:00Z)";
}

static const char *read_tls(struct envelope *out, struct bytes value)
{
    static const char *const levels[] = {
        [ENVELOPE_TLS_NONE] = "may",      [ENVELOPE_TLS_ENCRYPT] = "encrypt",
        [ENVELOPE_TLS_VERIFY] = "verify", [ENVELOPE_TLS_STS] = "sts",
        [ENVELOPE_TLS_DANE] = "dane",     [ENVELOPE_TLS_DANE_ONLY] = "dane-only"};
    for (size_t i = 0; i < sizeof levels / sizeof *levels; i++) {
        if (is(value, levels[i])) {
            out->tls = (enum envelope_tls)i;
            return NULL;
        }
    }
    return is(value, "none")
               ? "a message can only ask for more than the configuration, not for less"
               : "expected may, encrypt, verify, sts, dane or dane-only";
}

static const char *read_require_tls(struct envelope *out, struct bytes value)
{
    out->require_tls = is(value, "true");
    return out->require_tls || is(value, "false") ? NULL : "expected true or false";
}

static const char *read_pool(struct envelope *out, struct bytes value)
{
    (void)out;
    /* Mail that leaves from the wrong address harms that address's reputation. */
    return is(value, "default") ? NULL : "this version has no source pool but \"default\"";
}

static const char *read_tag(struct envelope *out, struct bytes value)
{
    if (value.len > ENVELOPE_TAG_MAX)
        return "over 128 octets";
    out->tag = mem_strndup(value.at, value.len);
    return NULL;
}

/* Whether such a destination is configured is for the router to see. */
static const char *read_via(struct envelope *out, struct bytes value)
{
    out->via = address_domain_to_ascii(value);
    return out->via ? NULL : "expected the domain of a destination section with a next hop";
}

static const char *read_envid(struct envelope *out, struct bytes value)
{
    struct buffer xtext;
    buffer_init(&xtext, DSN_ENVID_MAX);
    xtext_encode(value, &xtext);
    bool fits = !xtext.overflow;
    buffer_fini(&xtext);
    if (!fits)
        return "over 100 octets as xtext (RFC 3461)";
    out->envid = mem_strndup(value.at, value.len);
    return NULL;
}

static const char *read_notify(struct envelope *out, struct bytes value)
{
    return dsn_notify_parse(value, &out->notify)
               ? NULL
               : "expected NEVER, or SUCCESS, FAILURE, DELAY with commas";
}

static const char *read_ret(struct envelope *out, struct bytes value)
{
    if (is(value, "full"))
        out->ret = RET_FULL;
    else if (is(value, "hdrs"))
        out->ret = RET_HDRS;
    else
        return "expected FULL or HDRS";
    return NULL;
}

static bool is_parameter(struct bytes word)
{
    return bytes_starts_nocase(word, "NOTIFY=") || bytes_starts_nocase(word, "ORCPT=");
}

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The last word of a text without space at its end. */
static struct bytes last_word(struct bytes text)
{
    size_t begin = text.len;
    while (begin > 0 && !is_space(text.at[begin - 1]))
        begin--;
    return bytes_from(text, begin);
}

/* Words are taken from the end as long as they are parameters: what an address may look like is not
 * this function's to know. */
void envelope_split_parameters(struct bytes *body, struct bytes *out_parameters)
{
    struct bytes all = bytes_trim(*body), rest = all;
    for (struct bytes word = last_word(rest); is_parameter(word); word = last_word(rest))
        rest = bytes_trim(bytes_first(rest, rest.len - word.len));
    *out_parameters = bytes_from(all, rest.len);
    *body = rest;
}

const char *envelope_read_parameters(struct bytes parameters, struct address *recipient)
{
    for (struct bytes rest = bytes_trim(parameters); rest.len;) {
        struct bytes word = last_word(rest);
        rest = bytes_trim(bytes_first(rest, rest.len - word.len));
        struct bytes value = bytes_from(word, bytes_find(word, '=') + 1);
        if (bytes_starts_nocase(word, "NOTIFY=")) {
            if (recipient->notify)
                return "NOTIFY given twice";
            if (!dsn_notify_parse(value, &recipient->notify))
                return "expected NOTIFY=NEVER, or SUCCESS, FAILURE, DELAY with commas";
        } else {
            if (recipient->orcpt)
                return "ORCPT given twice";
            recipient->orcpt = dsn_orcpt_parse(value);
            if (!recipient->orcpt)
                return "expected ORCPT=TYPE;ADDRESS in xtext (RFC 3461), as in "
                       "rfc822;kim@a.example";
        }
    }
    return NULL;
}

static const struct {
    const char *name;
    const char *(*read)(struct envelope *out, struct bytes value);
} options[] = {
    {"X-Sluice-Priority", read_priority}, {"X-Sluice-Deadline", read_deadline},
    {"X-Sluice-TLS", read_tls},           {"X-Sluice-RequireTLS", read_require_tls},
    {"X-Sluice-Pool", read_pool},         {"X-Sluice-Tag", read_tag},
    {"X-Sluice-Envid", read_envid},       {"X-Sluice-Notify", read_notify},
    {"X-Sluice-Ret", read_ret},           {"X-Sluice-Via", read_via},
};

bool envelope_read_option(struct envelope_parser *parser, const struct header_field *field)
{
    struct bytes value = bytes_trim(field->body);
    for (size_t i = 0; i < sizeof options / sizeof *options; i++) {
        if (!is(field->name, options[i].name))
            continue;
        const char *why = NULL;
        if (parser->options & (UINT32_C(1) << i))
            why = "given twice";
        else if (!is_printable(value))
            why = "expected printable ASCII";
        else
            why = options[i].read(parser->out, value);
        parser->options |= UINT32_C(1) << i;
        return why ? envelope_fail(parser, field->offset, options[i].name, why) : true;
    }
    /* What is not known may have been meant to protect the message. */
    return envelope_fail(parser, field->offset, NULL, "an unknown X-Sluice option");
}
