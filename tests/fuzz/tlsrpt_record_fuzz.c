/* Any text as a TLSRPT TXT record: what is taken of it fits its bounds, lies in the text, and a
 * record written of one endpoint's URI gives that endpoint again. */
#include "base/check.h"
#include "tls/tlsrpt_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_again(const struct tlsrpt_endpoint *endpoint)
{
    static const char head[] = "v=TLSRPTv1;rua=";
    struct tlsrpt_record again;
    char text[sizeof head + TLSRPT_URI_MAX];
    memcpy(text, head, sizeof head - 1);
    memcpy(text + sizeof head - 1, endpoint->uri.at, endpoint->uri.len);
    CHECK(tlsrpt_record_parse(bytes_make(text, sizeof head - 1 + endpoint->uri.len), &again));
    CHECK(again.num == 1 && again.endpoints[0].scheme == endpoint->scheme);
    CHECK(strcmp(again.endpoints[0].host, endpoint->host) == 0);
    CHECK(strcmp(again.endpoints[0].mailbox, endpoint->mailbox) == 0);
    CHECK(bytes_equal(again.endpoints[0].target, endpoint->target));
}

static bool is_inside(struct bytes part, const uint8_t *data, size_t size)
{
    return part.len == 0 || (part.at >= data && part.at + part.len <= data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct tlsrpt_record record;
    if (!tlsrpt_record_parse(bytes_make(data, size), &record))
        return 0;
    CHECK(tlsrpt_record_is_one(bytes_make(data, size)) && record.num <= TLSRPT_ENDPOINTS_MAX);
    for (size_t i = 0; i < record.num; i++) {
        const struct tlsrpt_endpoint *endpoint = &record.endpoints[i];
        CHECK(endpoint->uri.len && endpoint->uri.len <= TLSRPT_URI_MAX);
        CHECK(is_inside(endpoint->uri, data, size) && is_inside(endpoint->target, data, size));
        if (endpoint->scheme == TLSRPT_HTTPS)
            CHECK(endpoint->host[0] && endpoint->port && !endpoint->mailbox[0]);
        else
            CHECK(strchr(endpoint->mailbox, '@') && !strpbrk(endpoint->mailbox, "\r\n "));
        check_again(endpoint);
    }
    return 0;
}
