/* Syntax of domain names in A-label form.
 * It does not convert U-labels: the address grammar has done that. */
#include "dns/domain_name.h"

static bool is_name_octet(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

static struct bytes without_final_dot(struct bytes text)
{
    return text.len && text.at[text.len - 1] == '.' ? bytes_first(text, text.len - 1) : text;
}

bool domain_name_normalise(struct bytes text, char out[DOMAIN_NAME_MAX + 1])
{
    text = without_final_dot(text);
    if (text.len == 0 || text.len > DOMAIN_NAME_MAX)
        return false;
    size_t label_len = 0;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = ascii_lower(text.at[i]);
        if (c == '.') {
            if (label_len == 0)
                return false;
            label_len = 0;
        } else if (!is_name_octet(c) || ++label_len > DOMAIN_LABEL_MAX) {
            return false;
        }
        out[i] = (char)c;
    }
    out[text.len] = '\0';
    return label_len > 0;
}

bool domain_name_is_numeric(const char *name)
{
    const char *dot = strrchr(name, '.');
    const char *last = dot ? dot + 1 : name;
    return *last && strspn(last, "0123456789") == strlen(last);
}

bool domain_name_is_localhost(const char *name)
{
    struct bytes text = without_final_dot(bytes_of(name));
    struct bytes reserved = bytes_of("localhost");
    if (text.len < reserved.len)
        return false;
    size_t before = text.len - reserved.len;
    return bytes_equal_nocase(bytes_from(text, before), reserved) &&
           (before == 0 || text.at[before - 1] == '.');
}

bool domain_name_equal(const char *a, const char *b)
{
    return bytes_equal_nocase(without_final_dot(bytes_of(a)), without_final_dot(bytes_of(b)));
}
