/* Any content, cut anywhere: the scan counts what the reader writes, memory and file give the same,
 * and what is written is safe to frame. The first five octets choose cuts and portions. */
#include "base/check.h"
#include "queue/content.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CONTROL_LEN = 5 };

static struct buffer read_all(const struct content *content, enum content_framing framing, int fd)
{
    struct content_reader reader;
    struct buffer out;
    struct bytes run;
    enum content_status status;
    buffer_init(&out, SIZE_MAX);
    content_reader_init(&reader, content, framing, fd);
    while ((status = content_reader_next(&reader, &run)) == CONTENT_MORE) {
        CHECK(run.len > 0);
        buffer_append_bytes(&out, run);
    }
    CHECK(status == CONTENT_END);
    content_reader_fini(&reader);
    return out;
}

/* CRLF lines only, none too long, each leading dot doubled when stuffed. */
static void check_lines(struct bytes wire, bool stuffed, bool folded)
{
    while (wire.len) {
        size_t lf = bytes_find(wire, '\n');
        CHECK(lf < wire.len && lf > 0 && wire.at[lf - 1] == '\r');
        struct bytes line = bytes_first(wire, lf - 1);
        bool has_dot = line.len && line.at[0] == '.';
        CHECK(bytes_find(line, '\r') == line.len && bytes_find(line, '\0') == line.len);
        if (stuffed && has_dot)
            CHECK(line.len > 1 && line.at[1] == '.');
        if (folded)
            CHECK(line.len <= CONTENT_LINE_MAX + (size_t)(stuffed && has_dot));
        wire = bytes_from(wire, lf + 1);
    }
}

static void check_reads(struct content *content, struct bytes file, int fd)
{
    bool folded = content->long_lines == CONTENT_LONG_FOLD;
    for (int framing = CONTENT_DATA; framing <= CONTENT_CHUNKS; framing++) {
        content->file = file;
        struct buffer memory = read_all(content, (enum content_framing)framing, -1);
        content->file = (struct bytes){0};
        struct buffer streamed = read_all(content, (enum content_framing)framing, fd);
        CHECK(bytes_equal(buffer_bytes(&memory), buffer_bytes(&streamed)));
        check_lines(buffer_bytes(&memory), framing == CONTENT_DATA, folded);
        if (framing == CONTENT_CHUNKS)
            CHECK(memory.len == content->class.wire_len);
        buffer_fini(&memory);
        buffer_fini(&streamed);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < CONTROL_LEN)
        return 0;
    struct bytes file = bytes_make(data + CONTROL_LEN, size - CONTROL_LEN);
    struct envelope_cut cuts[2] = {{data[0], 1u + data[1]}, {0, 1u + data[2]}};
    cuts[1].offset = cuts[0].offset + cuts[0].len + 1u + data[3] / 2;
    struct envelope envelope = {.cuts = cuts, .num_cuts = data[4] % 3};
    while (envelope.num_cuts &&
           cuts[envelope.num_cuts - 1].offset + cuts[envelope.num_cuts - 1].len > file.len)
        envelope.num_cuts--;
    struct content content = {.file_len = file.len,
                              .cuts = cuts,
                              .num_cuts = envelope.num_cuts,
                              .long_lines = data[4] & 128 ? CONTENT_LONG_SEND : CONTENT_LONG_FOLD};
    struct content_scan scan;
    content_scan_init(&scan, &envelope, content.long_lines);
    size_t part = 1u + data[3];
    for (size_t at = 0; at < file.len; at += part)
        content_scan_feed(&scan, bytes_first(bytes_from(file, at), part));
    content.class = content_scan_end(&scan, 0);
    int fd = memfd_create("content", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, file.at, file.len) == (ssize_t)file.len);
    check_reads(&content, file, fd);
    close(fd);
    return 0;
}
