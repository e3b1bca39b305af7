/* Any octets as an HTTP response: read whole and an octet at a time it comes to the same. */
#include "base/check.h"
#include "tls/http_response.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 1000 };

static bool read_by(struct http_response *response, struct bytes octets, size_t step)
{
    bool ok = true;
    http_response_init(response, BODY_MAX);
    for (; ok && octets.len; octets = bytes_from(octets, step))
        ok = http_response_feed(response, bytes_first(octets, step));
    return ok && http_response_end(response, true);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_response whole, split;
    bool ok = read_by(&whole, bytes_make(data, size), size + 1);
    CHECK(read_by(&split, bytes_make(data, size), 1) == ok);
    CHECK(ok == !whole.problem && whole.body.len <= BODY_MAX);
    if (ok) {
        CHECK(http_response_status(&whole) >= 200);
        CHECK(http_response_status(&whole) == http_response_status(&split));
        CHECK(bytes_equal(buffer_bytes(&whole.body), buffer_bytes(&split.body)));
        CHECK(http_response_has_media_type(&whole, "text/plain") ==
              http_response_has_media_type(&split, "text/plain"));
    }
    http_response_fini(&whole);
    http_response_fini(&split);
    return 0;
}
