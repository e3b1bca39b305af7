/* NOTIFY, ORCPT and xtext: words to values and back.
 * It decides nothing about who is told what: report.c of the router does. */
#include "queue/dsn_option.h"

#include "base/memory.h"

#include <stdio.h>

static const struct {
    const char *word;
    uint8_t bit;
} notify_words[] = {{"NEVER", NOTIFY_NEVER},
                    {"SUCCESS", NOTIFY_SUCCESS},
                    {"FAILURE", NOTIFY_FAILURE},
                    {"DELAY", NOTIFY_DELAY}};

enum { NUM_NOTIFY_WORDS = sizeof notify_words / sizeof *notify_words };

static uint8_t notify_bit(struct bytes word)
{
    for (size_t i = 0; i < NUM_NOTIFY_WORDS; i++)
        if (bytes_equal_nocase(word, bytes_of(notify_words[i].word)))
            return notify_words[i].bit;
    return 0;
}

bool dsn_notify_parse(struct bytes text, uint8_t *out)
{
    uint8_t notify = 0;
    for (bool more = true; more;) {
        size_t comma = bytes_find(text, ',');
        uint8_t bit = notify_bit(bytes_trim(bytes_first(text, comma)));
        if (!bit)
            return false;
        notify |= bit;
        more = comma < text.len;
        text = bytes_from(text, comma + 1);
    }
    if ((notify & NOTIFY_NEVER) && notify != NOTIFY_NEVER)
        return false;
    *out = notify;
    return true;
}

void dsn_notify_print(uint8_t notify, char out[DSN_NOTIFY_TEXT])
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < NUM_NOTIFY_WORDS; i++)
        if (notify & notify_words[i].bit)
            len += (size_t)snprintf(out + len, DSN_NOTIFY_TEXT - len, "%s%s", len ? "," : "",
                                    notify_words[i].word);
}

/* RFC 3461 4: upper case only, so that each text has one form. */
static int hex_value(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool is_xchar(uint8_t c)
{
    return c > ' ' && c <= '~' && c != '+' && c != '=';
}

bool xtext_decode(struct bytes text, struct buffer *out)
{
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.at[i];
        if (c != '+') {
            if (!is_xchar(c))
                return false;
            buffer_append_byte(out, c);
            continue;
        }
        int high = i + 2 < text.len ? hex_value(text.at[i + 1]) : -1;
        int low = i + 2 < text.len ? hex_value(text.at[i + 2]) : -1;
        if (high < 0 || low < 0)
            return false;
        buffer_append_byte(out, (uint8_t)(high << 4 | low));
        i += 2;
    }
    return !out->overflow;
}

void xtext_encode(struct bytes text, struct buffer *out)
{
    for (size_t i = 0; i < text.len; i++)
        if (is_xchar(text.at[i]))
            buffer_append_byte(out, text.at[i]);
        else
            buffer_printf(out, "+%02X", text.at[i]);
}

/* An atom of RFC 3461 4.2, as far as the registered types go: rfc822, utf-8, x400 ... */
static bool is_address_type(struct bytes type)
{
    for (size_t i = 0; i < type.len; i++) {
        uint8_t c = ascii_lower(type.at[i]);
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return type.len > 0;
}

char *dsn_orcpt_parse(struct bytes text)
{
    size_t semicolon = bytes_find(text, ';');
    struct buffer out;
    if (text.len > DSN_ORCPT_MAX || semicolon + 1 >= text.len ||
        !is_address_type(bytes_first(text, semicolon)))
        return NULL;
    buffer_init(&out, DSN_ORCPT_MAX);
    buffer_append(&out, text.at, semicolon + 1);
    bool ok = xtext_decode(bytes_from(text, semicolon + 1), &out);
    for (size_t i = 0; i < out.len; i++)
        ok &= out.at[i] >= ' ' && out.at[i] <= '~';
    char *orcpt = ok ? mem_strndup(out.at, out.len) : NULL;
    buffer_fini(&out);
    return orcpt;
}
