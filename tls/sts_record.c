/* One MTA-STS TXT record: version, id, and extensions, which are checked for their form only.
 * That a name has exactly one of them is for the caller to count. */
#include "tls/sts_record.h"

static const char version[] = "v=STSv1";

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

/* *WSP ";" *WSP */
static bool take_delimiter(struct bytes *text)
{
    struct bytes rest = skip_blanks(*text);
    if (!rest.len || rest.at[0] != ';')
        return false;
    *text = skip_blanks(bytes_from(rest, 1));
    return true;
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

/* One or more visible octets but "=" and ";". */
static size_t value_len(struct bytes text)
{
    size_t len = 0;
    while (len < text.len && text.at[len] > ' ' && text.at[len] < 0x7f && text.at[len] != '=' &&
           text.at[len] != ';')
        len++;
    return len;
}

static bool is_id(struct bytes value)
{
    for (size_t i = 0; i < value.len; i++)
        if (!is_alphanumeric(value.at[i]))
            return false;
    return value.len <= STS_ID_MAX;
}

/* A field and no more. An id that comes twice says nothing. */
static bool take_field(struct bytes *text, struct sts_record *found)
{
    struct bytes name = bytes_first(*text, bytes_find(*text, '='));
    struct bytes rest = bytes_from(*text, name.len + 1);
    struct bytes value = bytes_first(rest, value_len(rest));
    if (!is_name(name) || value.len == 0)
        return false;
    if (bytes_equal(name, bytes_of("id"))) {
        if (found->id[0] || !is_id(value))
            return false;
        memcpy(found->id, value.at, value.len);
    }
    *text = bytes_from(rest, value.len);
    return true;
}

bool sts_record_is_one(struct bytes text)
{
    struct bytes rest = bytes_from(text, sizeof version - 1);
    return bytes_equal(bytes_first(text, sizeof version - 1), bytes_of(version)) &&
           take_delimiter(&rest);
}

bool sts_record_parse(struct bytes text, struct sts_record *out)
{
    struct sts_record found = {.id = ""};
    struct bytes rest = bytes_from(text, sizeof version - 1);
    if (!sts_record_is_one(text))
        return false;
    while (take_delimiter(&rest) && rest.len)
        if (!take_field(&rest, &found))
            return false;
    if (rest.len || !found.id[0])
        return false;
    *out = found;
    return true;
}
