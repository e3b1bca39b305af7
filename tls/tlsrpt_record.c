/* One TLSRPT TXT record: version, rua, and extensions, which are checked for their form only.
 * That a name has exactly one of them is for the caller to count. */
#include "tls/tlsrpt_record.h"

#include "tls/txt_record.h"

static const char version[] = "v=TLSRPTv1";

enum { HTTPS_PORT = 443 };

/* RFC 3986 2, without the three that RFC 8460 3 wants encoded. */
static bool is_uri_octet(uint8_t c)
{
    return ascii_is_alphanumeric(c) || (c && strchr("-._~:/?#[]@$&'()*+=%", c));
}

/* The URI that *text begins with: scheme ":" rest, with "%" always before two digits. */
static bool take_uri(struct bytes *text, struct bytes *out)
{
    size_t len = 0;
    while (len < text->len && is_uri_octet(text->at[len])) {
        if (text->at[len] == '%' &&
            (len + 2 >= text->len || ascii_hex_value(text->at[len + 1]) < 0 ||
             ascii_hex_value(text->at[len + 2]) < 0))
            return false;
        len++;
    }
    struct bytes uri = bytes_first(*text, len);
    size_t scheme_len = bytes_find(uri, ':');
    if (scheme_len == 0 || scheme_len + 1 >= len || !ascii_is_letter(uri.at[0]))
        return false;
    for (size_t i = 1; i < scheme_len; i++)
        if (!ascii_is_letter(uri.at[i]) && !strchr("0123456789+-.", uri.at[i]))
            return false;
    *out = uri;
    *text = bytes_from(*text, len);
    return true;
}

/* "https://" host [ ":" port ] target. No user, no literal: neither is a receiver's to ask for. */
static bool read_https(struct bytes rest, struct tlsrpt_endpoint *out)
{
    uint64_t port = HTTPS_PORT;
    size_t len = 0;
    while (len < rest.len && !strchr("/?#", rest.at[len]))
        len++;
    struct bytes authority = bytes_first(rest, len);
    size_t colon = bytes_find(authority, ':');
    struct bytes digits = bytes_from(authority, colon + 1);
    if (colon < authority.len && digits.len &&
        (!bytes_to_u64(digits, UINT16_MAX, &port) || port == 0))
        return false;
    if (!domain_name_normalise(bytes_first(authority, colon), out->host) ||
        domain_name_is_numeric(out->host))
        return false;
    rest = bytes_from(rest, len);
    out->target = bytes_first(rest, bytes_find(rest, '#'));
    out->port = (uint16_t)port;
    return true;
}

/* RFC 6068 2; its header fields are not for machines to fill in, and are not used. */
static bool read_mailto(struct bytes rest, struct tlsrpt_endpoint *out)
{
    size_t len = 0;
    rest = bytes_first(rest, bytes_find(rest, '?'));
    for (size_t i = 0; i < rest.len; i++) {
        uint8_t octet = rest.at[i];
        if (octet == '%') {
            octet =
                (uint8_t)(16 * ascii_hex_value(rest.at[i + 1]) + ascii_hex_value(rest.at[i + 2]));
            i += 2;
        }
        if (octet <= ' ' || octet > '~' || len == TLSRPT_MAILBOX_MAX)
            return false;
        out->mailbox[len++] = (char)octet;
    }
    return len > 0 && memchr(out->mailbox, '@', len);
}

static void add_endpoint(struct tlsrpt_record *found, struct bytes uri)
{
    struct tlsrpt_endpoint endpoint = {.uri = uri};
    bool is_useful = false;
    if (found->num == TLSRPT_ENDPOINTS_MAX || uri.len > TLSRPT_URI_MAX)
        return;
    if (bytes_starts_nocase(uri, "https://")) {
        endpoint.scheme = TLSRPT_HTTPS;
        is_useful = read_https(bytes_from(uri, strlen("https://")), &endpoint);
    } else if (bytes_starts_nocase(uri, "mailto:")) {
        endpoint.scheme = TLSRPT_MAILTO;
        is_useful = read_mailto(bytes_from(uri, strlen("mailto:")), &endpoint);
    }
    if (is_useful)
        found->endpoints[found->num++] = endpoint;
}

/* *WSP "," *WSP */
static bool take_comma(struct bytes *text)
{
    struct bytes rest = *text;
    while (rest.len && (rest.at[0] == ' ' || rest.at[0] == '\t'))
        rest = bytes_from(rest, 1);
    if (!rest.len || rest.at[0] != ',')
        return false;
    rest = bytes_from(rest, 1);
    while (rest.len && (rest.at[0] == ' ' || rest.at[0] == '\t'))
        rest = bytes_from(rest, 1);
    *text = rest;
    return true;
}

/* A second rua would contradict the first, or add to it: nobody knows. */
static bool take_field(struct bytes *text, struct tlsrpt_record *found, bool *has_rua)
{
    struct bytes name, value;
    if (!txt_record_take_name(text, &name))
        return false;
    if (!bytes_equal(name, bytes_of("rua")))
        return txt_record_take_value(text, &value);
    if (*has_rua)
        return false;
    *has_rua = true;
    do {
        if (!take_uri(text, &value))
            return false;
        add_endpoint(found, value);
    } while (take_comma(text));
    return true;
}

bool tlsrpt_record_is_one(struct bytes text)
{
    struct bytes rest;
    return txt_record_has_version(text, version, &rest);
}

bool tlsrpt_record_parse(struct bytes text, struct tlsrpt_record *out)
{
    struct bytes rest;
    bool has_rua = false;
    out->num = 0;
    if (!txt_record_has_version(text, version, &rest))
        return false;
    while (txt_record_take_delimiter(&rest) && rest.len)
        if (!take_field(&rest, out, &has_rua))
            return false;
    return rest.len == 0 && has_rua;
}
