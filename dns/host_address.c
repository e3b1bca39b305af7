/* IPv4 and IPv6 addresses: text, sockaddr, and which of them are never a mail host.
 * It knows nothing of this machine's own interfaces: the resolver does. */
#include "base/check.h"
#include "dns/route.h"

#include <arpa/inet.h>
#include <netinet/in.h>

static const uint8_t mapped_prefix[12] = {[10] = 0xff, [11] = 0xff};

void host_address_format(const struct host_address *address, char out[46])
{
    int family = address->family == 6 ? AF_INET6 : AF_INET;
    CHECK(inet_ntop(family, address->octets, out, INET6_ADDRSTRLEN) != NULL);
}

bool host_address_parse(struct bytes text, struct host_address *out)
{
    char copy[INET6_ADDRSTRLEN];
    if (text.len == 0 || text.len >= sizeof copy || bytes_find(text, '\0') != text.len)
        return false;
    memcpy(copy, text.at, text.len);
    copy[text.len] = '\0';
    struct host_address address = {.family = bytes_find(text, ':') < text.len ? 6 : 4};
    if (inet_pton(address.family == 6 ? AF_INET6 : AF_INET, copy, address.octets) != 1)
        return false;
    *out = address;
    return true;
}

bool host_address_parse_literal(struct bytes text, struct host_address *out)
{
    if (text.len < 2 || text.at[0] != '[' || text.at[text.len - 1] != ']')
        return false;
    struct bytes inner = {text.at + 1, text.len - 2};
    struct host_address address;
    bool is_tagged = bytes_starts_nocase(inner, "IPv6:");
    if (!host_address_parse(is_tagged ? bytes_from(inner, 5) : inner, &address))
        return false;
    if (is_tagged && address.family != 6)
        return false;
    *out = address;
    return true;
}

void host_address_to_sockaddr(const struct host_address *address, uint16_t port,
                              struct sockaddr_storage *out, socklen_t *out_len)
{
    memset(out, 0, sizeof *out);
    if (address->family == 6) {
        struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)out;
        in6->sin6_family = AF_INET6;
        in6->sin6_port = htons(port);
        memcpy(&in6->sin6_addr, address->octets, 16);
        *out_len = sizeof *in6;
    } else {
        struct sockaddr_in *in = (struct sockaddr_in *)out;
        in->sin_family = AF_INET;
        in->sin_port = htons(port);
        memcpy(&in->sin_addr, address->octets, 4);
        *out_len = sizeof *in;
    }
}

bool host_address_from_sockaddr(const struct sockaddr *from, struct host_address *out)
{
    *out = (struct host_address){0};
    if (from && from->sa_family == AF_INET) {
        out->family = 4;
        memcpy(out->octets, &((const struct sockaddr_in *)(const void *)from)->sin_addr, 4);
    } else if (from && from->sa_family == AF_INET6) {
        out->family = 6;
        memcpy(out->octets, &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr, 16);
    }
    return out->family != 0;
}

/* ::ffff:192.0.2.1 reaches the same host as 192.0.2.1, so both are judged alike. */
static struct host_address unmapped(const struct host_address *address)
{
    struct host_address plain = *address;
    if (address->family == 6 && memcmp(address->octets, mapped_prefix, sizeof mapped_prefix) == 0) {
        plain = (struct host_address){.family = 4};
        memcpy(plain.octets, address->octets + 12, 4);
    }
    return plain;
}

bool host_address_equal(const struct host_address *a, const struct host_address *b)
{
    struct host_address x = unmapped(a);
    struct host_address y = unmapped(b);
    return x.family == y.family && memcmp(x.octets, y.octets, x.family == 6 ? 16 : 4) == 0;
}

static bool is_local_v4(const uint8_t octets[4])
{
    return octets[0] == 0 || octets[0] == 127 || (octets[0] == 169 && octets[1] == 254) ||
           octets[0] >= 224; /* multicast, reserved, broadcast */
}

static bool is_local_v6(const uint8_t octets[16])
{
    static const uint8_t zeros[12];
    return memcmp(octets, zeros, sizeof zeros) == 0 || /* ::, ::1, the obsolete ::a.b.c.d */
           octets[0] == 0xff || (octets[0] == 0xfe && (octets[1] & 0xc0) == 0x80);
}

bool host_address_is_local(const struct host_address *address)
{
    struct host_address plain = unmapped(address);
    return plain.family == 6 ? is_local_v6(plain.octets) : is_local_v4(plain.octets);
}

bool host_address_is_loopback(const struct host_address *address)
{
    static const uint8_t loopback_v6[16] = {[15] = 1};
    struct host_address plain = unmapped(address);
    return plain.family == 6 ? memcmp(plain.octets, loopback_v6, 16) == 0 : plain.octets[0] == 127;
}
