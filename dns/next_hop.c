/* The configuration's next hop: text to struct next_hop.
 * It looks nothing up, and it does not convert U-labels. */
#include "base/memory.h"
#include "dns/domain_name.h"
#include "dns/route.h"

static struct bytes take_transport(struct bytes text, enum transport *out)
{
    *out = TRANSPORT_SMTP;
    if (bytes_starts_nocase(text, "smtp:"))
        return bytes_from(text, 5);
    if (!bytes_starts_nocase(text, "lmtp:"))
        return text;
    *out = TRANSPORT_LMTP;
    return bytes_from(text, 5);
}

/* rest is "" or ":PORT". */
static bool parse_port(struct bytes rest, uint16_t *out)
{
    uint64_t port = 0;
    if (rest.len == 0) {
        *out = 0;
        return true;
    }
    if (rest.at[0] != ':' || !bytes_to_u64(bytes_from(rest, 1), UINT16_MAX, &port) || port == 0)
        return false;
    *out = (uint16_t)port;
    return true;
}

static bool parse_host(struct bytes host, struct next_hop *out, char name[DOMAIN_NAME_MAX + 1],
                       const char **out_why)
{
    struct host_address ignored;
    if (host_address_parse(host, &ignored)) {
        *out_why = "an address needs brackets around it, as in [192.0.2.1]:25";
        return false;
    }
    if (!domain_name_normalise(host, name) || domain_name_is_numeric(name)) {
        *out_why = "expected a host name of letters, digits, hyphens and dots (A-labels)";
        return false;
    }
    out->host = mem_strdup(name);
    return true;
}

static bool parse_bracketed(struct bytes inner, struct next_hop *out,
                            char name[DOMAIN_NAME_MAX + 1], const char **out_why)
{
    out->is_bracketed = true;
    if (bytes_starts_nocase(inner, "IPv6:"))
        inner = bytes_from(inner, 5);
    if (!host_address_parse(inner, &out->address))
        return parse_host(inner, out, name, out_why);
    char text[46];
    host_address_format(&out->address, text);
    out->is_literal = true;
    out->host = mem_strdup(text);
    return true;
}

bool next_hop_parse(const char *text, struct next_hop *out, const char **out_why)
{
    char name[DOMAIN_NAME_MAX + 1];
    *out = (struct next_hop){0};
    struct bytes rest = take_transport(bytes_trim(bytes_of(text)), &out->transport);
    bool is_bracketed = rest.len && rest.at[0] == '[';
    size_t end = bytes_find(rest, is_bracketed ? ']' : ':');
    if (is_bracketed && end == rest.len) {
        *out_why = "the closing bracket is missing";
        return false;
    }
    if (!is_bracketed &&
        bytes_find(bytes_from(rest, end + 1), ':') < bytes_from(rest, end + 1).len) {
        *out_why = "an IPv6 address needs brackets around it, as in [2001:db8::1]:25";
        return false;
    }
    if (!parse_port(bytes_from(rest, is_bracketed ? end + 1 : end), &out->port)) {
        *out_why = "expected a port from 1 to 65535 after the host";
        return false;
    }
    bool ok = is_bracketed
                  ? parse_bracketed((struct bytes){rest.at + 1, end - 1}, out, name, out_why)
                  : parse_host(bytes_first(rest, end), out, name, out_why);
    if (ok)
        out->text = mem_strdup(text);
    return ok;
}

void next_hop_fini(struct next_hop *next_hop)
{
    free(next_hop->host);
    free(next_hop->text);
    *next_hop = (struct next_hop){0};
}
