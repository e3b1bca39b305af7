/* Content on the wire, checked against a reference that looks at one octet after the other. */
#include "base/memory.h"
#include "queue/content.h"
#include "tests/unit/cmocka_prelude.h"

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct reference {
    struct buffer line; /* the line under way, NUL removed, not folded */
    struct buffer out;
    bool dots;
    bool fold;
};

/* The rules of docs/spool.md for one whole line. */
static void reference_end_line(struct reference *r)
{
    const uint8_t *at = r->line.at;
    size_t len = r->line.len, room = CONTENT_LINE_MAX;
    if (r->dots && len && at[0] == '.')
        buffer_append_byte(&r->out, '.');
    while (r->fold && len > room) {
        size_t cut = room, lead = room;
        while (room - lead < 3 && (at[lead] & 0xC0) == 0x80)
            lead--;
        if (at[lead] >= 0xC0)
            cut = lead;
        buffer_append(&r->out, at, cut);
        buffer_append_str(&r->out, "\r\n ");
        at += cut;
        len -= cut;
        room = CONTENT_LINE_MAX - 1;
    }
    buffer_append(&r->out, at, len);
    buffer_append_str(&r->out, "\r\n");
    buffer_clear(&r->line);
}

static struct buffer reference_encode(struct bytes prefix, struct bytes file,
                                      const struct envelope *envelope, bool dots, bool fold)
{
    struct reference r = {.dots = dots, .fold = fold};
    size_t cut = 0;
    bool after_cr = false;
    buffer_init(&r.line, SIZE_MAX);
    buffer_init(&r.out, SIZE_MAX);
    buffer_append_bytes(&r.out, prefix);
    for (size_t i = 0; i < file.len; i++) {
        if (cut < envelope->num_cuts && envelope->cuts[cut].offset == i) {
            i += envelope->cuts[cut++].len - 1;
            after_cr = false;
            continue;
        }
        uint8_t c = file.at[i];
        if (c == '\0')
            continue;
        if (c == '\r' || (c == '\n' && !after_cr))
            reference_end_line(&r);
        else if (c != '\n')
            buffer_append_byte(&r.line, c);
        after_cr = c == '\r';
    }
    if (r.line.len)
        reference_end_line(&r);
    buffer_fini(&r.line);
    return r.out;
}

static struct content_class scan_in_parts(struct bytes file, const struct envelope *envelope,
                                          enum content_long_lines long_lines, size_t prefix_len,
                                          size_t part)
{
    struct content_scan scan;
    content_scan_init(&scan, envelope, long_lines);
    for (size_t at = 0; at < file.len; at += part)
        content_scan_feed(&scan, bytes_first(bytes_from(file, at), part));
    return content_scan_end(&scan, prefix_len);
}

static int file_of(struct bytes bytes)
{
    int fd = memfd_create("content", MFD_CLOEXEC);
    assert_true(fd >= 0);
    for (size_t at = 0; at < bytes.len;) {
        ssize_t n = write(fd, bytes.at + at, bytes.len - at);
        assert_true(n > 0);
        at += (size_t)n;
    }
    return fd;
}

static struct buffer read_all(const struct content *content, enum content_framing framing, int fd)
{
    struct content_reader reader;
    struct buffer out;
    struct bytes run;
    enum content_status status;
    buffer_init(&out, SIZE_MAX);
    content_reader_init(&reader, content, framing, fd);
    while ((status = content_reader_next(&reader, &run)) == CONTENT_MORE) {
        assert_true(run.len > 0);
        buffer_append_bytes(&out, run);
    }
    assert_int_equal(status, CONTENT_END);
    content_reader_fini(&reader);
    return out;
}

static void assert_same(struct buffer *actual, struct buffer *expected)
{
    assert_int_equal(actual->len, expected->len);
    if (expected->len)
        assert_memory_equal(actual->at, expected->at, expected->len);
    buffer_fini(actual);
    buffer_fini(expected);
}

/* Memory and fd, DATA and chunks, against the reference; wire_len against the chunks. */
static void assert_wire(struct bytes file, const struct envelope *envelope,
                        enum content_long_lines long_lines, size_t part)
{
    struct bytes prefix = bytes_of("Received: x\r\n");
    struct content content = {
        .prefix = prefix,
        .file_len = file.len,
        .cuts = envelope->cuts,
        .num_cuts = envelope->num_cuts,
        .long_lines = long_lines,
        .class = scan_in_parts(file, envelope, long_lines, prefix.len, part),
    };
    bool fold = long_lines == CONTENT_LONG_FOLD;
    int fd = file_of(file);
    for (int in_memory = 0; in_memory <= 1; in_memory++) {
        content.file = in_memory ? file : (struct bytes){0};
        int from = in_memory ? -1 : fd;
        struct buffer chunks = read_all(&content, CONTENT_CHUNKS, from);
        struct buffer data = read_all(&content, CONTENT_DATA, from);
        struct buffer plain = reference_encode(prefix, file, envelope, false, fold);
        struct buffer stuffed = reference_encode(prefix, file, envelope, true, fold);
        assert_int_equal(content.class.wire_len, chunks.len);
        assert_int_equal(content.class.leading_dot, plain.len != stuffed.len);
        assert_same(&chunks, &plain);
        assert_same(&data, &stuffed);
    }
    close(fd);
}

static const struct envelope no_cuts;

static struct content_class class_of(const char *text)
{
    return scan_in_parts(bytes_of(text), &no_cuts, CONTENT_LONG_FOLD, 0, SIZE_MAX / 2);
}

static void line_ends_become_crlf(void **state)
{
    static const struct {
        const char *file;
        size_t len;
        const char *wire;
    } rows[] = {
        {"", 0, ""},
        {"a\r\nb\r\n", 6, "a\r\nb\r\n"},
        {"a\nb\n", 4, "a\r\nb\r\n"},
        {"a\rb\r", 4, "a\r\nb\r\n"},
        {"a\n\r\n\r\rb", 7, "a\r\n\r\n\r\n\r\nb\r\n"},
        {"a\r\r\nb", 5, "a\r\n\r\nb\r\n"},
        {"a", 1, "a\r\n"},
        {"\n", 1, "\r\n"},
        {"a\0b\r\0\nc\0\0", 9, "ab\r\nc\r\n"},
        {"\0\0", 2, ""},
        {".\n..a\r.\r\n", 9, "..\r\n...a\r\n..\r\n"},
        {"a\0\n\0.\nb\n", 8, "a\r\n..\r\nb\r\n"},
        {"a\n.\rb", 5, "a\r\n..\r\nb\r\n"}, /* no end of data can be smuggled in */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bytes file = bytes_make(rows[i].file, rows[i].len);
        struct content content = {.file = file, .file_len = file.len};
        content.class = scan_in_parts(file, &no_cuts, CONTENT_LONG_FOLD, 0, 100);
        struct buffer out = read_all(&content, CONTENT_DATA, -1);
        assert_int_equal(out.len, strlen(rows[i].wire));
        if (out.len)
            assert_memory_equal(out.at, rows[i].wire, out.len);
        buffer_fini(&out);
        for (size_t part = 1; part <= file.len; part++)
            assert_wire(file, &no_cuts, CONTENT_LONG_FOLD, part);
    }
}

static void scan_says_what_it_found(void **state)
{
    (void)state;
    assert_true(class_of("a\nb\r\n").bare_lf);
    assert_true(class_of("a\rb\r\n").bare_cr);
    assert_true(class_of("a\r\r\n").bare_cr);
    assert_true(class_of("a\r").bare_cr);
    assert_true(class_of("\xFC\r\n").eight_bit);
    assert_true(class_of("a\r\n.\r\n").leading_dot);
    assert_true(class_of("a").no_final_eol);
    struct content_class clean = class_of("a.b\r\n\r\nc\r\n");
    struct content_class nothing = {.wire_len = 10};
    assert_memory_equal(&clean, &nothing, sizeof clean);
    assert_false(class_of("").no_final_eol);
    struct content_class nul = scan_in_parts(bytes_make("a\0\r\n", 4), &no_cuts, 0, 0, 1);
    assert_true(nul.has_nul && !nul.bare_cr && !nul.bare_lf);
}

static void only_dots_leave_content_unaltered(void **state)
{
    struct content_class class = class_of(".\r\n\xFC\r\n");
    (void)state;
    assert_true(content_is_unaltered(&class));
    static const char *const altered[] = {"a\n", "a\rb\r\n", "a"};
    for (size_t i = 0; i < 3; i++) {
        class = class_of(altered[i]);
        assert_false(content_is_unaltered(&class));
    }
    char line[1001];
    memset(line, 'x', 999);
    memcpy(line + 999, "\r\n", 2);
    class = scan_in_parts(bytes_make(line, 1001), &no_cuts, CONTENT_LONG_FOLD, 0, 7);
    assert_true(class.long_line && !content_is_unaltered(&class));
    class = scan_in_parts(bytes_make(line, 1001), &no_cuts, CONTENT_LONG_SEND, 0, 7);
    assert_true(class.long_line && content_is_unaltered(&class));
    class = scan_in_parts(bytes_make(line + 1, 1000), &no_cuts, CONTENT_LONG_FOLD, 0, 7);
    assert_false(class.long_line);
}

/* Folded lines are full but for a character that would not fit. */
static void assert_longest_line(const struct buffer *wire, size_t least, size_t most)
{
    size_t begin = 0, longest = 0;
    for (size_t i = 0; i + 1 < wire->len; i++)
        if (wire->at[i] == '\r' && wire->at[i + 1] == '\n') {
            longest = i - begin > longest ? i - begin : longest;
            begin = i + 2;
        }
    assert_in_range(longest, least, most);
}

static void long_lines_are_folded_between_characters(void **state)
{
    static const char *const characters[] = {"x",    "\xC3\xBC", "\xE2\x82\xAC", "\xF0\x9F\x92\xA9",
                                             "\x80", "\xC3"};
    (void)state;
    for (size_t shift = 0; shift < 4; shift++)
        for (size_t c = 0; c < 6; c++) {
            struct buffer file;
            buffer_init(&file, SIZE_MAX);
            for (size_t i = 0; i < shift; i++)
                buffer_append_byte(&file, '.');
            while (file.len < 3500)
                buffer_append_str(&file, characters[c]);
            buffer_append_str(&file, "\r\n");
            struct bytes bytes = buffer_bytes(&file);
            struct content content = {.file = bytes, .file_len = bytes.len};
            content.class = scan_in_parts(bytes, &no_cuts, CONTENT_LONG_FOLD, 0, 1);
            struct buffer wire = read_all(&content, CONTENT_CHUNKS, -1);
            assert_longest_line(&wire, CONTENT_LINE_MAX + 1 - strlen(characters[c]),
                                CONTENT_LINE_MAX);
            buffer_fini(&wire);
            for (size_t part = 1; part < 1100; part += 97)
                assert_wire(bytes, &no_cuts, CONTENT_LONG_FOLD, part);
            assert_wire(bytes, &no_cuts, CONTENT_LONG_SEND, 13);
            buffer_fini(&file);
        }
}

static void cuts_do_not_leave(void **state)
{
    static const char file[] = "X-Sender: <>\rTo: a\r\nBcc: b\r\n c\r\n\nbody\nend\r";
    struct envelope_cut cuts[] = {{0, 13}, {20, 12}};
    struct envelope envelope = {.cuts = cuts, .num_cuts = 2};
    struct bytes bytes = bytes_make(file, sizeof file - 1);
    (void)state;
    struct content content = {.file = bytes, .file_len = bytes.len, .cuts = cuts, .num_cuts = 2};
    content.class = scan_in_parts(bytes, &envelope, CONTENT_LONG_FOLD, 0, 3);
    struct buffer out = read_all(&content, CONTENT_CHUNKS, -1);
    struct buffer expected;
    buffer_init(&expected, 100);
    buffer_append_str(&expected, "To: a\r\n\r\nbody\r\nend\r\n");
    assert_same(&out, &expected);
    for (size_t part = 1; part < bytes.len; part++)
        assert_wire(bytes, &envelope, CONTENT_LONG_FOLD, part);
    /* A CR before the cut and an LF behind it are two line ends. */
    cuts[0] = (struct envelope_cut){1, 1};
    envelope.num_cuts = 1;
    assert_wire(bytes_of("\rx\na\n"), &envelope, CONTENT_LONG_FOLD, 1);
    /* One that ends the file. */
    cuts[0] = (struct envelope_cut){3, 3};
    assert_wire(bytes_of("a\r\nb\r\n"), &envelope, CONTENT_LONG_FOLD, 2);
}

static uint32_t random_state;
static uint32_t random_below(uint32_t limit)
{
    random_state = random_state * 1664525 + 1013904223;
    return (random_state >> 8) % limit;
}

static void random_text(struct buffer *out, size_t len)
{
    static const char *const pieces[] = {"\r\n",      "\n",       "\r",           "",
                                         ".",         "\xC3\xBC", "\xE2\x82\xAC", "hello, world",
                                         "\r\n.\r\n", "\n.\n"};
    /* Some texts are nearly clean, others a mess. */
    uint32_t mess = random_below(2) ? 10 : 2000;
    while (out->len < len) {
        uint32_t pick = random_below(mess);
        if (pick < 3 && random_below(8) == 0)
            for (uint32_t n = random_below(3000); n; n--)
                buffer_append_str(out, pick == 1 ? "\xE2\x82\xAC" : "y");
        else if (pick == 3)
            buffer_append_byte(out, '\0');
        else if (pick < 10)
            buffer_append_str(out, pieces[pick]);
        else
            buffer_append_str(out, "a line of text as people write it\r\n");
    }
}

static void wire_is_the_same_however_it_is_read(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 150; seed++) {
        struct buffer file;
        random_state = seed;
        buffer_init(&file, SIZE_MAX);
        random_text(&file, random_below(seed % 10 ? 6000 : 400000));
        struct envelope_cut cuts[2];
        size_t third = file.len / 3, most = third < 500 ? (uint32_t)third : 500;
        cuts[0] = (struct envelope_cut){random_below((uint32_t)third + 1), 1 + most / 2};
        cuts[1] = (struct envelope_cut){third + most + 2, most + 1};
        struct envelope envelope = {.cuts = cuts, .num_cuts = file.len > 3000 ? 2 : 0};
        if (envelope.num_cuts)
            assert_true(cuts[0].offset + cuts[0].len < cuts[1].offset);
        assert_wire(buffer_bytes(&file), &envelope, (enum content_long_lines)random_below(2),
                    1 + random_below(5000));
        buffer_fini(&file);
    }
}

static void clean_content_is_handed_out_from_where_it_lies(void **state)
{
    struct buffer file;
    struct bytes run;
    size_t total = 0, runs = 0;
    (void)state;
    buffer_init(&file, SIZE_MAX);
    while (file.len < 300000)
        buffer_append_str(&file, "a clean line\r\n");
    struct bytes bytes = buffer_bytes(&file);
    struct content content = {.file = bytes, .file_len = bytes.len};
    content.class = scan_in_parts(bytes, &no_cuts, CONTENT_LONG_FOLD, 0, 4096);
    struct content_reader reader;
    content_reader_init(&reader, &content, CONTENT_DATA, -1);
    for (; content_reader_next(&reader, &run) == CONTENT_MORE; runs++, total += run.len)
        assert_true(run.at >= file.at && run.at + run.len <= file.at + file.len);
    assert_int_equal(total, bytes.len);
    assert_int_equal(runs, 1);
    content_reader_fini(&reader);
    buffer_fini(&file);
}

static void one_dot_costs_one_small_copy(void **state)
{
    struct buffer file;
    struct bytes run;
    size_t copied = 0;
    (void)state;
    buffer_init(&file, SIZE_MAX);
    while (file.len < 1000000)
        buffer_append_str(&file, file.len == 490000 ? ".\r\n........\r\n." : "a clean line\r\n");
    struct bytes bytes = buffer_bytes(&file);
    struct content content = {.file = bytes, .file_len = bytes.len};
    content.class = scan_in_parts(bytes, &no_cuts, CONTENT_LONG_FOLD, 0, 4096);
    assert_true(content.class.leading_dot);
    struct content_reader reader;
    content_reader_init(&reader, &content, CONTENT_DATA, -1);
    while (content_reader_next(&reader, &run) == CONTENT_MORE)
        if (run.at < file.at || run.at >= file.at + file.len)
            copied += run.len;
    assert_in_range(copied, 1, 20000);
    content_reader_fini(&reader);
    buffer_fini(&file);
}

static void file_of_another_length_fails(void **state)
{
    static const size_t lens[] = {
        1, 100, CONTENT_WINDOW - 1, CONTENT_WINDOW, CONTENT_WINDOW + 1, 3 * CONTENT_WINDOW};
    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++)
        for (int change = -1; change <= 1; change++) {
            uint8_t *text = mem_alloc(lens[i]);
            memset(text, '\n', lens[i]);
            int fd = file_of(bytes_make(text, lens[i]));
            struct content content = {.file_len = lens[i] + (size_t)change};
            struct content_reader reader;
            struct bytes run;
            enum content_status status;
            content_reader_init(&reader, &content, CONTENT_DATA, fd);
            errno = 0;
            while ((status = content_reader_next(&reader, &run)) == CONTENT_MORE)
                ;
            assert_int_equal(status, change ? CONTENT_FAILED : CONTENT_END);
            assert_int_equal(errno, change ? ESTALE : 0);
            content_reader_fini(&reader);
            close(fd);
            free(text);
        }
}

static void read_error_fails(void **state)
{
    int pipe_fds[2]; /* pread() of a pipe is an error */
    struct content content = {.file_len = 10};
    struct content_reader reader;
    struct bytes run;
    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    content_reader_init(&reader, &content, CONTENT_DATA, pipe_fds[0]);
    assert_int_equal(content_reader_next(&reader, &run), CONTENT_FAILED);
    assert_int_equal(errno, ESPIPE);
    content_reader_fini(&reader);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_ends_become_crlf),
        cmocka_unit_test(scan_says_what_it_found),
        cmocka_unit_test(only_dots_leave_content_unaltered),
        cmocka_unit_test(long_lines_are_folded_between_characters),
        cmocka_unit_test(cuts_do_not_leave),
        cmocka_unit_test(wire_is_the_same_however_it_is_read),
        cmocka_unit_test(clean_content_is_handed_out_from_where_it_lies),
        cmocka_unit_test(one_dot_costs_one_small_copy),
        cmocka_unit_test(file_of_another_length_fails),
        cmocka_unit_test(read_error_fails),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
