/* Any bytes as a series of replies: whole and octet by octet they must read the same, the text kept
 * must be printable and bounded, and nothing may be read beyond the input. */
#include "base/check.h"
#include "router/smtp_reply.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_line(void *ctx, unsigned number, struct bytes line)
{
    CHECK(number < SMTP_REPLY_LINES_MAX && line.len <= SMTP_REPLY_LINE_MAX);
    smtp_capabilities_line(ctx, number, smtp_reply_line_text(line));
}

static enum smtp_parse parse_bytewise(struct smtp_reply_parser *parser, struct bytes in,
                                      size_t *out_consumed)
{
    struct smtp_capabilities capabilities;
    enum smtp_parse parse = SMTP_PARSE_MORE;
    *out_consumed = 0;
    smtp_capabilities_init(&capabilities);
    smtp_reply_parser_init(parser);
    while (parse == SMTP_PARSE_MORE && *out_consumed < in.len) {
        size_t consumed;
        struct bytes one = bytes_first(bytes_from(in, *out_consumed), 1);
        parse = smtp_reply_parse(parser, one, &consumed, on_line, &capabilities);
        CHECK(consumed == 1 || parse == SMTP_PARSE_BROKEN);
        *out_consumed += consumed;
    }
    return parse;
}

static void check_reply(const struct smtp_reply *reply)
{
    size_t len = strnlen(reply->text, sizeof reply->text);
    CHECK(len < sizeof reply->text);
    for (size_t i = 0; i < len; i++)
        CHECK((uint8_t)reply->text[i] >= 0x20 && reply->text[i] != 0x7f);
    /* What was kept is valid: to keep it again alters nothing. */
    char again[SMTP_REPLY_TEXT_MAX] = "";
    size_t again_len = 0;
    CHECK(smtp_text_append(again, sizeof again, &again_len, bytes_make(reply->text, len)));
    CHECK(strcmp(again, reply->text) == 0);
    CHECK(reply->code >= 200 && reply->code <= 599);
    CHECK(reply->enhanced[0] == 0 || reply->enhanced[0] == reply->code / 100);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = bytes_make(data, size);
    for (;;) {
        struct smtp_reply_parser whole, bytewise;
        struct smtp_capabilities capabilities;
        size_t consumed, consumed_bytewise;
        smtp_capabilities_init(&capabilities);
        smtp_reply_parser_init(&whole);
        enum smtp_parse parse = smtp_reply_parse(&whole, in, &consumed, on_line, &capabilities);
        CHECK(parse == parse_bytewise(&bytewise, in, &consumed_bytewise));
        if (parse == SMTP_PARSE_BROKEN)
            CHECK(whole.why && bytewise.why);
        if (parse != SMTP_PARSE_DONE)
            return 0;
        CHECK(consumed > 0 && consumed == consumed_bytewise);
        CHECK(whole.reply.code == bytewise.reply.code);
        CHECK(strcmp(whole.reply.text, bytewise.reply.text) == 0);
        check_reply(&whole.reply);
        in = bytes_from(in, consumed);
    }
}
