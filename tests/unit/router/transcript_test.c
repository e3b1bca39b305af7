/* Transcripts: lines, masks, bounds, and the block in the file. */
#include "base/memory.h"
#include "router/transcript.h"
#include "tests/unit/cmocka_prelude.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static const int64_t wall_us = INT64_C(1767323045678901);

static void begin(struct transcript *transcript)
{
    transcript_init(transcript, "mx.d.test [192.0.2.25]:25", wall_us, 1000000);
}

static void say(struct transcript *transcript, char direction, const char *line)
{
    transcript_line(transcript, 2500042, direction, bytes_of(line));
}

/* The text so far, NUL-terminated in the transcript's own buffer. */
static const char *text_of(struct transcript *transcript)
{
    buffer_append_byte(&transcript->text, 0);
    transcript->text.len--;
    return (const char *)transcript->text.at;
}

static void a_line_has_time_and_direction(void **state)
{
    (void)state;
    struct transcript transcript;
    begin(&transcript);
    transcript_note(&transcript, 1000001, "connected to %s", "x");
    say(&transcript, '<', "220 hi");
    say(&transcript, '>', "EHLO me");
    assert_string_equal(text_of(&transcript),
                        "--- 2026-01-02T03:04:05.678Z mx.d.test [192.0.2.25]:25\n"
                        "   0.000001 * connected to x\n"
                        "   1.500042 < 220 hi\n"
                        "   1.500042 > EHLO me\n");
    transcript_finish(&transcript, NULL);
}

static void secrets_are_masked(void **state)
{
    (void)state;
    static const struct {
        const char *lines[6]; /* first character: the direction */
        const char *shown;
    } rows[] = {
        {{">AUTH PLAIN AHNlY3JldAo=", ">auth login c2VjcmV0", "<235 ok"}, "AUTH PLAIN ****"},
        {{">AUTH LOGIN", "<334 VXNlcm5hbWU6", ">c2VjcmV0", "<334 x", ">c2VjcmV0", "<235 ok"},
         "< 334 VXNlcm5hbWU6\n   1.500042 > ****\n"},
        {{">AUTH PLAIN", "<334", ">AHNlY3JldAo="}, "> AUTH PLAIN\n"},
        {{">AUTH LOGIN", "<334 x", ">c2VjcmV0", "<535 no", ">QUIT"}, "> QUIT\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct transcript transcript;
        begin(&transcript);
        for (size_t k = 0; k < 6 && rows[i].lines[k]; k++)
            say(&transcript, rows[i].lines[k][0], rows[i].lines[k] + 1);
        const char *text = text_of(&transcript);
        assert_non_null(strstr(text, rows[i].shown));
        assert_null(strstr(text, "c2VjcmV0"));
        assert_null(strstr(text, "AHNlY3JldAo="));
        transcript_finish(&transcript, NULL);
    }
}

static void a_peer_cannot_draw_on_the_terminal(void **state)
{
    (void)state;
    struct transcript transcript;
    begin(&transcript);
    say(&transcript, '<', "220 \x1b[2J\x07 gr\xc3\xbc\xc3\x9f \xc2\x9b \xff\xc3");
    assert_non_null(strstr(text_of(&transcript), "< 220 ?[2J? gr\xc3\xbc\xc3\x9f ? ??\n"));
    transcript_finish(&transcript, NULL);
}

static void long_lines_are_cut(void **state)
{
    (void)state;
    struct transcript transcript;
    char line[TRANSCRIPT_LINE_MAX + 500];
    memset(line, 'x', sizeof line);
    begin(&transcript);
    transcript_line(&transcript, 1000000, '<', bytes_make(line, sizeof line));
    assert_non_null(strstr(text_of(&transcript), "x [500 octets cut]\n"));
    assert_true(transcript.text.len < TRANSCRIPT_LINE_MAX + 200);
    transcript_finish(&transcript, NULL);
}

static void a_flood_is_bounded_and_the_end_is_still_there(void **state)
{
    (void)state;
    enum { NUM = 100000 };
    struct transcript transcript;
    char path[] = "/tmp/sluice-transcript-test.XXXXXX";
    int fd = mkstemp(path);
    struct log_file *file = log_file_open(path);
    struct stat st;
    assert_non_null(file);
    begin(&transcript);
    for (int i = 0; i < NUM; i++)
        say(&transcript, '<', "250-and so on");
    transcript_note(&transcript, 3000000, "too many lines");
    transcript_finish(&transcript, file);
    log_file_close(file);
    char *text = mem_zalloc(1, TRANSCRIPT_MAX + 1);
    assert_int_equal(fstat(fd, &st), 0);
    assert_true(st.st_size <= TRANSCRIPT_MAX);
    assert_int_equal(pread(fd, text, TRANSCRIPT_MAX, 0), st.st_size);
    assert_non_null(strstr(text, "   2.000000 * too many lines\n"));
    unsigned left_out = 0;
    unsigned kept = 0;
    assert_int_equal(
        sscanf(strstr(text, "    [cut"), " [cut at 64 KiB: %u lines left out]\n", &left_out), 1);
    for (const char *at = text; (at = strstr(at, "< 250-and so on\n")); at++)
        kept++;
    assert_int_equal(kept + left_out, NUM);
    free(text);
    close(fd);
    unlink(path);
}

static void nothing_is_kept_from_the_session_before(void **state)
{
    (void)state;
    struct transcript transcript;
    begin(&transcript);
    say(&transcript, '<', "334 x");
    transcript_finish(&transcript, NULL);
    assert_null(transcript.text.at);
    begin(&transcript);
    say(&transcript, '>', "EHLO me");
    assert_non_null(strstr(text_of(&transcript), "> EHLO me\n"));
    transcript_finish(&transcript, NULL);
}

static void the_file_is_beside_the_delivery_log(void **state)
{
    (void)state;
    static const struct {
        const char *file, *transcript_file, *path;
    } rows[] = {{"", "", "/sp/transcript.log"},
                {"-", "", "/sp/transcript.log"},
                {"/l/d.log", "", "/l/d.log.transcript"},
                {"/l/d.log", "/t", "/t"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct config config = {.spool = (char *)"/sp",
                                .log = {.file = (char *)rows[i].file,
                                        .transcript_file = (char *)rows[i].transcript_file}};
        char *path = transcript_path(&config);
        assert_string_equal(path, rows[i].path);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_has_time_and_direction),
        cmocka_unit_test(secrets_are_masked),
        cmocka_unit_test(a_peer_cannot_draw_on_the_terminal),
        cmocka_unit_test(long_lines_are_cut),
        cmocka_unit_test(a_flood_is_bounded_and_the_end_is_still_there),
        cmocka_unit_test(nothing_is_kept_from_the_session_before),
        cmocka_unit_test(the_file_is_beside_the_delivery_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
