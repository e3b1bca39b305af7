/* The lexical layer of addresses: atoms, quoted strings, literals, comments, folding.
 * It does not know what an address is. */
#include "queue/address_scan.h"

static bool is_atext(uint8_t c)
{
    /* RFC 5322 3.2.3, and RFC 6532 3.2 for what is not ASCII. */
    static const bool special[128] = {
        ['('] = true, [')'] = true, ['<'] = true, ['>'] = true, ['['] = true,
        [']'] = true, [':'] = true, [';'] = true, ['@'] = true, ['\\'] = true,
        [','] = true, ['.'] = true, ['"'] = true, [127] = true,
    };
    return c >= 0x80 || (c > ' ' && !special[c]);
}

/* One line end and, unless the text ends there, the white space that must follow it. */
static bool skip_fold(struct address_scanner *scanner)
{
    struct bytes rest = scanner->rest;
    size_t len = rest.at[0] == '\r' && rest.len > 1 && rest.at[1] == '\n' ? 2 : 1;
    rest = bytes_from(rest, len);
    scanner->rest = rest;
    if (rest.len == 0 || rest.at[0] == ' ' || rest.at[0] == '\t')
        return true;
    scanner->why = "a line end that is no folding";
    return false;
}

static bool skip_comment(struct address_scanner *scanner)
{
    struct bytes text = scanner->rest;
    unsigned depth = 0;
    for (size_t i = 0; i < text.len; i++) {
        switch (text.at[i]) {
        case '\\':
            i++;
            break;
        case '(':
            if (++depth > ADDRESS_COMMENT_DEPTH_MAX) {
                scanner->why = "comments nested too deeply";
                return false;
            }
            break;
        case ')':
            if (--depth == 0) {
                scanner->rest = bytes_from(text, i + 1);
                return true;
            }
            break;
        default:
            break;
        }
    }
    scanner->why = "a comment that is not closed";
    return false;
}

/* CFWS of RFC 5322 3.2.2 and 4.2. */
static bool skip_cfws(struct address_scanner *scanner)
{
    while (scanner->rest.len) {
        uint8_t c = scanner->rest.at[0];
        if (c == ' ' || c == '\t')
            scanner->rest = bytes_from(scanner->rest, 1);
        else if (c == '\r' || c == '\n') {
            if (!skip_fold(scanner))
                return false;
        } else if (c == '(') {
            if (!skip_comment(scanner))
                return false;
        } else
            break;
    }
    return true;
}

static struct address_token bad(struct address_scanner *scanner, const char *why)
{
    if (!scanner->why)
        scanner->why = why;
    return (struct address_token){.kind = ADDRESS_TOKEN_BAD};
}

static struct address_token scan_quoted(struct address_scanner *scanner)
{
    struct bytes text = bytes_from(scanner->rest, 1);
    for (size_t i = 0; i < text.len; i++) {
        if (text.at[i] == '\\')
            i++;
        else if (text.at[i] == '"') {
            scanner->rest = bytes_from(text, i + 1);
            return (struct address_token){.kind = ADDRESS_TOKEN_QUOTED,
                                          .text = bytes_first(text, i)};
        }
    }
    return bad(scanner, "a quoted string that is not closed");
}

static struct address_token scan_literal(struct address_scanner *scanner)
{
    struct bytes text = bytes_from(scanner->rest, 1);
    size_t end = bytes_find(text, ']');
    if (end == text.len)
        return bad(scanner, "a \"[\" that is not closed");
    scanner->rest = bytes_from(text, end + 1);
    return (struct address_token){.kind = ADDRESS_TOKEN_LITERAL, .text = bytes_first(text, end)};
}

static bool is_printable(uint8_t c)
{
    return c > ' ' && c != 127;
}

/* Length of the encoded word at the beginning of text, or 0. Mail programs leave commas and other
 * specials unencoded in it, so it must be taken in one piece. */
static size_t encoded_word_len(struct bytes text)
{
    if (text.len < 2 || text.at[0] != '=' || text.at[1] != '?')
        return 0;
    size_t i = 2;
    while (i < text.len && is_atext(text.at[i]) && text.at[i] != '?')
        i++;
    if (i == 2 || text.len - i < 4 || text.at[i] != '?' || text.at[i + 2] != '?')
        return 0;
    uint8_t encoding = ascii_lower(text.at[i + 1]);
    if (encoding != 'q' && encoding != 'b')
        return 0;
    i += 3;
    while (i < text.len && is_printable(text.at[i]) && text.at[i] != '?')
        i++;
    return i + 1 < text.len && text.at[i] == '?' && text.at[i + 1] == '=' ? i + 2 : 0;
}

static struct address_token scan_atom(struct address_scanner *scanner)
{
    struct bytes text = scanner->rest;
    size_t encoded = encoded_word_len(text);
    size_t len = encoded;
    if (!encoded)
        while (len < text.len && is_atext(text.at[len]))
            len++;
    if (len == 0)
        return bad(scanner, text.at[0] < ' ' || text.at[0] == 127
                                ? "a control character"
                                : "a character that has no place in an address");
    scanner->rest = bytes_from(text, len);
    return (struct address_token){.kind = ADDRESS_TOKEN_ATOM,
                                  .text = bytes_first(text, len),
                                  .is_encoded_word = encoded != 0};
}

static enum address_token_kind special_kind(uint8_t c)
{
    switch (c) {
    case '.':
        return ADDRESS_TOKEN_DOT;
    case '@':
        return ADDRESS_TOKEN_AT;
    case ',':
        return ADDRESS_TOKEN_COMMA;
    case ';':
        return ADDRESS_TOKEN_SEMICOLON;
    case ':':
        return ADDRESS_TOKEN_COLON;
    case '<':
        return ADDRESS_TOKEN_OPEN;
    case '>':
        return ADDRESS_TOKEN_CLOSE;
    default:
        return ADDRESS_TOKEN_BAD;
    }
}

struct address_token address_scanner_next(struct address_scanner *scanner)
{
    size_t before = scanner->rest.len;
    struct address_token token;
    if (scanner->why || !skip_cfws(scanner))
        return bad(scanner, NULL);
    bool spaced = scanner->rest.len != before;
    if (scanner->rest.len == 0)
        return (struct address_token){.kind = ADDRESS_TOKEN_END, .spaced = spaced};
    uint8_t c = scanner->rest.at[0];
    if (c == '"')
        token = scan_quoted(scanner);
    else if (c == '[')
        token = scan_literal(scanner);
    else if (special_kind(c) != ADDRESS_TOKEN_BAD) {
        token = (struct address_token){.kind = special_kind(c)};
        scanner->rest = bytes_from(scanner->rest, 1);
    } else
        token = scan_atom(scanner);
    token.spaced = spaced;
    return token;
}
