/* Reply lines, enhanced codes and EHLO keywords: bytes in, structs out.
 * It does not know which command a reply answers, and judges nothing but the grammar: the session
 * and the outcome table do. */
#include "router/smtp_reply.h"

#include "router/auth_settings.h"

enum { CODE_LEN = 3, ENHANCED_PART_MAX = 255, SMTP_LIMIT_MAX = 999999 };

void smtp_reply_parser_init(struct smtp_reply_parser *parser)
{
    /* Field by field: clearing the buffer for partial lines before every reply would cost more than
     * parsing it. */
    parser->reply.code = 0;
    memset(parser->reply.enhanced, 0, sizeof parser->reply.enhanced);
    parser->reply.text[0] = '\0';
    parser->lines = 0;
    parser->text_len = 0;
    parser->text_full = false;
    parser->broken = false;
    parser->partial_len = 0;
    parser->why = NULL;
}

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_continuation(uint8_t c)
{
    return (c & 0xc0) == 0x80;
}

/* Octets of the valid and printable UTF-8 character at the front, 0 when there is none. C1
 * controls count as unprintable: some terminals obey them. */
static size_t utf8_char_len(struct bytes b)
{
    uint8_t c = b.at[0];
    if (c < 0x80)
        return c >= 0x20 && c != 0x7f;
    size_t len = c >= 0xc2 && c <= 0xdf   ? 2
                 : (c & 0xf0) == 0xe0     ? 3
                 : c >= 0xf0 && c <= 0xf4 ? 4
                                          : 0;
    if (len == 0 || b.len < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if (!is_continuation(b.at[i]))
            return 0;
    uint8_t second = b.at[1];
    bool overlong = (c == 0xe0 && second < 0xa0) || (c == 0xf0 && second < 0x90);
    bool surrogate = c == 0xed && second > 0x9f;
    bool beyond = c == 0xf4 && second > 0x8f;
    bool c1_control = c == 0xc2 && second < 0xa0;
    return overlong || surrogate || beyond || c1_control ? 0 : len;
}

bool smtp_text_append(char *out, size_t cap, size_t *len, struct bytes text)
{
    while (text.len) {
        size_t char_len = utf8_char_len(text);
        size_t taken = char_len ? char_len : 1;
        if (*len + taken >= cap)
            return false;
        if (char_len)
            memcpy(out + *len, text.at, char_len);
        else
            out[*len] = text.at[0] == '\t' ? ' ' : '?';
        *len += taken;
        out[*len] = '\0';
        text = bytes_from(text, taken);
    }
    return true;
}

/* One of the three numbers of an enhanced code, at most three digits; the octets it takes or 0. */
static size_t parse_enhanced_part(struct bytes text, uint8_t *out)
{
    size_t len = 0;
    while (len < text.len && len < 4 && is_digit(text.at[len]))
        len++;
    uint64_t value;
    if (len > 3 || !bytes_to_u64(bytes_first(text, len), ENHANCED_PART_MAX, &value))
        return 0;
    *out = (uint8_t)value;
    return len;
}

/* "5.1.1 " at the front of a line's text (RFC 2034 4), when its class is the reply's. Octets taken,
 * the following space included, or 0. */
static size_t parse_enhanced(struct bytes text, uint16_t code, uint8_t out[3])
{
    uint8_t parts[3];
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        size_t len = parse_enhanced_part(bytes_from(text, at), &parts[i]);
        if (len == 0)
            return 0;
        at += len;
        if (i < 2 && (at >= text.len || text.at[at++] != '.'))
            return 0;
    }
    if (at < text.len && text.at[at] != ' ')
        return 0;
    if (parts[0] != code / 100 || parts[0] == 3)
        return 0;
    memcpy(out, parts, sizeof parts);
    return at < text.len ? at + 1 : at;
}

static void keep_text(struct smtp_reply_parser *parser, struct bytes text)
{
    uint8_t enhanced[3];
    size_t enhanced_len = parse_enhanced(text, parser->reply.code, enhanced);
    if (enhanced_len && parser->reply.enhanced[0] == 0)
        memcpy(parser->reply.enhanced, enhanced, sizeof enhanced);
    text = bytes_trim(bytes_from(text, enhanced_len));
    if (text.len == 0 || parser->text_full)
        return;
    char *out = parser->reply.text;
    if (parser->text_len &&
        !smtp_text_append(out, SMTP_REPLY_TEXT_MAX, &parser->text_len, bytes_of(" ")))
        parser->text_full = true;
    else
        parser->text_full = !smtp_text_append(out, SMTP_REPLY_TEXT_MAX, &parser->text_len, text);
}

static enum smtp_parse broken(struct smtp_reply_parser *parser, const char *why)
{
    parser->broken = true;
    parser->why = why;
    return SMTP_PARSE_BROKEN;
}

/* line: without its end. "250-text", "250 text", and "250" alone, which RFC 5321 4.2 asks to be
 * accepted. */
static enum smtp_parse take_line(struct smtp_reply_parser *parser, struct bytes line)
{
    uint64_t code;
    if (!bytes_to_u64(bytes_first(line, CODE_LEN), 999, &code) || line.len < CODE_LEN)
        return broken(parser, "a line without a reply code");
    if (code < 200 || code > 599)
        return broken(parser, "a reply code out of range");
    if (line.len > CODE_LEN && line.at[CODE_LEN] != ' ' && line.at[CODE_LEN] != '-')
        return broken(parser, "no space or hyphen after a reply code");
    if (parser->lines && code != parser->reply.code)
        return broken(parser, "the code changes within a reply");
    parser->reply.code = (uint16_t)code;
    parser->lines++;
    keep_text(parser, smtp_reply_line_text(line));
    bool more = line.len > CODE_LEN && line.at[CODE_LEN] == '-';
    if (more && parser->lines == SMTP_REPLY_LINES_MAX)
        return broken(parser, "a reply of too many lines");
    return more ? SMTP_PARSE_MORE : SMTP_PARSE_DONE;
}

/* Some servers end lines with LF alone, some with CR CR LF. */
static struct bytes without_line_end(struct bytes line)
{
    while (line.len && (line.at[line.len - 1] == '\n' || line.at[line.len - 1] == '\r'))
        line.len--;
    return line;
}

enum smtp_parse smtp_reply_parse(struct smtp_reply_parser *parser, struct bytes in,
                                 size_t *out_consumed,
                                 void (*on_line)(void *ctx, unsigned number, struct bytes line),
                                 void *ctx)
{
    enum smtp_parse result = SMTP_PARSE_MORE;
    *out_consumed = 0;
    if (parser->broken)
        return SMTP_PARSE_BROKEN;
    while (result == SMTP_PARSE_MORE && *out_consumed < in.len) {
        struct bytes rest = bytes_from(in, *out_consumed);
        size_t end = bytes_find(rest, '\n');
        bool is_whole = end < rest.len;
        struct bytes line = bytes_first(rest, is_whole ? end + 1 : end);
        if (parser->partial_len + line.len > SMTP_REPLY_LINE_MAX)
            return broken(parser, "a reply line that is too long");
        *out_consumed += line.len;
        if (parser->partial_len || !is_whole) {
            memcpy(parser->partial + parser->partial_len, line.at, line.len);
            parser->partial_len += line.len;
            line = bytes_make(parser->partial, parser->partial_len);
        }
        if (!is_whole)
            break;
        parser->partial_len = 0;
        line = without_line_end(line);
        if (on_line)
            on_line(ctx, parser->lines, line);
        result = take_line(parser, line);
    }
    return result;
}

void smtp_capabilities_init(struct smtp_capabilities *capabilities)
{
    *capabilities = (struct smtp_capabilities){0};
}

/* The domain that greets. Stops at anything that no host name has, so that it can be part of keys
 * and logs. */
static void take_greeting(struct smtp_capabilities *capabilities, struct bytes text)
{
    size_t len = 0;
    while (len < text.len && len < sizeof capabilities->peer_name - 1 && text.at[len] > 0x20 &&
           text.at[len] < 0x7f) {
        capabilities->peer_name[len] = (char)ascii_lower(text.at[len]);
        len++;
    }
    capabilities->peer_name[len] = '\0';
}

/* "RCPTMAX=100 MAILMAX=20" (RFC 9422 3): what is unknown or malformed is passed over. */
static void take_limits(struct smtp_capabilities *capabilities, struct bytes text)
{
    const struct {
        const char *name;
        uint32_t *limit;
    } limits[] = {
        {"MAILMAX=", &capabilities->mail_max},
        {"RCPTMAX=", &capabilities->rcpt_max},
        {"RCPTDOMAINMAX=", &capabilities->rcpt_domain_max},
    };
    while (text.len) {
        struct bytes word = bytes_first(text, bytes_find(text, ' '));
        text = bytes_from(text, word.len + 1);
        for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
            uint64_t limit;
            if (bytes_starts_nocase(word, limits[i].name) &&
                bytes_to_u64(bytes_from(word, strlen(limits[i].name)), SMTP_LIMIT_MAX, &limit))
                *limits[i].limit = (uint32_t)limit;
        }
    }
}

/* "AUTH PLAIN LOGIN" (RFC 4954 3), or "AUTH=LOGIN", as it was before there was an RFC. */
static void take_auth(struct smtp_capabilities *capabilities, struct bytes text)
{
    while (text.len) {
        struct bytes word = bytes_first(text, bytes_find(text, ' '));
        text = bytes_from(text, word.len + 1);
        capabilities->auth |= auth_mechanism_parse(word);
    }
}

void smtp_capabilities_line(struct smtp_capabilities *capabilities, unsigned line,
                            struct bytes text)
{
    const struct {
        const char *keyword;
        bool *offered;
    } keywords[] = {
        {"STARTTLS", &capabilities->starttls},
        {"PIPELINING", &capabilities->pipelining},
        {"SIZE", &capabilities->size},
        {"8BITMIME", &capabilities->eight_bit},
        {"SMTPUTF8", &capabilities->smtputf8},
        {"ENHANCEDSTATUSCODES", &capabilities->enhanced_codes},
        {"CHUNKING", &capabilities->chunking},
        {"DSN", &capabilities->dsn},
        {"REQUIRETLS", &capabilities->requiretls},
    };
    text = bytes_trim(text);
    if (line == 0) {
        take_greeting(capabilities, text);
        return;
    }
    struct bytes keyword = bytes_first(text, bytes_find(text, ' '));
    if (bytes_equal_nocase(keyword, bytes_of("AUTH")) || bytes_starts_nocase(keyword, "AUTH="))
        take_auth(capabilities, bytes_from(text, strlen("AUTH=")));
    if (bytes_equal_nocase(keyword, bytes_of("LIMITS")))
        take_limits(capabilities, bytes_from(text, keyword.len));
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++) {
        if (!bytes_equal_nocase(keyword, bytes_of(keywords[i].keyword)))
            continue;
        *keywords[i].offered = true;
        /* RFC 1870 4: 0 or no number means no fixed limit. */
        uint64_t limit = 0;
        struct bytes parameter = bytes_trim(bytes_from(text, keyword.len));
        if (keywords[i].offered == &capabilities->size &&
            bytes_to_u64(parameter, UINT64_MAX, &limit))
            capabilities->size_max = limit;
    }
}
