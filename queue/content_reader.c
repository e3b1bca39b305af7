/* Hands out content as wire bytes: slices of what was read where nothing has to be altered, else
 * an encoded copy. It trusts the scan only for content in memory, which cannot have changed. */
#include "base/check.h"
#include "base/memory.h"
#include "queue/content_line.h"

#include <errno.h>
#include <unistd.h>

enum {
    SLICE_MIN = 4 * 1024,       /* a shorter run is copied along with its neighbours */
    ENCODED_TARGET = 32 * 1024, /* octets encoded in one call, about */
    ENCODE_STEP = 8 * 1024      /* octets taken from the window at a time */
};

void content_reader_init(struct content_reader *reader, const struct content *content,
                         enum content_framing framing, int fd)
{
    CHECK(fd >= 0 || content->file_len == content->file.len);
    *reader = (struct content_reader){.content = content, .framing = framing, .fd = fd};
    /* Every octet of a step may become two ("." and LF), and a fold adds three to 995. */
    buffer_init(&reader->encoded, ENCODED_TARGET + 3 * ENCODE_STEP);
}

void content_reader_fini(struct content_reader *reader)
{
    free(reader->raw);
    buffer_fini(&reader->encoded);
    reader->raw = NULL;
    reader->window = (struct bytes){0};
}

static bool is_folding(const struct content_reader *reader)
{
    return reader->content->long_lines == CONTENT_LONG_FOLD;
}

/* pread() of len octets at offset; fewer only at the end of the file. -1 with errno set. */
static ssize_t read_at(int fd, uint8_t *to, size_t len, uint64_t offset)
{
    size_t got = 0;
    while (got < len) {
        ssize_t n = pread(fd, to + got, len - got, (off_t)(offset + got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        got += (size_t)n;
    }
    return (ssize_t)got;
}

static enum content_status fail_stale(void)
{
    errno = ESTALE;
    return CONTENT_FAILED;
}

/* The file must end where it ended when it was classified. */
static enum content_status check_end(struct content_reader *reader)
{
    uint8_t extra;
    if (reader->fd < 0 || reader->end_checked)
        return CONTENT_END;
    ssize_t got = read_at(reader->fd, &extra, 1, reader->content->file_len);
    if (got != 0)
        return got < 0 ? CONTENT_FAILED : fail_stale();
    reader->end_checked = true;
    return CONTENT_END;
}

static void skip_cuts(struct content_reader *reader)
{
    const struct content *content = reader->content;
    for (; reader->next_cut < content->num_cuts; reader->next_cut++) {
        const struct envelope_cut *cut = &content->cuts[reader->next_cut];
        if (cut->offset > reader->offset)
            break;
        reader->offset = cut->offset + cut->len;
        reader->last_was_cr = false; /* as in the scan */
    }
}

/* CONTENT_MORE: the window is not empty. */
static enum content_status fetch(struct content_reader *reader)
{
    const struct content *content = reader->content;
    if (reader->window.len)
        return CONTENT_MORE;
    skip_cuts(reader);
    if (reader->offset >= content->file_len)
        return check_end(reader);
    uint64_t end = content->file_len;
    if (reader->next_cut < content->num_cuts && content->cuts[reader->next_cut].offset < end)
        end = content->cuts[reader->next_cut].offset;
    size_t len = (size_t)(end - reader->offset);
    if (reader->fd < 0) {
        reader->window = bytes_first(bytes_from(content->file, (size_t)reader->offset), len);
    } else {
        if (!reader->raw)
            reader->raw = mem_alloc(CONTENT_WINDOW);
        len = len < CONTENT_WINDOW ? len : CONTENT_WINDOW;
        ssize_t got = read_at(reader->fd, reader->raw, len, reader->offset);
        if (got != (ssize_t)len)
            return got < 0 ? CONTENT_FAILED : fail_stale();
        reader->window = bytes_make(reader->raw, len);
    }
    reader->offset += len;
    return CONTENT_MORE;
}

/* A line with its LF that goes out as it is. */
static bool is_clean_line(const struct content_reader *reader, struct bytes line)
{
    if (line.len < 2 || line.at[line.len - 2] != '\r')
        return false;
    struct bytes text = bytes_first(line, line.len - 2);
    if (text.len && text.at[0] == '.' && reader->framing == CONTENT_DATA)
        return false;
    return bytes_find(text, '\r') == text.len && bytes_find(text, '\0') == text.len &&
           (text.len <= CONTENT_LINE_MAX || !is_folding(reader));
}

/* Length of the clean lines at the beginning of the window, which is at a line's start; the search
 * may stop at `enough`. Each line's end is looked for only so far, so that the time stays linear
 * where there is none. */
static size_t clean_len(const struct content_reader *reader, size_t enough)
{
    size_t line_max = is_folding(reader) ? CONTENT_LINE_MAX + 2 : CONTENT_WINDOW;
    size_t len = 0;
    while (len < enough) {
        struct bytes line = bytes_first(bytes_from(reader->window, len), line_max);
        size_t lf = bytes_find(line, '\n');
        if (lf == line.len || !is_clean_line(reader, bytes_first(line, lf + 1)))
            break;
        len += lf + 1;
    }
    return len;
}

/* The scan saw that the whole of what is in memory goes out as it is. */
static bool is_known_clean(const struct content_reader *reader)
{
    const struct content_class *class = &reader->content->class;
    return reader->fd < 0 && !class->bare_lf && !class->bare_cr && !class->has_nul &&
           !class->folded && (!class->leading_dot || reader->framing == CONTENT_CHUNKS);
}

static void consume(struct content_reader *reader, size_t len)
{
    reader->window = bytes_from(reader->window, len);
}

/* A run of the window that needs no copy, if there is one worth a call. */
static bool take_slice(struct content_reader *reader, struct bytes *out)
{
    if (reader->line_len || reader->encoded.len)
        return false;
    bool is_all = is_known_clean(reader);
    size_t len = is_all ? reader->window.len : clean_len(reader, SIZE_MAX);
    if (len == 0 || (len < SLICE_MIN && len < reader->window.len))
        return false;
    *out = bytes_first(reader->window, len);
    consume(reader, len);
    reader->last_was_cr = false;
    reader->line_len = out->at[len - 1] != '\n';
    return true;
}

static void put(struct content_reader *reader, const void *at, size_t len)
{
    bool fits = buffer_append(&reader->encoded, at, len);
    CHECK(fits);
}

/* The last `back` octets of the line go to the new one; they were not handed out. */
static void put_fold(struct content_reader *reader, unsigned back)
{
    struct buffer *encoded = &reader->encoded;
    uint8_t *end = buffer_reserve(encoded, CONTENT_FOLD_LEN);
    CHECK(end && back <= encoded->len);
    memmove(end - back + CONTENT_FOLD_LEN, end - back, back);
    memcpy(end - back, "\r\n ", CONTENT_FOLD_LEN);
    encoded->len += CONTENT_FOLD_LEN;
    reader->line_len = 1 + back;
    reader->sequence_len = 0;
}

static void end_line(struct content_reader *reader)
{
    put(reader, "\r\n", 2);
    reader->line_len = 0;
    reader->sequence_len = 0;
}

/* Octets without CR, LF and NUL. */
static void encode_text(struct content_reader *reader, struct bytes text)
{
    if (text.len == 0)
        return;
    reader->last_was_cr = false;
    if (reader->line_len == 0 && text.at[0] == '.' && reader->framing == CONTENT_DATA)
        put(reader, ".", 1); /* RFC 5321 4.5.2; not counted in the line (4.5.3.1.6) */
    while (is_folding(reader) && reader->line_len + text.len > CONTENT_LINE_MAX) {
        struct bytes fits = bytes_first(text, CONTENT_LINE_MAX - (size_t)reader->line_len);
        unsigned sequence_len = content_sequence_len(reader->sequence_len, CONTENT_LINE_MAX, fits);
        put(reader, fits.at, fits.len);
        text = bytes_from(text, fits.len);
        put_fold(reader, content_fold_back(sequence_len, text.at[0]));
    }
    put(reader, text.at, text.len);
    reader->line_len += text.len;
    reader->sequence_len = content_sequence_len(reader->sequence_len, reader->line_len, text);
}

/* Octets without LF. A CR is a line end at once; an LF behind it adds nothing. */
static void encode_segment(struct content_reader *reader, struct bytes segment)
{
    while (segment.len) {
        size_t cr = bytes_find(segment, '\r');
        struct bytes text = bytes_first(segment, cr);
        while (text.len) {
            size_t nul = bytes_find(text, '\0');
            encode_text(reader, bytes_first(text, nul));
            text = bytes_from(text, nul + 1);
        }
        if (cr < segment.len) {
            end_line(reader);
            reader->last_was_cr = true;
        }
        segment = bytes_from(segment, cr + 1);
    }
}

static void encode(struct content_reader *reader, struct bytes run)
{
    while (run.len) {
        size_t lf = bytes_find(run, '\n');
        encode_segment(reader, bytes_first(run, lf));
        if (lf < run.len) {
            if (!reader->last_was_cr)
                end_line(reader);
            reader->last_was_cr = false;
        }
        run = bytes_from(run, lf + 1);
    }
}

/* Encodes some of the window, up to a line's end where it can, so that a slice may follow. */
static void encode_step(struct content_reader *reader)
{
    struct bytes step = bytes_first(reader->window, ENCODE_STEP);
    const uint8_t *lf =
        reader->line_len ? memchr(step.at, '\n', step.len) : memrchr(step.at, '\n', step.len);
    if (lf)
        step.len = (size_t)(lf - step.at) + 1;
    encode(reader, step);
    consume(reader, step.len);
}

/* Encodes until there is enough or what follows can go out as it is. */
static enum content_status fill_encoded(struct content_reader *reader)
{
    enum content_status status = CONTENT_MORE;
    while (reader->encoded.len < ENCODED_TARGET) {
        status = fetch(reader);
        if (status != CONTENT_MORE)
            break;
        if (reader->line_len == 0 && reader->encoded.len &&
            clean_len(reader, SLICE_MIN) >= SLICE_MIN)
            break;
        encode_step(reader);
    }
    if (status == CONTENT_END && reader->line_len)
        end_line(reader);
    return status;
}

enum content_status content_reader_next(struct content_reader *reader, struct bytes *out)
{
    buffer_consume(&reader->encoded, reader->num_handed_out);
    reader->num_handed_out = 0;
    if (!reader->prefix_done) {
        reader->prefix_done = true;
        *out = reader->content->prefix;
        if (out->len)
            return CONTENT_MORE;
    }
    enum content_status status = fetch(reader);
    if (status == CONTENT_MORE && take_slice(reader, out))
        return CONTENT_MORE;
    if (status != CONTENT_FAILED)
        status = fill_encoded(reader);
    if (status == CONTENT_FAILED)
        return status;
    /* A fold to come may still move the sequence at the line's end. */
    size_t held = is_folding(reader) ? reader->sequence_len : 0;
    *out = bytes_first(buffer_bytes(&reader->encoded), reader->encoded.len - held);
    reader->num_handed_out = out->len;
    return out->len ? CONTENT_MORE : CONTENT_END;
}
