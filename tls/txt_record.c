/* Delimiters, names and values of fields. What a field means is its record's to know. */
#include "tls/txt_record.h"

enum { NAME_LEN_MAX = 32 };

static bool is_alphanumeric(uint8_t c)
{
    uint8_t lower = ascii_lower(c);
    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9');
}

static struct bytes skip_blanks(struct bytes text)
{
    while (text.len && (text.at[0] == ' ' || text.at[0] == '\t'))
        text = bytes_from(text, 1);
    return text;
}

bool txt_record_take_delimiter(struct bytes *text)
{
    struct bytes rest = skip_blanks(*text);
    if (!rest.len || rest.at[0] != ';')
        return false;
    *text = skip_blanks(bytes_from(rest, 1));
    return true;
}

bool txt_record_has_version(struct bytes text, const char *version, struct bytes *rest)
{
    size_t len = strlen(version);
    struct bytes behind = bytes_from(text, len);
    *rest = behind;
    return bytes_equal(bytes_first(text, len), bytes_of(version)) &&
           txt_record_take_delimiter(&behind);
}

static bool is_name(struct bytes name)
{
    if (name.len == 0 || name.len > NAME_LEN_MAX || !is_alphanumeric(name.at[0]))
        return false;
    for (size_t i = 1; i < name.len; i++)
        if (!is_alphanumeric(name.at[i]) && !memchr("_-.", name.at[i], 3))
            return false;
    return true;
}

bool txt_record_take_name(struct bytes *text, struct bytes *out_name)
{
    struct bytes name = bytes_first(*text, bytes_find(*text, '='));
    if (name.len == text->len || !is_name(name))
        return false;
    *text = bytes_from(*text, name.len + 1);
    *out_name = name;
    return true;
}

bool txt_record_take_value(struct bytes *text, struct bytes *out_value)
{
    size_t len = 0;
    while (len < text->len && text->at[len] > ' ' && text->at[len] < 0x7f && text->at[len] != '=' &&
           text->at[len] != ';')
        len++;
    *out_value = bytes_first(*text, len);
    *text = bytes_from(*text, len);
    return len > 0;
}
