/* Envelopes: the X- block, header fields as `sendmail -t` reads them, and what is cut. */
#include "base/memory.h"
#include "tests/support/envelope_text.h"

#include <stdlib.h>

/* "sender > recipient recipient", for comparison. */
static char *describe(const struct envelope *envelope)
{
    struct buffer text;
    buffer_init(&text, 1 << 20);
    buffer_printf(&text, "%s >", envelope->sender.mailbox);
    for (size_t i = 0; i < envelope->recipients.num; i++)
        buffer_printf(&text, " %s", envelope->recipients.items[i].mailbox);
    buffer_append_byte(&text, '\0');
    return (char *)text.at;
}

/* What is left of the file. */
static char *without_cuts(struct bytes file, const struct envelope *envelope)
{
    struct buffer text;
    size_t at = 0;
    buffer_init(&text, 1 << 20);
    for (size_t i = 0; i < envelope->num_cuts; i++) {
        const struct envelope_cut *cut = &envelope->cuts[i];
        assert_true(cut->offset >= at && cut->len > 0 && cut->offset + cut->len <= file.len);
        buffer_append(&text, file.at + at, cut->offset - at);
        at = cut->offset + cut->len;
    }
    buffer_append_bytes(&text, bytes_from(file, at));
    buffer_append_byte(&text, '\0');
    return (char *)text.at;
}

struct row {
    const char *file;
    const char *envelope;
    const char *sent;
};

static void assert_rows(const struct row *rows, size_t num, bool is_explicit)
{
    for (size_t i = 0; i < num; i++) {
        struct envelope envelope = parse(rows[i].file);
        char *text = describe(&envelope);
        char *sent = without_cuts(bytes_of(rows[i].file), &envelope);
        assert_string_equal(text, rows[i].envelope);
        assert_string_equal(sent, rows[i].sent);
        assert_int_equal(envelope.is_explicit, is_explicit);
        free(text);
        free(sent);
        envelope_fini(&envelope);
    }
}

static void block_is_the_envelope_and_is_cut(void **state)
{
    static const struct row rows[] = {
        {"X-Sender: <s@a.example>\nX-Receiver: <r@b.example>\nTo: x@y.example\n\nbody\n",
         "s@a.example > r@b.example", "To: x@y.example\n\nbody\n"},
        {"x-sender: s@a.example\r\nX-RECEIVER: r@b.example\r\nx-receiver: q@b.example\r\n"
         "Subject: x\r\n\r\nbody\r\n",
         "s@a.example > r@b.example q@b.example", "Subject: x\r\n\r\nbody\r\n"},
        {"X-Receiver: r@b.example\nX-Sluice-Tag: t\nX-Sender: <>\nA: b\n\n", " > r@b.example",
         "A: b\n\n"},
        {"X-Receiver: r@b.example\nX-Receiver: R@b.example\nX-Receiver: r@B.example\n"
         "X-Sender: <>\n\n",
         " > r@b.example R@b.example", "\n"},
        {"X-Sender:\n <s@a.example>\nX-Receiver: r@b.example\n\nSubject: x\n\nbody",
         "s@a.example > r@b.example", "Subject: x\n\nbody"},
        {"X-Sender: s@a.example\nX-Receiver: r@b.example\n\nbody only\n",
         "s@a.example > r@b.example", "\nbody only\n"},
        {"X-Sender: s@a.example\nX-Receiver: r@b.example\nno header\n", "s@a.example > r@b.example",
         "no header\n"},
        {"From x Mon Jan 1\nX-Sender: s@a.example\nX-Receiver: r@b.example\nA: b\n\n",
         "s@a.example > r@b.example", "A: b\n\n"},
        {"X-Sender: s@a.example\nX-Receiver: r@b.example\nFrom x Mon Jan 1\nA: b\n\n",
         "s@a.example > r@b.example", "A: b\n\n"},
        {"X-Sender: s@a.example\nX-Receiver: r@b.example\nA: b\nBcc: h@i.example,\n j@k.example\n"
         "Return-Path: <z@z.example>\nC: d\n\nBcc: body\n",
         "s@a.example > r@b.example", "A: b\nC: d\n\nBcc: body\n"},
        {"X-Sender: s@a.example\nX-Receiver: r@b.example\nA: b\nX-Receiver: n@o.example\n"
         "X-Sluice-Priority: 99\n\n",
         "s@a.example > r@b.example", "A: b\nX-Receiver: n@o.example\nX-Sluice-Priority: 99\n\n"},
        {"X-Sender: s@a.example\nX-Receiver: r@b.example\n", "s@a.example > r@b.example", ""},
    };
    (void)state;
    assert_rows(rows, ROWS(rows), true);
}

static void headers_are_the_envelope_as_for_sendmail_t(void **state)
{
    static const struct row rows[] = {
        {"From: s@a.example\nTo: r@b.example, q@b.example\nCc: c@d.example\n\nbody",
         "s@a.example > r@b.example q@b.example c@d.example",
         "From: s@a.example\nTo: r@b.example, q@b.example\nCc: c@d.example\n\nbody"},
        {"From: s@a.example\nBcc: r@b.example,\n\tq@b.example\nSubject: x\n\n",
         "s@a.example > r@b.example q@b.example", "From: s@a.example\nSubject: x\n\n"},
        {"From: s@a.example\nBCC : r@b.example\n\n", "s@a.example > r@b.example",
         "From: s@a.example\n\n"},
        {"To: r@b.example\nFrom: f@a.example\nSender: s@a.example\n\n", "s@a.example > r@b.example",
         "To: r@b.example\nFrom: f@a.example\nSender: s@a.example\n\n"},
        {"Return-Path: <p@a.example>\nSender: s@a.example\nTo: r@b.example\n\n",
         "p@a.example > r@b.example", "Sender: s@a.example\nTo: r@b.example\n\n"},
        {"Return-Path: <>\nFrom: s@a.example\nTo: r@b.example\n\n", " > r@b.example",
         "From: s@a.example\nTo: r@b.example\n\n"},
        {"From: A <a@a.example>, B <b@b.example>\nTo: r@b.example", "a@a.example > r@b.example",
         "From: A <a@a.example>, B <b@b.example>\nTo: r@b.example"},
        {"From: s@a.example\nTo: r@b.example\nCc: r@B.example\nBcc: q@b.example, r@b.example\n\n",
         "s@a.example > r@b.example q@b.example",
         "From: s@a.example\nTo: r@b.example\nCc: r@B.example\n\n"},
        {"From s@a.example Mon Jan 1\nFrom: s@a.example\nTo: r@b.example\n\n",
         "s@a.example > r@b.example", "From: s@a.example\nTo: r@b.example\n\n"},
        {"From: s@a.example\nTo: undisclosed-recipients:;\nBcc: r@b.example\n\n",
         "s@a.example > r@b.example", "From: s@a.example\nTo: undisclosed-recipients:;\n\n"},
        {"X-Sluice-Priority: 1\nFrom: s@a.example\nTo: r@b.example\n\n",
         "s@a.example > r@b.example", "From: s@a.example\nTo: r@b.example\n\n"},
        {"From: s@a.example\nTo: r@b.example\n>From x\nSubject: y\n\nbody",
         "s@a.example > r@b.example",
         "From: s@a.example\nTo: r@b.example\n>From x\nSubject: y\n\nbody"},
    };
    (void)state;
    assert_rows(rows, ROWS(rows), false);
}

static void resent_fields_win(void **state)
{
    static const struct row rows[] = {
        {"Resent-From: s@a.example\nResent-To: r@b.example\nResent-Bcc: q@b.example\n"
         "From: x@y.example\nTo: x@z.example\n\n",
         "s@a.example > r@b.example q@b.example",
         "Resent-From: s@a.example\nResent-To: r@b.example\nFrom: x@y.example\n"
         "To: x@z.example\n\n"},
        {"Resent-From: f@a.example\nResent-Sender: s@a.example\nSender: x@y.example\n"
         "Resent-Cc: r@b.example\n\n",
         "s@a.example > r@b.example",
         "Resent-From: f@a.example\nResent-Sender: s@a.example\nSender: x@y.example\n"
         "Resent-Cc: r@b.example\n\n"},
        {"Resent-From: s@a.example\nA: b\nResent-To: r@b.example\nResent-To: q@b.example\n\n",
         "s@a.example > r@b.example q@b.example",
         "Resent-From: s@a.example\nA: b\nResent-To: r@b.example\nResent-To: q@b.example\n\n"},
        /* Resent twice: only the newest group counts. */
        {"Resent-From: s@a.example\nResent-Date: 2\nResent-To: r@b.example\n"
         "Resent-From: o@a.example\nResent-Date: 1\nResent-To: o@b.example\n\n",
         "s@a.example > r@b.example",
         "Resent-From: s@a.example\nResent-Date: 2\nResent-To: r@b.example\n"
         "Resent-From: o@a.example\nResent-Date: 1\nResent-To: o@b.example\n\n"},
        {"Resent-To: r@b.example\nResent-From: s@a.example\nResent-Date: 2\nReceived: x\n"
         "Resent-Cc: o@b.example\nResent-From: o@a.example\nResent-Date: 1\n\n",
         "s@a.example > r@b.example",
         "Resent-To: r@b.example\nResent-From: s@a.example\nResent-Date: 2\nReceived: x\n"
         "Resent-Cc: o@b.example\nResent-From: o@a.example\nResent-Date: 1\n\n"},
    };
    (void)state;
    assert_rows(rows, ROWS(rows), false);
    assert_refused("Resent-From: s@a.example\nResent-To: r@b.example\nResent-To: q@b.example\n"
                   "Resent-Date: 2\nResent-From: o@a.example\nResent-Date: 1\n\n",
                   "not clear");
}

/* What a field is on the wire is one here: content.c makes CRLF of a lone CR and drops NUL. */
static void no_bcc_leaves_in_disguise(void **state)
{
    static const char file[] = "From: s@a.example\rTo: r@b.example\rBcc: q@b.example,\r z@b.example"
                               "\rB\0cc: n@b.example\r\0\nA: b\r\nRESENT-bcc:;\r\0\r\nbody";
    struct envelope envelope;
    char why[ENVELOPE_WHY_MAX];
    struct bytes bytes = bytes_make(file, sizeof file - 1);
    (void)state;
    assert_true(envelope_parse(bytes, &limits, &envelope, why) == false);
    assert_string_equal(why, "no recipients"); /* a Resent-Bcc is a Resent field */
    bytes = bytes_first(bytes, sizeof file - 1 - strlen("RESENT-bcc:;\r?\r\nbody"));
    assert_true(envelope_parse(bytes, &limits, &envelope, why));
    char *text = describe(&envelope), *sent = without_cuts(bytes, &envelope);
    assert_string_equal(text, "s@a.example > r@b.example q@b.example z@b.example n@b.example");
    assert_string_equal(sent, "From: s@a.example\rTo: r@b.example\rA: b\r\n");
    free(text);
    free(sent);
    envelope_fini(&envelope);
}

static void what_has_no_envelope_is_refused(void **state)
{
    static const struct {
        const char *file;
        const char *why;
    } rows[] = {
        {"", "no header section"},
        {"\nTo: a@b.example\n", "no header section"},
        {"hello world\n\n", "no header section"},
        {" To: a@b.example\n\n", "no header section"},
        {"Subject: x\n\nbody", "no recipients"},
        {"From: s@a.example\nTo: g:;\n\n", "no recipients"},
        {"To: r@b.example\n\n", "no sender"},
        {"From: g:;\nTo: r@b.example\n\n", "line 1: From: no address"},
        {"From: s@a.example\nSubject: x\nTo: r\n\n", "line 3: To: no domain"},
        {"From: s@a.example\nTo: r@b.example,\n x y@c.example\n\n", "line 2: To: words"},
        {"From: s@a.example\nTo: r@b.example\nBcc: <r\n\n", "line 3: Bcc: "},
        {"From: s@a.example\nhello\nTo: r@b.example\n\n", "line 2: no header field"},
        {"From: s@a.example\nTo: r@b.example\nhello\nBcc: q@b.example\n\n", "line 3: no header"},
        {"Return-Path: x\nFrom: s@a.example\nTo: r@b.example\n\n", "Return-Path: no domain"},
        {"X-Sender: s@a.example\nA: b\n\n", "X-Sender without X-Receiver"},
        {"X-Receiver: s@a.example\nA: b\n\n", "X-Receiver without X-Sender"},
        {"X-Sender: <>\nX-Sender: <>\nX-Receiver: s@a.example\n\n", "line 2: a second X-Sender"},
        {"X-Sender: <>\nX-Receiver: <>\n\n", "line 2: X-Receiver: the null"},
        {"X-Sender: <>\nX-Receiver: a@b.example, c@d.example\n\n", "X-Receiver: more text"},
        {"X-Sender: <>\nX-Receiver: a@b.example\nX-Sluice-Foo: 1\n\n", "line 3: an unknown"},
        {"X-Sender: <>\nX-Receiver: a@b.example\nX-Sluice-Tag: a\nX-Sluice-Tag: b\n\n",
         "line 4: X-Sluice-Tag: given twice"},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_refused(rows[i].file, rows[i].why);
}

static void recipients_are_limited(void **state)
{
    const struct envelope_limits two = {.max_recipients = 2};
    struct envelope envelope;
    char why[ENVELOPE_WHY_MAX];
    (void)state;
    assert_false(
        envelope_parse(bytes_of(BLOCK "X-Receiver: a@b.example\nX-Receiver: c@d.example\n\n"), &two,
                       &envelope, why));
    assert_string_equal(why, "line 4: too many recipients");
    assert_false(envelope_parse(bytes_of("From: a@b.example\nTo: a@b.example, b@b.example\n"
                                         "Cc: c@b.example\n\n"),
                                &two, &envelope, why));
    assert_string_equal(why, "line 3: Cc: too many addresses");
}

static void duplicates_collapse_in_the_order_of_appearance(void **state)
{
    struct buffer file;
    (void)state;
    buffer_init(&file, 1 << 20);
    buffer_append_str(&file, "X-Sender: <>\n");
    for (unsigned i = 0; i < 900; i++)
        buffer_printf(&file, "X-Receiver: r%u@b.example\n", (i * 7919) % 300);
    buffer_append_byte(&file, '\0');
    struct envelope envelope = parse((char *)file.at);
    assert_int_equal(envelope.recipients.num, 300);
    for (unsigned i = 0; i < 300; i++) {
        char *expected = mem_printf("r%u@b.example", (i * 7919) % 300);
        assert_string_equal(envelope.recipients.items[i].mailbox, expected);
        free(expected);
    }
    envelope_fini(&envelope);
    buffer_fini(&file);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_is_the_envelope_and_is_cut),
        cmocka_unit_test(headers_are_the_envelope_as_for_sendmail_t),
        cmocka_unit_test(resent_fields_win),
        cmocka_unit_test(no_bcc_leaves_in_disguise),
        cmocka_unit_test(what_has_no_envelope_is_refused),
        cmocka_unit_test(recipients_are_limited),
        cmocka_unit_test(duplicates_collapse_in_the_order_of_appearance),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
