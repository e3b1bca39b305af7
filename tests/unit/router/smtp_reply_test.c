/* Rules of replies and EHLO keywords: what is a reply, what is kept of it, and that it does not
 * matter where it was split. */
#include "base/memory.h"
#include "router/auth_settings.h"
#include "router/smtp_reply.h"

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static enum smtp_parse parse_part(struct smtp_reply_parser *parser, struct bytes part,
                                  size_t *out_consumed)
{
    /* A copy of exactly this length, so that reading beyond it is seen. */
    uint8_t *copy = mem_alloc(part.len ? part.len : 1);
    if (part.len)
        memcpy(copy, part.at, part.len);
    enum smtp_parse parse =
        smtp_reply_parse(parser, bytes_make(copy, part.len), out_consumed, NULL, NULL);
    free(copy);
    return parse;
}

/* In two parts, split at `split`; total consumed in *out_consumed. */
static enum smtp_parse parse_split(struct smtp_reply_parser *parser, struct bytes in, size_t split,
                                   size_t *out_consumed)
{
    size_t second = 0;
    smtp_reply_parser_init(parser);
    enum smtp_parse parse = parse_part(parser, bytes_first(in, split), out_consumed);
    if (parse != SMTP_PARSE_MORE)
        return parse;
    assert_int_equal(*out_consumed, split);
    parse = parse_part(parser, bytes_from(in, split), &second);
    *out_consumed += second;
    return parse;
}

static void replies_are_the_same_wherever_they_are_split(void **state)
{
    (void)state;
    static const struct {
        const char *in;
        const char *text;
        uint16_t code;
        uint8_t enhanced[3];
        size_t left; /* octets after the reply */
    } rows[] = {
        {"250 ok\r\n", "ok", 250, {0}, 0},
        {"250\r\n", "", 250, {0}, 0},
        {"250 \r\n", "", 250, {0}, 0},
        {"250-\r\n250-\r\n250\r\n", "", 250, {0}, 0},
        {"250 ok\n", "ok", 250, {0}, 0},
        {"250 ok\r\r\n", "ok", 250, {0}, 0},
        {"250-a\r\n250-b\r\n250 c\r\n", "a b c", 250, {0}, 0},
        {"250 one\r\n354 two\r\n", "one", 250, {0}, 9},
        {"250 2.1.5 fine\r\n", "fine", 250, {2, 1, 5}, 0},
        {"550 5.1.1\r\n", "", 550, {5, 1, 1}, 0},
        {"550-5.1.1 no such\r\n550 5.1.1 user\r\n", "no such user", 550, {5, 1, 1}, 0},
        {"450 5.1.1 class of another code\r\n", "5.1.1 class of another code", 450, {0}, 0},
        {"550 5.1.256 too large\r\n", "5.1.256 too large", 550, {0}, 0},
        {"550 5.1.1234 too long\r\n", "5.1.1234 too long", 550, {0}, 0},
        {"550 5.1.1x\r\n", "5.1.1x", 550, {0}, 0},
        {"550 5.1. \r\n", "5.1.", 550, {0}, 0},
        {"550 5.7.1.2 address\r\n", "5.7.1.2 address", 550, {0}, 0},
        {"354 3.0.0 go\r\n", "3.0.0 go", 354, {0}, 0},
        {"599 last\r\n", "last", 599, {0}, 0},
        {"250 a\tb \x01 \x7f\r\n", "a b ? ?", 250, {0}, 0},
        {"250 caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8c\r\n",
         "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x8c",
         250,
         {0},
         0},
        {"250 \xff \xc3 \xc0\x80 \xed\xa0\x80 \xf4\x90\x80\x80 \xc2\x9b.\r\n",
         "? ? ?? ??? ???? ??.",
         250,
         {0},
         0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bytes in = bytes_of(rows[i].in);
        for (size_t split = 0; split <= in.len; split++) {
            struct smtp_reply_parser parser;
            size_t consumed;
            assert_int_equal(parse_split(&parser, in, split, &consumed), SMTP_PARSE_DONE);
            assert_int_equal(consumed, in.len - rows[i].left);
            assert_int_equal(parser.reply.code, rows[i].code);
            assert_memory_equal(parser.reply.enhanced, rows[i].enhanced, 3);
            assert_string_equal(parser.reply.text, rows[i].text);
        }
    }
}

static void what_is_no_reply_is_broken_wherever_it_is_split(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "\r\n",
        "ok\r\n",
        "25 ok\r\n",
        "2500 ok\r\n",
        "250x\r\n",
        "250\tok\r\n",
        " 250 ok\r\n",
        "199 no\r\n",
        "600 no\r\n",
        "000 no\r\n",
        "-50 no\r\n",
        "250-ok\r\n550 no\r\n",
        "250-ok\r\n251 no\r\n",
        "250-ok\r\nand so on\r\n",
        "HTTP/1.1 200 OK\r\n",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct bytes in = bytes_of(rows[i]);
        for (size_t split = 0; split <= in.len; split++) {
            struct smtp_reply_parser parser;
            size_t consumed;
            assert_int_equal(parse_split(&parser, in, split, &consumed), SMTP_PARSE_BROKEN);
            assert_non_null(parser.why);
            assert_true(consumed <= in.len);
            assert_int_equal(parse_part(&parser, bytes_of("250 ok\r\n"), &consumed),
                             SMTP_PARSE_BROKEN);
        }
    }
}

static void a_reply_with_a_nul_is_read_on(void **state)
{
    (void)state;
    struct smtp_reply_parser parser;
    size_t consumed;
    smtp_reply_parser_init(&parser);
    assert_int_equal(parse_part(&parser, bytes_make("250 a\0b\r\n", 9), &consumed),
                     SMTP_PARSE_DONE);
    assert_string_equal(parser.reply.text, "a?b");
}

static void an_unfinished_reply_wants_more(void **state)
{
    (void)state;
    static const char *const rows[] = {"",         "2",          "250",           "250 ok",
                                       "250 ok\r", "250-ok\r\n", "250-ok\r\n250 "};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtp_reply_parser parser;
        size_t consumed;
        smtp_reply_parser_init(&parser);
        assert_int_equal(parse_part(&parser, bytes_of(rows[i]), &consumed), SMTP_PARSE_MORE);
        assert_int_equal(consumed, strlen(rows[i]));
    }
}

/* A line of len octets with its end, fed in parts. */
static enum smtp_parse parse_long_line(size_t len, size_t part_len)
{
    struct smtp_reply_parser parser;
    size_t consumed;
    enum smtp_parse parse = SMTP_PARSE_MORE;
    char *line = mem_alloc(len);
    memset(line, 'x', len);
    memcpy(line, "250 ", 4);
    memcpy(line + len - 2, "\r\n", 2);
    smtp_reply_parser_init(&parser);
    for (size_t at = 0; at < len && parse == SMTP_PARSE_MORE; at += part_len)
        parse =
            parse_part(&parser, bytes_first(bytes_make(line + at, len - at), part_len), &consumed);
    free(line);
    return parse;
}

static void lines_and_their_number_are_bounded(void **state)
{
    (void)state;
    static const size_t parts[] = {1, 7, 4096, 100000};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        assert_int_equal(parse_long_line(SMTP_REPLY_LINE_MAX, parts[i]), SMTP_PARSE_DONE);
        assert_int_equal(parse_long_line(SMTP_REPLY_LINE_MAX + 1, parts[i]), SMTP_PARSE_BROKEN);
        assert_int_equal(parse_long_line(50000, parts[i]), SMTP_PARSE_BROKEN);
    }
    struct smtp_reply_parser parser;
    size_t consumed;
    smtp_reply_parser_init(&parser);
    for (unsigned i = 0; i < SMTP_REPLY_LINES_MAX - 1; i++)
        assert_int_equal(parse_part(&parser, bytes_of("250-more\r\n"), &consumed), SMTP_PARSE_MORE);
    struct smtp_reply_parser endless = parser;
    assert_int_equal(parse_part(&parser, bytes_of("250 end\r\n"), &consumed), SMTP_PARSE_DONE);
    assert_int_equal(parse_part(&endless, bytes_of("250-more\r\n"), &consumed), SMTP_PARSE_BROKEN);
}

static void text_is_cut_between_characters_and_nothing_is_glued_behind(void **state)
{
    (void)state;
    struct smtp_reply_parser parser;
    size_t consumed;
    char line[SMTP_REPLY_TEXT_MAX + 20];
    memset(line, 'x', sizeof line);
    memcpy(line, "250-", 4);
    memcpy(line + 4 + SMTP_REPLY_TEXT_MAX - 2, "\xc3\xa9\r\n", 4);
    smtp_reply_parser_init(&parser);
    parse_part(&parser, bytes_make(line, 4 + SMTP_REPLY_TEXT_MAX + 2), &consumed);
    assert_int_equal(parse_part(&parser, bytes_of("250 y\r\n"), &consumed), SMTP_PARSE_DONE);
    assert_int_equal(strlen(parser.reply.text), SMTP_REPLY_TEXT_MAX - 2);
    assert_int_equal(parser.reply.text[SMTP_REPLY_TEXT_MAX - 3], 'x');
}

struct lines_seen {
    unsigned num;
    char text[100];
};

static void note_line(void *ctx, unsigned number, struct bytes line)
{
    struct lines_seen *seen = ctx;
    assert_int_equal(number, seen->num++);
    strncat(seen->text, (const char *)line.at, line.len);
    strcat(seen->text, "|");
}

static void each_line_is_shown_as_it_came(void **state)
{
    (void)state;
    struct smtp_reply_parser parser;
    struct lines_seen seen = {0};
    size_t consumed;
    smtp_reply_parser_init(&parser);
    smtp_reply_parse(&parser, bytes_of("250-a\r\n25"), &consumed, note_line, &seen);
    smtp_reply_parse(&parser, bytes_of("0-SIZE 5\r\nnonsense\r\n"), &consumed, note_line, &seen);
    assert_string_equal(seen.text, "250-a|250-SIZE 5|nonsense|");
}

static void keywords_are_told_by_whole_words_in_any_case(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        struct smtp_capabilities told;
    } rows[] = {
        {"STARTTLS", {.starttls = true}},
        {"starttls", {.starttls = true}},
        {"STARTTLS ", {.starttls = true}},
        {" STARTTLS", {.starttls = true}},
        {"STARTTLSX", {0}},
        {"XSTARTTLS", {0}},
        {"AUTH STARTTLS", {0}},
        {"PIPELINING", {.pipelining = true}},
        {"8BitMime", {.eight_bit = true}},
        {"SMTPUTF8", {.smtputf8 = true}},
        {"ENHANCEDSTATUSCODES", {.enhanced_codes = true}},
        {"CHUNKING", {.chunking = true}},
        {"DSN", {.dsn = true}},
        {"RequireTLS", {.requiretls = true}},
        {"AUTH PLAIN  login CRAM-MD5", {.auth = AUTH_PLAIN | AUTH_LOGIN}},
        {"AUTH=LOGIN", {.auth = AUTH_LOGIN}},
        {"AUTH=PLAIN SCRAM-SHA-256", {.auth = AUTH_PLAIN | AUTH_SCRAM_SHA_256}},
        {"AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-1", {0}},
        {"AUTHOR PLAIN", {0}},
        {"SIZE", {.size = true}},
        {"SIZE 0", {.size = true}},
        {"SIZE 35882577", {.size = true, .size_max = 35882577}},
        {"SIZE  5 ", {.size = true, .size_max = 5}},
        {"SIZE -1", {.size = true}},
        {"SIZE 18446744073709551616", {.size = true}},
        {"SIZE=5", {0}},
        {"", {0}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtp_capabilities told, *want = (struct smtp_capabilities *)&rows[i].told;
        smtp_capabilities_init(&told);
        smtp_capabilities_line(&told, 1, bytes_of(rows[i].line));
        assert_int_equal(told.starttls, want->starttls);
        assert_int_equal(told.pipelining, want->pipelining);
        assert_int_equal(told.eight_bit, want->eight_bit);
        assert_int_equal(told.smtputf8, want->smtputf8);
        assert_int_equal(told.enhanced_codes, want->enhanced_codes);
        assert_int_equal(told.chunking, want->chunking);
        assert_int_equal(told.dsn, want->dsn);
        assert_int_equal(told.size, want->size);
        assert_int_equal(told.size_max, want->size_max);
        /* The greeting holds a name, no keyword. */
        smtp_capabilities_init(&told);
        smtp_capabilities_line(&told, 0, bytes_of(rows[i].line));
        assert_false(told.starttls || told.pipelining || told.size);
    }
}

static void the_peer_is_named_by_the_first_word_of_the_greeting(void **state)
{
    (void)state;
    struct smtp_capabilities told;
    char longest[400];
    memset(longest, 'A', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    smtp_capabilities_init(&told);
    smtp_capabilities_line(&told, 0, bytes_of("MX.Example.COM greets you"));
    assert_string_equal(told.peer_name, "mx.example.com");
    smtp_capabilities_line(&told, 0, bytes_of("mx\x1b[31m"));
    assert_string_equal(told.peer_name, "mx");
    smtp_capabilities_line(&told, 0, bytes_of(""));
    assert_string_equal(told.peer_name, "");
    smtp_capabilities_line(&told, 0, bytes_of(longest));
    assert_int_equal(strlen(told.peer_name), sizeof told.peer_name - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_are_the_same_wherever_they_are_split),
        cmocka_unit_test(what_is_no_reply_is_broken_wherever_it_is_split),
        cmocka_unit_test(a_reply_with_a_nul_is_read_on),
        cmocka_unit_test(an_unfinished_reply_wants_more),
        cmocka_unit_test(lines_and_their_number_are_bounded),
        cmocka_unit_test(text_is_cut_between_characters_and_nothing_is_glued_behind),
        cmocka_unit_test(each_line_is_shown_as_it_came),
        cmocka_unit_test(keywords_are_told_by_whole_words_in_any_case),
        cmocka_unit_test(the_peer_is_named_by_the_first_word_of_the_greeting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
