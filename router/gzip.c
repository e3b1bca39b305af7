/* zlib's deflate with the frame of gzip. It unpacks nothing. */
#include "router/gzip.h"

#include "base/check.h"

#include <zlib.h>

enum { WINDOW_BITS = 15, GZIP_FRAME = 16, MEMORY_LEVEL = 8, PIECE = 16 * 1024 };

/* zlib takes its input as unsigned int: more than that at once is not given to it. */
static bool deflate_all(z_stream *stream, struct bytes content, struct buffer *out)
{
    int status = Z_OK;
    while (status != Z_STREAM_END) {
        struct bytes part = bytes_first(content, INT32_MAX);
        size_t len = out->max - out->len < PIECE ? out->max - out->len : PIECE;
        uint8_t *room = len ? buffer_reserve(out, len) : NULL;
        if (!room)
            return false;
        stream->next_in = (Bytef *)(uintptr_t)part.at;
        stream->avail_in = (uInt)part.len;
        stream->next_out = room;
        stream->avail_out = (uInt)len;
        status = deflate(stream, part.len == content.len ? Z_FINISH : Z_NO_FLUSH);
        CHECK(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR);
        out->len += len - stream->avail_out;
        content = bytes_from(content, part.len - stream->avail_in);
    }
    return true;
}

bool gzip_pack(struct bytes content, struct buffer *out)
{
    z_stream stream = {.zalloc = Z_NULL};
    CHECK(deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS + GZIP_FRAME,
                       MEMORY_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK);
    bool ok = deflate_all(&stream, content, out);
    deflateEnd(&stream);
    return ok;
}
