/* Envelopes: the X- block, header fields as `sendmail -t` reads them, and what is cut. */
#include "base/memory.h"
#include "queue/envelope.h"
#include "tests/unit/cmocka_prelude.h"

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>

static const struct envelope_limits limits = {.max_recipients = 1000};

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

static struct envelope parse(const char *file)
{
    struct envelope envelope;
    char why[ENVELOPE_WHY_MAX];
    if (!envelope_parse(bytes_of(file), &limits, &envelope, why))
        fail_msg("%s: %s", file, why);
    return envelope;
}

static void assert_refused(const char *file, const char *expected_why)
{
    struct envelope envelope;
    char why[ENVELOPE_WHY_MAX];
    if (envelope_parse(bytes_of(file), &limits, &envelope, why))
        fail_msg("taken: %s", file);
    if (!strstr(why, expected_why))
        fail_msg("%s: %s", file, why);
    assert_null(strchr(why, '\n'));
}

struct row {
    const char *file;
    const char *envelope;
    const char *sent;
};
#define ROWS(rows) (sizeof(rows) / sizeof *(rows))

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

#define BLOCK "X-Sender: s@a.example\nX-Receiver: r@b.example\n"

static void option_values_are_checked(void **state)
{
    static const struct {
        const char *option;
        const char *why; /* NULL: taken */
    } rows[] = {
        {"Priority: 0", NULL},
        {"Priority: 9", NULL},
        {"Priority: 10", "0 to 9"},
        {"Priority: -1", "0 to 9"},
        {"Priority:", "printable"},
        {"Deadline: 30m", NULL},
        {"Deadline: 250ms", NULL},
        {"Deadline: 520w", NULL},
        {"Deadline: 530w", "duration"},
        {"Deadline: 0s", "duration"},
        {"Deadline: 5", "duration"},
        {"Deadline: 99999999999999999999s", "duration"},
        {"Deadline: 2030-01-31T12:00:00Z", NULL},
        {"Deadline: 2030-01-31t12:00:00.25+01:00", NULL},
        {"Deadline: 2030-02-30T12:00:00Z", "duration"},
        {"Deadline: 2030-01-31T24:00:00Z", "duration"},
        {"Deadline: 2030-01-31 12:00:00Z", "duration"},
        {"Deadline: 2030-01-31T12:00:00", "duration"},
        {"Deadline: 2030-00-31T12:00:00Z", "duration"},
        {"TLS: may", NULL},
        {"TLS: Encrypt", NULL},
        {"TLS: none", "not for less"},
        {"TLS: dane-only", NULL},
        {"TLS: Verify", NULL},
        {"TLS: wrapper", "expected"},
        {"TLS: encrypted", "expected"},
        {"RequireTLS: true", NULL},
        {"RequireTLS: false", NULL},
        {"RequireTLS: yes", "expected"},
        {"Pool: default", NULL},
        {"Pool: bulk", "no source pool"},
        {"Tag: summer sale", NULL},
        {"Tag: \xC3\xBC", "printable"},
        {"Envid: abc+40", NULL},
        {"Notify: failure, DELAY", NULL},
        {"Notify: SUCCESS", NULL},
        {"Notify: NEVER", NULL},
        {"Notify: never,failure", "expected"},
        {"Ret: full", NULL},
        {"Notify: failure,,delay", "expected"},
        {"Ret: hdrs", NULL},
        {"Ret: all", "expected"},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char *file = mem_printf("X-Sluice-%s\n" BLOCK "A: b\n\n", rows[i].option);
        if (rows[i].why) {
            assert_refused(file, rows[i].why);
        } else {
            struct envelope envelope = parse(file);
            envelope_fini(&envelope);
        }
        free(file);
    }
}

static void option_values_arrive(void **state)
{
    (void)state;
    struct envelope envelope = parse(BLOCK "\n");
    assert_int_equal(envelope.priority, 5);
    assert_int_equal(envelope.tls, ENVELOPE_TLS_NONE);
    assert_int_equal(envelope.deadline_after_ms, 0);
    assert_int_equal(envelope.deadline_wall_ms, 0);
    assert_null(envelope.tag);
    envelope_fini(&envelope);
    envelope = parse(BLOCK "X-Sluice-Priority: 9\nX-Sluice-TLS: encrypt\nX-Sluice-Deadline: 2h\n"
                           "x-sluice-tag:  summer sale \n\n");
    assert_int_equal(envelope.priority, 9);
    assert_int_equal(envelope.tls, ENVELOPE_TLS_ENCRYPT);
    assert_int_equal(envelope.deadline_after_ms, 7200000);
    assert_string_equal(envelope.tag, "summer sale");
    envelope_fini(&envelope);
    envelope = parse(BLOCK "X-Sluice-Deadline: 2030-01-31T12:00:00-01:30\n\n");
    assert_int_equal(envelope.deadline_wall_ms, 1896096600000);
    envelope_fini(&envelope);
}

static void dsn_options_arrive(void **state)
{
    (void)state;
    struct envelope envelope =
        parse("X-Sender: <s@a.example>\nX-Sluice-Notify: success, Delay\nX-Sluice-Ret: full\n"
              "X-Receiver: <a@b.example> notify=NEVER ORCPT=rfc822;A+2B1@old.example\n"
              "X-Receiver: b@b.example\n\tORCPT=x400;y\nX-Receiver: c@b.example\n"
              "X-Sluice-Envid: order 42\n\n");
    const struct address *items = envelope.recipients.items;
    assert_int_equal(envelope.recipients.num, 3);
    assert_string_equal(items[0].mailbox, "a@b.example");
    assert_int_equal(items[0].notify, NOTIFY_NEVER);
    assert_string_equal(items[0].orcpt, "rfc822;A+1@old.example");
    assert_string_equal(items[1].orcpt, "x400;y");
    assert_int_equal(items[1].notify, NOTIFY_SUCCESS | NOTIFY_DELAY);
    assert_null(items[2].orcpt);
    assert_int_equal(items[2].notify, NOTIFY_SUCCESS | NOTIFY_DELAY);
    assert_int_equal(envelope.ret, RET_FULL);
    assert_string_equal(envelope.envid, "order 42");
    envelope_fini(&envelope);
    envelope = parse("X-Sluice-Notify: NEVER\nFrom: s@a.example\nTo: a@b.example, c@b.example\n\n");
    assert_int_equal(envelope.recipients.items[1].notify, NOTIFY_NEVER);
    envelope_fini(&envelope);
}

static void dsn_parameters_that_are_not_understood_are_refused(void **state)
{
    static const struct {
        const char *receiver, *why;
    } rows[] = {
        {"<a@b.example> NOTIFY=SOMETIMES", "expected NOTIFY"},
        {"<a@b.example> NOTIFY=", "expected NOTIFY"},
        {"<a@b.example> NOTIFY=NEVER NOTIFY=DELAY", "NOTIFY given twice"},
        {"<a@b.example> ORCPT=rfc822;a ORCPT=rfc822;b", "ORCPT given twice"},
        {"<a@b.example> ORCPT=a@b.example", "expected ORCPT"},
        {"<a@b.example> ORCPT=rfc822;a+0Db", "expected ORCPT"},
        {"<a@b.example> ORCPT=rfc822;a+2", "expected ORCPT"},
        {"<a@b.example> RET=FULL", "X-Receiver"},
        {"NOTIFY=NEVER", "X-Receiver"},
        {"a@b.example (note ORCPT=rfc822;x)", "X-Receiver"},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char *file = mem_printf("X-Sender: <>\nX-Receiver: %s\nA: b\n\n", rows[i].receiver);
        assert_refused(file, rows[i].why);
        free(file);
    }
    char id[120];
    memset(id, ' ', sizeof id);
    id[0] = id[40] = 'x';
    id[41] = '\0';
    char *file = mem_printf("X-Sluice-Envid: %s\n" BLOCK "A: b\n\n", id);
    assert_refused(file, "over 100 octets");
    free(file);
}

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

static void tls_required_counts_only_as_rfc_8689_writes_it(void **state)
{
    static const struct {
        const char *header;
        bool optional;
    } rows[] = {
        {"TLS-Required: No\n\n", true},
        {"A: b\r\ntls-required:no\r\n\r\n", true},
        {"TLS-Required:\n No \nA: b\n", true},
        {"TLS-Required: Yes\n\n", false},
        {"TLS-Required: No thanks\n\n", false},
        {"TLS-Required: No (really)\n\n", false},
        {"TLS-Required:\n\n", false},
        {"TLS-Require: No\n\n", false},
        {"X-TLS-Required: No\n\n", false},
        {"TLS-Required: No\nTLS-Required: No\n\n", false},
        {"TLS-Required: Yes\nTLS-Required: No\n\n", false},
        {"A: b\n\nTLS-Required: No\n", false},
        {"A: b\nno field\nTLS-Required: No\n\n", false},
        {"Subject: x\n TLS-Required: No\n\n", false},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        for (unsigned form = 0; form < 2; form++) {
            char *file = mem_printf("%s%s",
                                    form ? "X-Sluice-RequireTLS: true\n" BLOCK
                                         : "To: a@b.example\nFrom: s@b.example\n",
                                    rows[i].header);
            struct envelope envelope = parse(file);
            if (envelope.tls_optional != rows[i].optional)
                fail_msg("%s", file);
            assert_int_equal(envelope.require_tls, form);
            envelope_fini(&envelope);
            free(file);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(block_is_the_envelope_and_is_cut),
        cmocka_unit_test(headers_are_the_envelope_as_for_sendmail_t),
        cmocka_unit_test(resent_fields_win),
        cmocka_unit_test(no_bcc_leaves_in_disguise),
        cmocka_unit_test(what_has_no_envelope_is_refused),
        cmocka_unit_test(option_values_are_checked),
        cmocka_unit_test(option_values_arrive),
        cmocka_unit_test(dsn_options_arrive),
        cmocka_unit_test(dsn_parameters_that_are_not_understood_are_refused),
        cmocka_unit_test(header_section_is_described),
        cmocka_unit_test(smtputf8_is_needed_for_utf8_only),
        cmocka_unit_test(recipients_are_limited),
        cmocka_unit_test(tls_required_counts_only_as_rfc_8689_writes_it),
        cmocka_unit_test(duplicates_collapse_in_the_order_of_appearance),
        cmocka_unit_test(header_end_is_found_in_any_portions),
        cmocka_unit_test(header_end_agrees_with_the_parser),
        cmocka_unit_test(a_body_without_header_is_told_from_a_header),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
