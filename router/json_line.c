/* JSON by hand: escaping, numbers, commas; see the header for why there is no tree.
 * It reads no JSON. */
#include "router/json_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void put_key(struct json_line *json, const char *key)
{
    if (json->needs_comma)
        buffer_append_byte(json->out, ',');
    json->needs_comma = true;
    if (!key)
        return;
    buffer_append_byte(json->out, '"');
    buffer_append_str(json->out, key);
    buffer_append(json->out, "\":", 2);
}

void json_line_begin(struct json_line *json, struct buffer *out)
{
    *json = (struct json_line){.out = out};
    buffer_append_byte(out, '{');
}

void json_line_end(struct json_line *json)
{
    buffer_append(json->out, "}\n", 2);
}

void json_line_text(struct json_line *json, const char *key, const char *text)
{
    if (text)
        json_line_bytes(json, key, bytes_of(text));
    else
        json_line_null(json, key);
}

void json_line_bytes(struct json_line *json, const char *key, struct bytes text)
{
    put_key(json, key);
    buffer_append_byte(json->out, '"');
    json_escape(text, json->out);
    buffer_append_byte(json->out, '"');
}

static void put_number(struct buffer *out, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    buffer_append(out, digits + at, sizeof digits - at);
}

void json_line_number(struct json_line *json, const char *key, uint64_t number)
{
    put_key(json, key);
    put_number(json->out, number);
}

void json_line_milli(struct json_line *json, const char *key, int64_t thousandths)
{
    put_key(json, key);
    uint64_t value = (uint64_t)thousandths;
    if (thousandths < 0) {
        buffer_append_byte(json->out, '-');
        value = 0 - value;
    }
    uint64_t rest = value % 1000;
    char fraction[4] = {'.', (char)('0' + rest / 100), (char)('0' + rest / 10 % 10),
                        (char)('0' + rest % 10)};
    put_number(json->out, value / 1000);
    buffer_append(json->out, fraction, sizeof fraction);
}

void json_line_truth(struct json_line *json, const char *key, bool truth)
{
    put_key(json, key);
    buffer_append_str(json->out, truth ? "true" : "false");
}

void json_line_null(struct json_line *json, const char *key)
{
    put_key(json, key);
    buffer_append(json->out, "null", 4);
}

void json_line_time(struct json_line *json, const char *key, int64_t wall_us)
{
    char text[WALL_TIME_LEN + 1];
    wall_time_format(wall_us, text);
    put_key(json, key);
    buffer_append_byte(json->out, '"');
    buffer_append(json->out, text, WALL_TIME_LEN);
    buffer_append_byte(json->out, '"');
}

void json_line_open(struct json_line *json, const char *key, char bracket)
{
    put_key(json, key);
    buffer_append_byte(json->out, (uint8_t)bracket);
    json->needs_comma = false;
}

void json_line_close(struct json_line *json, char bracket)
{
    buffer_append_byte(json->out, (uint8_t)bracket);
    json->needs_comma = true;
}

void wall_time_format(int64_t wall_us, char out[WALL_TIME_LEN + 1])
{
    static const int64_t last_s = INT64_C(253402300799); /* the end of the year 9999 */
    int64_t wall_s = wall_us / 1000000;
    struct tm tm;
    wall_s = wall_us < 0 ? 0 : wall_s > last_s ? last_s : wall_s;
    unsigned ms = wall_us < 0 ? 0 : (unsigned)(wall_us / 1000 % 1000);
    time_t seconds = (time_t)wall_s;
    gmtime_r(&seconds, &tm);
    /* Unsigned and reduced, so that the compiler sees that it fits. */
    snprintf(out, WALL_TIME_LEN + 1, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ",
             (unsigned)(tm.tm_year + 1900) % 10000u, (unsigned)(tm.tm_mon + 1) % 100u,
             (unsigned)tm.tm_mday % 100u, (unsigned)tm.tm_hour % 100u, (unsigned)tm.tm_min % 100u,
             (unsigned)tm.tm_sec % 100u, ms % 1000u);
}

/* RFC 3629 4: no overlong form, no surrogate, nothing above U+10FFFF. */
size_t utf8_char_len(struct bytes text)
{
    uint8_t c = text.len ? text.at[0] : 0xff;
    size_t len = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : c >= 0xe0 && c < 0xf0 ? 3 : 4;
    if (c > 0xf4 || (c >= 0x80 && c < 0xc2) || text.len < len)
        return 0;
    for (size_t i = 1; i < len; i++)
        if ((text.at[i] & 0xc0) != 0x80)
            return 0;
    uint8_t second = len > 1 ? text.at[1] : 0;
    bool bad = (c == 0xe0 && second < 0xa0) || (c == 0xed && second > 0x9f) ||
               (c == 0xf0 && second < 0x90) || (c == 0xf4 && second > 0x8f);
    return bad ? 0 : len;
}

static void escape_one(uint8_t c, struct buffer *out)
{
    if (c == '"' || c == '\\') {
        buffer_append_byte(out, '\\');
        buffer_append_byte(out, c);
    } else if (c < 0x80) {
        buffer_printf(out, "\\u%04x", c);
    } else {
        buffer_append(out, "\xef\xbf\xbd", 3); /* U+FFFD: what it was cannot be told */
    }
}

void json_escape(struct bytes text, struct buffer *out)
{
    size_t start = 0;
    size_t pos = 0;
    while (pos < text.len) {
        uint8_t c = text.at[pos];
        size_t len = utf8_char_len(bytes_from(text, pos));
        if (len && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f) {
            pos += len;
            continue;
        }
        buffer_append(out, text.at + start, pos - start);
        escape_one(c, out);
        start = ++pos;
    }
    buffer_append(out, text.at ? text.at + start : NULL, pos - start);
}
