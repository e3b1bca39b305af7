/* Where the header section of a file ends, and what is said of it. */
#include "base/memory.h"
#include "tests/support/envelope_text.h"

#include <stdio.h>
#include <stdlib.h>

static void header_section_is_described(void **state)
{
    (void)state;
    struct envelope envelope = parse(BLOCK "Received: a\nRECEIVED: b\nDate: c\nMessage-Id: d\n\n");
    assert_true(envelope.has_date && envelope.has_message_id && !envelope.needs_utf8);
    assert_int_equal(envelope.num_received, 2);
    envelope_fini(&envelope);
    envelope = parse(BLOCK "Subject: x\n\nDate: c\nReceived: a\nMessage-ID: d\n\xC3\xBC\n");
    assert_false(envelope.has_date || envelope.has_message_id || envelope.needs_utf8);
    assert_int_equal(envelope.num_received, 0);
    envelope_fini(&envelope);
}

static void smtputf8_is_needed_for_utf8_only(void **state)
{
    static const struct {
        const char *file;
        bool needed;
    } rows[] = {
        {BLOCK "Subject: \xC3\xBC\n\n", true},
        {BLOCK "Subject: \xFC\n\n", false}, /* a legacy charset */
        {BLOCK "Bcc: \xC3\xBC <a@b.example>\n\n", false},
        {"X-Sender: j\xC3\xBC@a.example\nX-Receiver: r@b.example\n\n", true},
        {"X-Sender: s@a.example\nX-Receiver: j\xC3\xBC@b.example\n\n", true},
        {"X-Sender: s@a.example\nX-Receiver: r@m\xC3\xBCnchen.example\n\n", false},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct envelope envelope = parse(rows[i].file);
        assert_int_equal(envelope.needs_utf8, rows[i].needed);
        envelope_fini(&envelope);
    }
}

static void header_end_is_found_in_any_portions(void **state)
{
    static const struct {
        const char *file;
        size_t end; /* 0: never before the file's end */
    } rows[] = {
        {"A: b\n\nbody\n\nx", 6},
        {"A: b\r\n\r\nbody\r\n\r\n", 8},
        {"A: b\n\r\nbody", 7},
        {"A: b\r\n\nbody", 7},
        {"A: b\r\rbody", 6},
        {"\nbody", 1},
        {"\r\nbody", 2},
        {"A: b\nC: d\n", 0},
        {"A: b", 0},
        {"X-Sender: <>\nX-Receiver: a@b\n\nA: b\n\nbody", 36},
        {"X-Sender: <>\r\nX-Receiver: a@b\r\n\r\nA: b\r\n\r\nbody", 41},
        {"X-Sender: <>\nX-Receiver: a@b\n\nno field\n\nbody", 30},
        {"X-Sender: <>\nX-Receiver: a@b\nA: b\n\nB: c\n\nbody", 35},
        {"X-Sender: <>\nX-Receiver: a@b\n\nno field", 0},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        struct bytes file = bytes_of(rows[i].file);
        assert_int_equal(envelope_header_end(file, 0), rows[i].end);
        for (size_t step = 1; step < file.len; step++) {
            size_t from = 0, end = 0;
            for (size_t len = step; !end && from < file.len; len += step) {
                struct bytes head = bytes_first(file, len);
                /* A copy of exactly this length, so that reading past it is seen. */
                uint8_t *copy = mem_alloc(head.len);
                memcpy(copy, head.at, head.len);
                end = envelope_header_end(bytes_make(copy, head.len), from);
                from = head.len;
                free(copy);
            }
            assert_int_equal(end, rows[i].end);
        }
    }
}

static void header_end_agrees_with_the_parser(void **state)
{
    static const char *const files[] = {
        BLOCK "\nA: b\n\nbody", BLOCK "\nno field\n\nbody", BLOCK "A: b\r\n\r\nbody",
        BLOCK "\n\nbody",       "From: a@b\nTo: a@b\n\nx",
    };
    (void)state;
    for (size_t i = 0; i < ROWS(files); i++) {
        struct envelope envelope = parse(files[i]);
        assert_int_equal(envelope.header_end, envelope_header_end(bytes_of(files[i]), 0));
        envelope_fini(&envelope);
    }
    struct envelope envelope = parse("From: a@b\nTo: a@b\n");
    assert_int_equal(envelope.header_end, 18);
    envelope_fini(&envelope);
    envelope = parse("From: a@b\nTo: a@b\nhello\n");
    assert_int_equal(envelope.header_end, 18);
    envelope_fini(&envelope);
}

/* What is put on top must not have the body for its next field. */
static void a_body_without_header_is_told_from_a_header(void **state)
{
    static const struct {
        const char *file; /* behind the block */
        bool lacks_header;
        size_t header_len; /* behind the block */
    } rows[] = {
        {"", true, 0},
        {"no header\n", true, 0},
        {"no header\n\nof its own\n", true, 0},
        {"Hello,\nNote: a field?\n\nBye\n", true, 0},
        {"Bcc: h@i.example\n", true, 17},
        {"Bcc: h@i.example\nhello\n\nagain\n", true, 17},
        {"\nhello\n", false, 1},
        {"\n", false, 1},
        {"\nSubject: x\nhello\n", false, 12},
        {"Subject: x\n", false, 11},
        {"Subject: x\nhello\n", false, 11},
        {"Bcc: h@i.example\n\nhello\n", false, 18},
        {">From a@b.example Mon Jan 1\nSubject: x\n\nhello\n", false, 40},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char file[200];
        snprintf(file, sizeof file, "%s%s", BLOCK, rows[i].file);
        struct envelope envelope = parse(file);
        if (envelope.lacks_header != rows[i].lacks_header ||
            envelope.header_end != strlen(BLOCK) + rows[i].header_len)
            fail_msg("%s: %d, %zu", file, envelope.lacks_header, envelope.header_end);
        envelope_fini(&envelope);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header_section_is_described),
        cmocka_unit_test(smtputf8_is_needed_for_utf8_only),
        cmocka_unit_test(header_end_is_found_in_any_portions),
        cmocka_unit_test(header_end_agrees_with_the_parser),
        cmocka_unit_test(a_body_without_header_is_told_from_a_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
