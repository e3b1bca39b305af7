/* Domains in A-label form and address literals in canonical form (RFC 5890, RFC 5321 4.1.3).
 * It does not ask the DNS. */
#include "base/memory.h"
#include "queue/address_scan.h"
#include "queue/utf8.h"

#include <arpa/inet.h>
#include <idn2.h>

enum { LABEL_MAX = 63 };

static bool is_label_octet(uint8_t c)
{
    /* The underscore is no host name (RFC 1123 2.1), but names with it exist and receive mail. */
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
}

/* Checks one label; *numeric is cleared unless it consists of digits. */
static const char *check_label(struct bytes label, bool *numeric)
{
    if (label.len == 0)
        return "a domain with an empty label";
    if (label.len > LABEL_MAX)
        return "a domain with a label over 63 octets";
    if (label.at[0] == '-' || label.at[label.len - 1] == '-')
        return "a domain with a label that begins or ends with a hyphen";
    for (size_t i = 0; i < label.len; i++) {
        if (!is_label_octet(label.at[i]))
            return "a domain with a character that no domain has";
        if (label.at[i] < '0' || label.at[i] > '9')
            *numeric = false;
    }
    return NULL;
}

static const char *check_labels(struct bytes domain)
{
    bool numeric = true;
    while (domain.len) {
        size_t dot = bytes_find(domain, '.');
        const char *why = check_label(bytes_first(domain, dot), &numeric);
        if (why)
            return why;
        domain = bytes_from(domain, dot + 1);
    }
    return numeric ? "an IP address without brackets as domain" : NULL;
}

/* ASCII text, in any case, maybe with the root's dot. */
static const char *canonical_ascii(struct bytes text, char out[ADDRESS_DOMAIN_MAX + 1])
{
    if (text.len && text.at[text.len - 1] == '.')
        text.len--;
    if (text.len == 0)
        return "an empty domain";
    if (text.len > ADDRESS_DOMAIN_MAX)
        return "a domain that is too long";
    if (text.at[text.len - 1] == '.')
        return "a domain with an empty label";
    for (size_t i = 0; i < text.len; i++)
        out[i] = (char)ascii_lower(text.at[i]);
    out[text.len] = '\0';
    return check_labels(bytes_make(out, text.len));
}

const char *address_domain_canonical(struct bytes text, char out[ADDRESS_DOMAIN_MAX + 1])
{
    if (text.len > ADDRESS_DOMAIN_TEXT_MAX)
        return "a domain that is too long";
    if (!utf8_has_high_bit(text))
        return canonical_ascii(text, out);
    if (!utf8_is_valid(text))
        return "a domain that is not valid UTF-8";
    if (bytes_find(text, '\0') != text.len)
        return "a domain with a character that no domain has";
    /* IDNA2008 look-up with the mappings of UTS 46, non-transitional: a sharp s stays one. */
    char *source = mem_strndup(text.at, text.len);
    uint8_t *ascii = NULL;
    int result = idn2_lookup_u8((const uint8_t *)source, &ascii, IDN2_NONTRANSITIONAL);
    const char *why = result == IDN2_OK ? canonical_ascii(bytes_of((const char *)ascii), out)
                                        : "a domain that IDNA does not allow";
    if (result == IDN2_OK)
        idn2_free(ascii);
    free(source);
    return why;
}

const char *address_literal_canonical(struct bytes text, char out[ADDRESS_DOMAIN_MAX + 1])
{
    static const char refused[] = "an address literal that is neither IPv4 nor IPv6";
    char plain[INET6_ADDRSTRLEN];
    char canonical[INET6_ADDRSTRLEN];
    uint8_t address[16];
    text = bytes_trim(text);
    bool is_ipv6 = bytes_starts_nocase(text, "IPv6:");
    text = bytes_from(text, is_ipv6 ? strlen("IPv6:") : 0);
    if (text.len == 0 || text.len >= sizeof plain || bytes_find(text, '\0') != text.len)
        return refused;
    memcpy(plain, text.at, text.len);
    plain[text.len] = '\0';
    int family = is_ipv6 ? AF_INET6 : AF_INET;
    if (inet_pton(family, plain, address) != 1 ||
        !inet_ntop(family, address, canonical, sizeof canonical))
        return refused;
    size_t len = strlen(canonical);
    char *to = out;
    to = mempcpy(to, is_ipv6 ? "[IPv6:" : "[", is_ipv6 ? strlen("[IPv6:") : 1);
    to = mempcpy(to, canonical, len);
    memcpy(to, "]", 2);
    return NULL;
}

char *address_domain_to_ascii(struct bytes domain)
{
    char out[ADDRESS_DOMAIN_MAX + 1];
    return address_domain_canonical(domain, out) ? NULL : mem_strdup(out);
}
