/* The file of TLS sessions. The first octet chooses: even, the rest is the file as it is; odd, the
 * rest is its records, and head and checksum are right, so that they are reached. What is taken in
 * is written again and must come back. */
#include "base/check.h"
#include "base/memory.h"
#include "tls/session_file.h"

#include <openssl/sha.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { NOW_MS = 1000000000, OUT_MAX = 64 << 20 };

static SSL_CTX *ssl_ctx;

static struct session_cache *new_cache(void)
{
    return session_cache_new(
        &(struct session_cache_options){.entries = 64, .bytes = 1 << 20, .stripes = 1});
}

static void put_tail(struct buffer *file)
{
    static const uint8_t end[4];
    uint8_t digest[SHA256_DIGEST_LENGTH];
    CHECK(buffer_append(file, end, sizeof end));
    SHA256(file->at, file->len, digest);
    CHECK(buffer_append(file, digest, sizeof digest));
}

static void write_again(struct session_cache *cache, struct buffer *out)
{
    struct session_cursor cursor = {0};
    struct session_saved *batch = mem_zalloc(32, sizeof *batch);
    session_file_put_head(out, NOW_MS);
    for (size_t num; (num = session_cache_copy(cache, &cursor, batch, 32)) > 0;) {
        for (size_t i = 0; i < num; i++) {
            (void)session_file_put_record(out, &batch[i]);
            for (unsigned k = 0; k < batch[i].num; k++)
                SSL_SESSION_free(batch[i].items[k].session);
        }
    }
    put_tail(out);
    free(batch);
}

static void check_round_trip(struct session_cache *cache)
{
    struct session_cache_counters before, after;
    struct session_file_counts counts;
    struct bytes records;
    struct buffer out;
    struct session_cache *again = new_cache();
    buffer_init(&out, OUT_MAX);
    write_again(cache, &out);
    CHECK(session_file_open(buffer_bytes(&out), &records) == SESSION_FILE_GOOD);
    session_file_restore(again, ssl_ctx, records, NOW_MS, &counts);
    session_cache_read_counters(cache, &before);
    session_cache_read_counters(again, &after);
    CHECK(before.sessions == after.sessions && after.bytes <= 1 << 20);
    session_cache_free(again);
    buffer_fini(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct session_file_counts counts;
    struct bytes records, in = bytes_from(bytes_make(data, size), 1);
    struct buffer file;
    if (!ssl_ctx)
        ssl_ctx = SSL_CTX_new(TLS_with_buffers_method());
    buffer_init(&file, OUT_MAX);
    if (size && data[0] % 2)
        session_file_put_head(&file, NOW_MS);
    CHECK(in.len == 0 || buffer_append_bytes(&file, in));
    if (size && data[0] % 2)
        put_tail(&file);
    if (session_file_open(buffer_bytes(&file), &records) == SESSION_FILE_GOOD) {
        struct session_cache *cache = new_cache();
        session_file_restore(cache, ssl_ctx, records, NOW_MS, &counts);
        check_round_trip(cache);
        session_cache_free(cache);
    }
    buffer_fini(&file);
    return 0;
}
