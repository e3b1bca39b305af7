/* Progress for people: when lines come, what they say, and a table whose columns align. */
#include "router/progress.h"
#include "router/text_columns.h"
#include "tests/unit/cmocka_prelude.h"

#include <stdio.h>
#include <unistd.h>

static struct buffer out;

static int set_up(void **state)
{
    (void)state;
    buffer_init(&out, 65536);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buffer_fini(&out);
    return 0;
}

static const char *text(void)
{
    buffer_append_byte(&out, 0);
    out.len--;
    return (const char *)out.at;
}

static struct progress on_terminal(unsigned columns)
{
    return (struct progress){
        .is_terminal = true, .columns = columns, .started_ms = 1000, .shown_ms = 1000};
}

static void what_is_no_terminal_gets_plain_lines_now_and_then(void **state)
{
    (void)state;
    int ends[2];
    struct progress progress;
    struct progress_totals totals = {.delivered = 500, .waiting = 7, .connections = 3};
    assert_int_equal(pipe(ends), 0);
    progress_init(&progress, ends[1], 1000);
    assert_false(progress.is_terminal);
    assert_false(progress_update(&progress, &totals, 1000 + PROGRESS_PLAIN_INTERVAL_MS - 1, &out));
    assert_true(progress_update(&progress, &totals, 1000 + PROGRESS_PLAIN_INTERVAL_MS, &out));
    assert_string_equal(text(), "00:00:05  100/s  delivered 500  deferred 0  bounced 0  waiting 7  "
                                "connections 3\n");
    assert_false(progress_update(&progress, &totals, 1001 + PROGRESS_PLAIN_INTERVAL_MS, &out));
    close(ends[0]);
    close(ends[1]);
}

static void a_terminal_gets_one_line_that_is_wiped_before_the_next(void **state)
{
    (void)state;
    struct progress progress = on_terminal(200);
    struct progress_totals totals = {.delivered = 100};
    assert_true(progress_update(&progress, &totals, 1200, &out));
    assert_null(strchr(text(), '\n'));
    assert_null(strchr(text(), '\r'));
    assert_non_null(strstr(text(), "  500/s  "));
    assert_true(progress_update(&progress, &totals, 1400, &out));
    assert_non_null(strstr(text(), "\r\x1b[K00:00:00  350/s"));
    buffer_clear(&out);
    progress_wipe(&progress, &out);
    progress_wipe(&progress, &out);
    assert_string_equal(text(), "\r\x1b[K");
}

static void a_narrow_terminal_never_wraps(void **state)
{
    (void)state;
    struct progress progress = on_terminal(30);
    struct progress_totals totals = {.delivered = UINT64_MAX, .waiting = UINT64_MAX};
    assert_true(progress_update(&progress, &totals, 2000, &out));
    /* 29 columns, of which the ellipsis takes three octets. */
    assert_int_equal(out.len, 31);
}

/* Columns where the lines' last digit of "delivered" stands, counted in characters. */
static void columns_align_whatever_the_names(void **state)
{
    (void)state;
    struct progress_site sites[4] = {
        {.name = "mx.example.net", .delivered = 1, .tls_full = 3, .tls_resumed = 9},
        {.name = "", .delivered = 22, .plaintext = 5},
        {.name = "b\xc3\xbc\x63her.example", .delivered = 333, .bounced = 1},
        {.delivered = 4444, .deferred = 2},
    };
    memset(sites[3].name, 'x', sizeof sites[3].name - 1);
    struct progress_totals totals = {.delivered = 4800, .deferred = 2, .bounced = 1};
    progress_table(sites, 4, &totals, 2000, &out);
    size_t width = 0;
    size_t num_lines = 0;
    for (const char *line = text(); num_lines < 6; line = strchr(line, '\n') + 1, num_lines++) {
        size_t columns = 0;
        for (const char *c = line; *c != '\n'; c++)
            columns += ((unsigned char)*c & 0xc0) != 0x80;
        if (num_lines == 0)
            width = columns;
        assert_int_equal(columns, width);
    }
    assert_non_null(strstr(text(), "xxx\xe2\x80\xa6       4444         2"));
    assert_non_null(strstr(text(), "\ntotal "));
    assert_non_null(strstr(text(), "       4800         2        1 "));
    assert_non_null(strstr(text(), "2.0 s, 2400 delivered a second\n"));
}

static void a_table_without_rows_or_time_is_still_a_table(void **state)
{
    (void)state;
    progress_table(NULL, 0, &(struct progress_totals){0}, 0, &out);
    assert_non_null(strstr(text(), "destination"));
    assert_non_null(strstr(text(), "0.0 s, 0 delivered a second\n"));
}

static void recipients_without_a_host_have_a_row_and_are_in_the_sum(void **state)
{
    (void)state;
    const struct progress_site site = {.name = "mx.test", .delivered = 5};
    struct progress_totals totals = {.delivered = 5, .deferred = 2, .bounced = 3};
    progress_table(&site, 1, &totals, 1000, &out);
    assert_non_null(strstr(text(), "\n(no host)            0         2        3 "));
    assert_non_null(strstr(text(), "\ntotal                5         2        3 "));
}

static void text_is_cut_and_padded_by_columns(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        size_t columns;
        const char *out;
    } rows[] = {
        {"abc", 5, "abc  "},
        {"abcde", 5, "abcde"},
        {"abcdef", 5, "abcd\xe2\x80\xa6"},
        {"", 2, "  "},
        {"abc", 0, ""},
        {"b\xc3\xbc\x63h", 5, "b\xc3\xbc\x63h "},
        {"e\xcc\x81x", 3, "e\xcc\x81x "},
        {"\xe4\xb8\xad\xe6\x96\x87", 5, "\xe4\xb8\xad\xe6\x96\x87 "},
        {"\xe4\xb8\xad\xe6\x96\x87\xe4\xb8\xad", 4, "\xe4\xb8\xad\xe2\x80\xa6 "},
        {"a\x1b[2J\x7f", 7, "a?[2J? "},
        {"a\xff\xc3", 4, "a?? "},
        {"a\xe2\x80\xae"
         "b",
         4, "a?b "},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        buffer_clear(&out);
        text_columns_put(&out, bytes_of(rows[i].in), rows[i].columns, true);
        assert_string_equal(text(), rows[i].out);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_no_terminal_gets_plain_lines_now_and_then),
        TEST(a_terminal_gets_one_line_that_is_wiped_before_the_next),
        TEST(a_narrow_terminal_never_wraps),
        TEST(columns_align_whatever_the_names),
        TEST(a_table_without_rows_or_time_is_still_a_table),
        TEST(recipients_without_a_host_have_a_row_and_are_in_the_sum),
        TEST(text_is_cut_and_padded_by_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
