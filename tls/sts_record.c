/* One MTA-STS TXT record: version, id, and extensions, which are checked for their form only.
 * That a name has exactly one of them is for the caller to count. */
#include "tls/sts_record.h"

#include "tls/txt_record.h"

static const char version[] = "v=STSv1";

static bool is_id(struct bytes value)
{
    for (size_t i = 0; i < value.len; i++)
        if (!ascii_is_alphanumeric(value.at[i]))
            return false;
    return value.len <= STS_ID_MAX;
}

/* A field and no more. An id that comes twice says nothing. */
static bool take_field(struct bytes *text, struct sts_record *found)
{
    struct bytes name, value;
    if (!txt_record_take_name(text, &name) || !txt_record_take_value(text, &value))
        return false;
    if (!bytes_equal(name, bytes_of("id")))
        return true;
    if (found->id[0] || !is_id(value))
        return false;
    memcpy(found->id, value.at, value.len);
    return true;
}

bool sts_record_is_one(struct bytes text)
{
    struct bytes rest;
    return txt_record_has_version(text, version, &rest);
}

bool sts_record_parse(struct bytes text, struct sts_record *out)
{
    struct sts_record found = {.id = ""};
    struct bytes rest;
    if (!txt_record_has_version(text, version, &rest))
        return false;
    while (txt_record_take_delimiter(&rest) && rest.len)
        if (!take_field(&rest, &found))
            return false;
    if (rest.len || !found.id[0])
        return false;
    *out = found;
    return true;
}
