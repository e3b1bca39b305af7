/* Any lines as the file of MTA-STS policies, with the checksum set right: what is read is written
 * the same, and read again. */
#include "base/check.h"
#include "tls/sts_cache.h"

#include <openssl/sha.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW_S = 1000000 };

static void seal(struct bytes lines, struct buffer *out)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    buffer_append_str(out, "sluice MTA-STS cache 1\n");
    buffer_append_bytes(out, lines);
    SHA256(out->at, out->len, digest);
    buffer_append_str(out, "sha256 ");
    for (size_t i = 0; i < sizeof digest; i++)
        buffer_printf(out, "%02x", digest[i]);
    buffer_append_byte(out, '\n');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct sts_cache_options options = {.entries = 16, .retry_s = 300};
    struct sts_cache *cache = sts_cache_new(&options), *again = sts_cache_new(&options);
    struct buffer file, first, second;
    buffer_init(&file, SIZE_MAX);
    buffer_init(&first, SIZE_MAX);
    buffer_init(&second, SIZE_MAX);
    seal(bytes_make(data, size), &file);
    bool ok = sts_cache_read(cache, buffer_bytes(&file), NOW_S);
    CHECK(ok || sts_cache_num_entries(cache) == 0);
    sts_cache_write(cache, NOW_S, &first);
    CHECK(sts_cache_read(again, buffer_bytes(&first), NOW_S));
    sts_cache_write(again, NOW_S, &second);
    CHECK(bytes_equal(buffer_bytes(&first), buffer_bytes(&second)));
    sts_cache_free(cache);
    sts_cache_free(again);
    buffer_fini(&file);
    buffer_fini(&first);
    buffer_fini(&second);
    return 0;
}
