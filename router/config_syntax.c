/* One pass over the text, token by token; see the header for why it is there.
 * It knows no option: names and values are libConfuse's and config.c's matter. */
#include "router/config_syntax.h"

#include "base/memory.h"

/* What the next token may be. libConfuse would also take a string, or a path with "|", as a name.
 */
enum expect { EXPECT_NAME, EXPECT_AFTER_NAME, EXPECT_VALUE };

struct scan {
    struct config_syntax *syntax;
    struct bytes in;
    size_t pos;
    unsigned line;
    unsigned depth;
    unsigned open_lines[CONFIG_DEPTH_MAX];
    enum expect expect;
};

static bool scan_token(struct scan *scan);

static bool refuse(struct scan *scan, unsigned line, const char *why)
{
    scan->syntax->error_line = line;
    scan->syntax->why = why;
    return false;
}

bool config_syntax_read(struct config_syntax *syntax, struct bytes text)
{
    *syntax = (struct config_syntax){0};
    /* Every octet of a string may become four. */
    buffer_init(&syntax->text, 4 * (size_t)CONFIG_TEXT_MAX + 1);
    struct scan scan = {.syntax = syntax, .in = text, .line = 1};
    if (text.len > CONFIG_TEXT_MAX)
        return refuse(&scan, 1, "the file is too large, expected at most 4 MiB");
    while (scan.pos < text.len)
        if (!scan_token(&scan))
            return false;
    if (scan.depth)
        return refuse(&scan, scan.open_lines[scan.depth - 1],
                      "\"{\" is not closed, expected \"}\"");
    buffer_append_byte(&syntax->text, '\n');
    buffer_append_byte(&syntax->text, 0);
    return true;
}

void config_syntax_fini(struct config_syntax *syntax)
{
    buffer_fini(&syntax->text);
    free(syntax->title_lines);
}

static uint8_t peek(const struct scan *scan, size_t ahead)
{
    return scan->pos + ahead < scan->in.len ? scan->in.at[scan->pos + ahead] : 0;
}

static bool starts_comment(const struct scan *scan)
{
    uint8_t c = peek(scan, 0);
    return c == '#' || (c == '/' && (peek(scan, 1) == '/' || peek(scan, 1) == '*'));
}

static bool skip_comment(struct scan *scan)
{
    unsigned first_line = scan->line;
    if (peek(scan, 0) == '#' || peek(scan, 1) == '/') {
        while (scan->pos < scan->in.len && scan->in.at[scan->pos] != '\n')
            scan->pos++;
        return true;
    }
    for (scan->pos += 2; scan->pos < scan->in.len; scan->pos++) {
        if (peek(scan, 0) == '*' && peek(scan, 1) == '/') {
            scan->pos += 2;
            buffer_append_byte(&scan->syntax->text, ' ');
            return true;
        }
        if (peek(scan, 0) == '\n') {
            scan->line++;
            buffer_append_byte(&scan->syntax->text, '\n');
        }
    }
    return refuse(scan, first_line, "the comment is not closed, expected \"*/\"");
}

static bool is_word(uint8_t c)
{
    return c > 0x20 && c != 0x7f && !strchr("{}()=,+\"'#\\$;`", c);
}

/* Characters that libConfuse takes in a bare word without a second meaning. */
static bool is_plain(uint8_t c)
{
    return ascii_is_alphanumeric(c) || c == '_' || c == '.' || c == '-';
}

static void put_string(struct buffer *out, struct bytes text)
{
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.len; i++) {
        if (is_plain(text.at[i]) || text.at[i] == ' ' || text.at[i] == '/')
            buffer_append_byte(out, text.at[i]);
        else
            buffer_printf(out, "\\x%02x", text.at[i]);
    }
    buffer_append_byte(out, '"');
}

static void remember_title(struct scan *scan)
{
    struct config_syntax *syntax = scan->syntax;
    /* Doubled at each power of two: num is also the capacity in disguise. */
    if ((syntax->num_titles & (syntax->num_titles - 1)) == 0)
        syntax->title_lines =
            mem_realloc(syntax->title_lines, syntax->num_titles ? syntax->num_titles * 2 : 1,
                        sizeof *syntax->title_lines);
    syntax->title_lines[syntax->num_titles++] = scan->line;
}

static bool scan_word(struct scan *scan)
{
    size_t start = scan->pos;
    bool plain = true;
    while (is_word(peek(scan, 0)) && !starts_comment(scan))
        plain &= is_plain(scan->in.at[scan->pos++]);
    struct bytes word = bytes_make(scan->in.at + start, scan->pos - start);
    if (word.len > CONFIG_STRING_MAX)
        return refuse(scan, scan->line, "the word is too long, expected at most 4096 octets");
    if (scan->expect == EXPECT_NAME && !plain)
        return refuse(scan, scan->line, "unexpected word, expected the name of an option");
    if (scan->expect == EXPECT_NAME && scan->depth == 0 &&
        bytes_equal(word, bytes_of("destination"))) {
        if (scan->syntax->num_titles == CONFIG_DESTINATIONS_MAX)
            return refuse(scan, scan->line,
                          "too many sections, expected at most 10000 destinations");
        remember_title(scan);
    }
    if (plain)
        buffer_append_bytes(&scan->syntax->text, word);
    else
        put_string(&scan->syntax->text, word);
    scan->expect = scan->expect == EXPECT_VALUE ? EXPECT_NAME : EXPECT_AFTER_NAME;
    return true;
}

/* One escape at the backslash; false when it is none that we know. */
static bool decode_escape(struct scan *scan, bool single, uint8_t *out)
{
    uint8_t c = peek(scan, 1);
    if (c == '\\' || c == '\'' || (c == '"' && !single)) {
        *out = c;
        scan->pos += 2;
        return true;
    }
    int high = ascii_hex_value(peek(scan, 2));
    int low = ascii_hex_value(peek(scan, 3));
    if (single || c != 'x' || high < 0 || low < 0 || high + low == 0)
        return false;
    *out = (uint8_t)(high << 4 | low);
    scan->pos += 4;
    return true;
}

static bool scan_string_into(struct scan *scan, uint8_t quote, struct buffer *decoded)
{
    for (scan->pos++; peek(scan, 0) != quote;) {
        uint8_t c = peek(scan, 0);
        if (scan->pos >= scan->in.len || c == '\n')
            return refuse(scan, scan->line,
                          "the string is not closed, expected a quote on the same line");
        if (c == '$' && peek(scan, 1) == '{' && quote == '"')
            return refuse(scan, scan->line,
                          "environment variables are not put in, expected text without \"${\" "
                          "(or single quotes, where it stands for itself)");
        if (c == '\\') {
            if (!decode_escape(scan, quote == '\'', &c))
                return refuse(scan, scan->line,
                              "unknown escape, expected \\\\ \\\" \\' or \\xHH (single quotes: "
                              "\\\\ or \\')");
        } else if (c < 0x20 && c != '\t') {
            return refuse(scan, scan->line, "control character in a string, expected \\xHH");
        } else {
            scan->pos++;
        }
        if (!buffer_append_byte(decoded, c))
            return refuse(scan, scan->line, "the string is too long, expected at most 4096 octets");
    }
    scan->pos++;
    return true;
}

static bool scan_string(struct scan *scan)
{
    struct buffer decoded;
    if (scan->expect == EXPECT_NAME)
        return refuse(scan, scan->line,
                      "unexpected string, expected a name (or \",\" between values)");
    buffer_init(&decoded, CONFIG_STRING_MAX);
    bool ok = scan_string_into(scan, peek(scan, 0), &decoded);
    if (ok)
        put_string(&scan->syntax->text, buffer_bytes(&decoded));
    buffer_fini(&decoded);
    scan->expect = scan->expect == EXPECT_VALUE ? EXPECT_NAME : EXPECT_AFTER_NAME;
    return ok;
}

static bool scan_brace(struct scan *scan, bool opens)
{
    if (opens && scan->depth == CONFIG_DEPTH_MAX)
        return refuse(scan, scan->line, "too many \"{\" within each other, expected at most 4");
    if (!opens && scan->depth == 0)
        return refuse(scan, scan->line, "\"}\" without \"{\", expected an option or a section");
    if (opens)
        scan->open_lines[scan->depth++] = scan->line;
    else
        scan->depth--;
    /* "= {" opens a list, any other a section. */
    if (!opens || scan->expect != EXPECT_VALUE)
        scan->expect = EXPECT_NAME;
    return true;
}

static bool scan_token(struct scan *scan)
{
    uint8_t c = peek(scan, 0);
    if (starts_comment(scan))
        return skip_comment(scan);
    if (c == '"' || c == '\'')
        return scan_string(scan);
    if (is_word(c))
        return scan_word(scan);
    if ((c == '{' || c == '}') && !scan_brace(scan, c == '{'))
        return false;
    if (c == '+' && peek(scan, 1) == '=') {
        buffer_append_str(&scan->syntax->text, "+=");
        scan->pos += 2;
        scan->expect = EXPECT_VALUE;
        return true;
    }
    if (!c || !strchr(" \t\r\n{}=,", c))
        return refuse(scan, scan->line,
                      "unexpected character, expected a name, a value or a section (values with "
                      "special characters in quotes)");
    if (c == '\n')
        scan->line++;
    if (c == '=' || c == ',')
        scan->expect = EXPECT_VALUE;
    buffer_append_byte(&scan->syntax->text, c == '\r' ? ' ' : c);
    scan->pos++;
    return true;
}
