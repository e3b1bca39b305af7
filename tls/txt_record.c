/* Delimiters, names and values of fields. What a field means is its record's to know. */
#include "tls/txt_record.h"

enum { NAME_LEN_MAX = 32 };

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
    if (name.len == 0 || name.len > NAME_LEN_MAX || !ascii_is_alphanumeric(name.at[0]))
        return false;
    for (size_t i = 1; i < name.len; i++)
        if (!ascii_is_alphanumeric(name.at[i]) && !memchr("_-.", name.at[i], 3))
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

const struct answer_record *txt_record_only(const struct answer *answer,
                                            bool (*is_one)(struct bytes text), unsigned *out_num)
{
    const struct answer_record *only = NULL;
    *out_num = 0;
    for (size_t i = 0; answer->status == ANSWER_RECORDS && i < answer->num_records; i++) {
        if (!is_one(answer->records[i].data))
            continue;
        only = &answer->records[i];
        ++*out_num;
    }
    return *out_num == 1 ? only : NULL;
}
