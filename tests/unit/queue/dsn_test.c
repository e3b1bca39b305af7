/* Rules of failure notices: RFC 3464 in form, and nothing that a stranger said can change that
 * form.
 */
#include "base/memory.h"
#include "queue/dsn.h"

#include <stdio.h>
#include <stdlib.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static struct outcome bounce(uint16_t code, uint8_t a, uint8_t b, uint8_t c, const char *text)
{
    struct outcome outcome = {
        .kind = OUTCOME_BOUNCED, .phase = PHASE_RCPT, .code = code, .enhanced = {a, b, c}};
    snprintf(outcome.text, sizeof outcome.text, "%s", text);
    return outcome;
}

static struct dsn_recipient failed(const char *mailbox, const struct outcome *outcome,
                                   const char *remote_mta)
{
    return (struct dsn_recipient){.action = DSN_FAILED,
                                  .mailbox = mailbox,
                                  .outcome = outcome,
                                  .remote_mta = remote_mta,
                                  .attempted_wall_ms = 1700432000000};
}

static struct dsn_request request_with(const struct dsn_recipient *recipients, size_t num)
{
    return (struct dsn_request){
        .reporting_mta = "mta1.example.com",
        .id = 42,
        .event = 3,
        .sender = "alice@example.org",
        .arrived_wall_ms = 1700000000000,
        .now_wall_ms = 1700432000000,
        .original = bytes_of("Subject: hello\r\nFrom: alice@example.org\r\n\r\n"),
        .recipients = recipients,
        .num_recipients = num,
    };
}

/* The whole file as a string, owned by the caller; its form is checked on the way: no CR, no line
 * over 998, ends with the closing boundary. */
static char *compose(const struct dsn_request *request)
{
    struct buffer out;
    buffer_init(&out, 1 << 20);
    assert_true(dsn_compose(request, &out));
    assert_null(memchr(out.at, '\r', out.len));
    assert_null(memchr(out.at, '\0', out.len));
    for (size_t at = 0; at < out.len;) {
        size_t len = bytes_find(bytes_from(buffer_bytes(&out), at), '\n');
        assert_true(len <= 998);
        at += len + 1;
    }
    char *text = mem_strndup(out.at, out.len);
    buffer_fini(&out);
    assert_string_equal(text + strlen(text) - 3, "--\n");
    return text;
}

static size_t count(const char *text, const char *what)
{
    size_t num = 0;
    for (; (text = strstr(text, what)); text++)
        num++;
    return num;
}

static const char *boundary_of(const char *text)
{
    static char boundary[80];
    const char *at = strstr(text, "boundary=\"");
    assert_non_null(at);
    assert_int_equal(sscanf(at, "boundary=\"%70[^\"]", boundary), 1);
    return boundary;
}

static void a_rejected_recipient_is_reported_in_full(void **state)
{
    (void)state;
    struct outcome outcome = bounce(550, 5, 1, 1, "no such user");
    struct dsn_recipient bob = failed("bob@example.net", &outcome, "mx.example.net");
    struct dsn_request request = request_with(&bob, 1);
    char *text = compose(&request);
    static const char *const lines[] = {
        "X-Sender: <>\nX-Receiver: <alice@example.org>\n",
        "\nFrom: \"Mail Delivery System\" <MAILER-DAEMON@mta1.example.com>\n",
        "\nTo: <alice@example.org>\n",
        "\nDate: Sun, 19 Nov 2023 22:13:20 +0000\n",
        "\nAuto-Submitted: auto-replied\n",
        "\nMIME-Version: 1.0\n",
        "\nContent-Type: multipart/report; report-type=delivery-status;\n",
        "\nContent-Type: message/delivery-status\n",
        "\nReporting-MTA: dns; mta1.example.com\n",
        "\nArrival-Date: Tue, 14 Nov 2023 22:13:20 +0000\n",
        "\nOriginal-Recipient: rfc822; bob@example.net\n",
        "\nFinal-Recipient: rfc822; bob@example.net\nAction: failed\nStatus: 5.1.1\n"
        "Remote-MTA: dns; mx.example.net\nDiagnostic-Code: smtp; 550 5.1.1 no such user\n"
        "Last-Attempt-Date: Sun, 19 Nov 2023 22:13:20 +0000\n",
        "\n  <bob@example.net>:\n    host mx.example.net said: 550 5.1.1 no such user\n",
        "\nContent-Type: text/rfc822-headers\n",
        "\n\nSubject: hello\nFrom: alice@example.org\n",
    };
    assert_int_equal(strncmp(text, "X-Sender: <>\n", 13), 0);
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(text, lines[i]))
            fail_msg("missing: %s\nin:\n%s", lines[i], text);
    free(text);
}

static void without_a_reply_the_diagnostic_code_is_our_own(void **state)
{
    (void)state;
    struct outcome outcome = bounce(0, 0, 0, 0, "domain does not exist");
    struct dsn_recipient bob = failed("bob@nowhere.example", &outcome, "");
    struct dsn_request request = request_with(&bob, 1);
    char *text = compose(&request);
    assert_non_null(strstr(text, "\nDiagnostic-Code: x-sluice; domain does not exist\n"));
    assert_null(strstr(text, "Remote-MTA"));
    assert_non_null(strstr(text, "\nStatus: 5.0.0\n"));
    assert_non_null(strstr(text, "\n    domain does not exist\n"));
    free(text);
}

static void each_recipient_has_its_own_block(void **state)
{
    (void)state;
    struct outcome a = bounce(550, 5, 1, 1, "no"), b = bounce(0, 4, 4, 7, "expired");
    struct dsn_recipient both[] = {failed("a@x.example", &a, "mx"), failed("b@x.example", &b, "")};
    struct dsn_request request = request_with(both, 2);
    char *text = compose(&request);
    assert_int_equal(count(text, "\n\nOriginal-Recipient: "), 2);
    assert_int_equal(count(text, "\nAction: failed\n"), 2);
    assert_non_null(strstr(text, "\nStatus: 4.4.7\n"));
    free(text);
}

static void a_reply_cannot_add_lines(void **state)
{
    (void)state;
    struct outcome outcome = bounce(550, 5, 0, 0, "no\r\nBcc: victim@example.com\n\n--x\x01\x7f");
    struct dsn_recipient bob =
        failed("bob@x.example\nBcc: other@example.com", &outcome, "mx\nX: y");
    struct dsn_request request = request_with(&bob, 1);
    request.reporting_mta = "host\nBcc: third@example.com";
    char *text = compose(&request);
    assert_null(strstr(text, "\nBcc:"));
    assert_null(strstr(text, "\nX: y"));
    assert_int_equal(count(text, boundary_of(text)), 5);
    free(text);
}

static void an_unsafe_sender_gets_none(void **state)
{
    (void)state;
    struct outcome outcome = bounce(550, 5, 0, 0, "no");
    struct dsn_recipient bob = failed("bob@x.example", &outcome, "mx");
    struct dsn_request request = request_with(&bob, 1);
    struct buffer out;
    buffer_init(&out, 1 << 20);
    request.sender = "a@b\nX-Receiver: <c@d>";
    assert_false(dsn_compose(&request, &out));
    request.sender = "";
    assert_false(dsn_compose(&request, &out));
    request.sender = "a@b";
    out.max = 500;
    assert_false(dsn_compose(&request, &out));
    buffer_fini(&out);
}

static void the_head_is_quoted_safely(void **state)
{
    (void)state;
    struct outcome outcome = bounce(550, 5, 0, 0, "no");
    struct dsn_recipient bob = failed("bob@x.example", &outcome, "mx");
    struct dsn_request request = request_with(&bob, 1);
    struct buffer head;
    buffer_init(&head, 1 << 20);
    buffer_append(&head, "A: nul\0octet\rB: lone CR\nC: \t", 28);
    for (int i = 0; i < 3000; i++)
        buffer_append_str(&head, "\xc3\xa4");
    buffer_append_str(&head, "\nD: last\n\nbody must not be quoted\n");
    request.original = buffer_bytes(&head);
    char *text = compose(&request);
    assert_non_null(strstr(text, "\nA: nul?octet\nB: lone CR\nC: "));
    assert_non_null(strstr(text, "\nD: last\n\n--"));
    assert_null(strstr(text, "body must not"));
    assert_non_null(strstr(text, "text/rfc822-headers\nContent-Transfer-Encoding: 8bit\n"));
    /* Folded between characters. */
    assert_null(strstr(text, "\xc3\n"));
    free(text);
    buffer_fini(&head);
}

static void a_huge_head_is_cut_at_a_line(void **state)
{
    (void)state;
    struct outcome outcome = bounce(550, 5, 0, 0, "no");
    struct dsn_recipient bob = failed("bob@x.example", &outcome, "mx");
    struct dsn_request request = request_with(&bob, 1);
    struct buffer head;
    buffer_init(&head, 1 << 20);
    for (int i = 0; i < 20000; i++)
        buffer_printf(&head, "X-%05d: abcdefgh\n", i);
    request.original = buffer_bytes(&head);
    char *text = compose(&request);
    assert_true(strlen(text) < DSN_HEAD_MAX + 4096);
    assert_true(count(text, "\nX-0") == count(text, ": abcdefgh\n"));
    free(text);
    buffer_fini(&head);
}

static void a_head_that_holds_a_boundary_gets_another(void **state)
{
    (void)state;
    struct outcome outcome = bounce(550, 5, 0, 0, "no");
    struct dsn_recipient bob = failed("bob@x.example", &outcome, "mx");
    struct dsn_request request = request_with(&bob, 1);
    char *text = compose(&request);
    char head[256];
    snprintf(head, sizeof head, "Subject: hello\n--%s--\nX: y\n", boundary_of(text));
    free(text);
    request.original = bytes_of(head);
    text = compose(&request);
    assert_int_equal(count(text, boundary_of(text)), 5);
    free(text);
}

static void international_mail_gets_the_global_forms(void **state)
{
    (void)state;
    struct outcome outcome = bounce(550, 5, 1, 1, "unbekannt: j\xc3\xb6rg");
    struct dsn_recipient jorg = failed("j\xc3\xb6rg@x.example", &outcome, "mx.example");
    struct dsn_request request = request_with(&jorg, 1);
    request.needs_utf8 = true;
    char *text = compose(&request);
    assert_non_null(strstr(text, "\nContent-Type: message/global-delivery-status\n"));
    assert_non_null(strstr(text, "\nContent-Type: message/global-headers\n"));
    assert_non_null(strstr(text, "\nFinal-Recipient: utf-8; j\xc3\xb6rg@x.example\n"));
    assert_non_null(strstr(text, "smtp; 550 5.1.1 unbekannt: j\xc3\xb6rg\n"));
    free(text);
    /* In a report for ASCII mail, a reply in UTF-8 becomes ASCII (RFC 3464 2.1.2). */
    struct dsn_recipient bob = failed("bob@x.example", &outcome, "mx.example");
    request = request_with(&bob, 1);
    text = compose(&request);
    assert_non_null(strstr(text, "unbekannt: j??rg\n"));
    free(text);
}

static void the_same_event_has_the_same_name(void **state)
{
    (void)state;
    static const char *const others[] = {"",
                                         "dsn",
                                         "dsn-",
                                         "dsn-000000000001a",
                                         "dsn-000000000001a-",
                                         "dsn-000000000001a-03",
                                         "dsn-000000000001a-3x",
                                         "dsn-000000000001a-4294967296",
                                         "dsx-000000000001a-3",
                                         "dsn-000000000001a+3",
                                         "dsn-00000000000!a-3"};
    char name[DSN_NAME_MAX];
    uint64_t id = 0;
    unsigned event = 0;
    dsn_name(42, 3, name);
    assert_string_equal(name, "dsn-000000000001a-3");
    assert_true(dsn_name_parse(name, &id, &event));
    assert_true(id == 42 && event == 3);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (dsn_name_parse(others[i], &id, &event))
            fail_msg("taken: %s", others[i]);
}

static void every_action_has_its_words_and_fields(void **state)
{
    (void)state;
    struct outcome full = bounce(552, 5, 2, 2, "quota"), wait = bounce(451, 4, 7, 1, "greylisted");
    struct outcome ok = {.kind = OUTCOME_DELIVERED, .code = 250, .text = "queued"};
    struct outcome none = {.kind = OUTCOME_NONE};
    struct dsn_recipient rows[] = {
        failed("full@x.example", &full, "mx"), failed("late@x.example", &wait, "mx"),
        failed("idle@x.example", &none, ""), failed("box@x.example", &ok, "lmtp"),
        failed("far@x.example", &ok, "mx2")};
    rows[1].action = rows[2].action = DSN_DELAYED;
    rows[1].retry_until_wall_ms = rows[2].retry_until_wall_ms = 1700500000000;
    rows[2].attempted_wall_ms = 0;
    rows[3].action = DSN_DELIVERED;
    rows[4].action = DSN_RELAYED;
    rows[4].orcpt = "x400;/c=de/x=1";
    struct dsn_request request = request_with(rows, 5);
    request.envid = "order 42";
    char *text = compose(&request);
    static const char *const lines[] = {
        "\nSubject: Undelivered Mail Returned to Sender\n",
        "\nOriginal-Envelope-Id: order 42\nArrival-Date: ",
        "\n    The mailbox is full. Please",
        "Final-Recipient: rfc822; late@x.example\nAction: delayed\nStatus: 4.7.1\n"
        "Remote-MTA: dns; mx\nDiagnostic-Code: smtp; 451 4.7.1 greylisted\n"
        "Last-Attempt-Date: Sun, 19 Nov 2023 22:13:20 +0000\n"
        "Will-Retry-Until: Mon, 20 Nov 2023 17:06:40 +0000\n",
        "Final-Recipient: rfc822; idle@x.example\nAction: delayed\nStatus: 4.0.0\nWill-Retry",
        "\n    no attempt could be made yet\n    It is tried until Mon, 20 Nov 2023 17:06:40 "
        "+0000.\n",
        "\nAction: delivered\nStatus: 2.0.0\nRemote-MTA: dns; lmtp\n",
        "\nOriginal-Recipient: x400; /c=de/x=1\nFinal-Recipient: rfc822; far@x.example\n"
        "Action: relayed\nStatus: 2.0.0\n",
        "gives no\nfurther notice of success:\n\n  <far@x.example>:\n    host mx2 said: 250 "
        "queued\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        if (!strstr(text, lines[i]))
            fail_msg("missing: %s\nin:\n%s", lines[i], text);
    free(text);
    static const char *const subjects[] = {
        "Undelivered Mail Returned to Sender", "Delayed Mail (still being retried)",
        "Delayed Mail (still being retried)", "Successful Mail Delivery Report",
        "Successful Mail Delivery Report"};
    for (size_t i = 0; i < 5; i++) {
        request.recipients = &rows[i];
        request.num_recipients = 1;
        text = compose(&request);
        assert_non_null(strstr(text, subjects[i]));
        free(text);
    }
}

static void the_whole_original_is_quoted_safely(void **state)
{
    (void)state;
    struct outcome outcome = bounce(550, 5, 0, 0, "no");
    struct dsn_recipient bob = failed("bob@x.example", &outcome, "mx");
    struct dsn_request request = request_with(&bob, 1);
    struct buffer whole;
    buffer_init(&whole, 1 << 20);
    buffer_append_str(&whole, "Subject: s\r\n\r\nfirst\rsecond\r\n\r\n--x\n");
    for (int i = 0; i < 3000; i++)
        buffer_append_str(&whole, "y");
    buffer_append(&whole, "\0\xff", 2);
    request.original = buffer_bytes(&whole);
    request.is_whole = true;
    char *text = compose(&request);
    assert_non_null(strstr(text, "message/rfc822\nContent-Transfer-Encoding: 8bit\n\n"
                                 "Subject: s\n\nfirst\nsecond\n\n--x\nyyy"));
    assert_non_null(strstr(text, "y?\xff\n"));
    assert_non_null(strstr(text, "\nYour message is attached.\n"));
    assert_non_null(strstr(text, "\"\nContent-Transfer-Encoding: 8bit\n\nThis is a MIME"));
    free(text);
    request.original = bytes_make(NULL, 0);
    text = compose(&request);
    assert_null(strstr(text, "rfc822\n"));
    assert_null(strstr(text, "attached"));
    free(text);
    buffer_fini(&whole);
}

static void the_longest_recipient_fits_its_room(void **state)
{
    (void)state;
    char mailbox[512], orcpt[DSN_ORCPT_MAX + 1], mx[254];
    struct outcome outcome = bounce(550, 5, 7, 255, "");
    memset(outcome.text, 't', sizeof outcome.text - 1);
    memset(mailbox, 'm', sizeof mailbox);
    memset(orcpt, 'o', sizeof orcpt);
    memset(mx, 'x', sizeof mx);
    mailbox[sizeof mailbox - 1] = orcpt[sizeof orcpt - 1] = mx[sizeof mx - 1] = '\0';
    orcpt[3] = ';';
    struct dsn_recipient rows[2] = {failed(mailbox, &outcome, mx), failed(mailbox, &outcome, mx)};
    rows[0].orcpt = rows[1].orcpt = orcpt;
    rows[0].action = rows[1].action = DSN_DELAYED;
    struct dsn_request request = request_with(rows, 1);
    char *one = compose(&request);
    request.num_recipients = 2;
    char *two = compose(&request);
    assert_true(strlen(two) - strlen(one) < DSN_RECIPIENT_MAX);
    free(one);
    free(two);
}

static void a_report_of_a_message_with_requiretls_asks_for_it(void **state)
{
    (void)state;
    struct outcome outcome = bounce(0, 5, 7, 30, "REQUIRETLS support required");
    struct dsn_recipient bob = failed("bob@example.net", &outcome, "");
    struct dsn_request request = request_with(&bob, 1);
    request.require_tls = true;
    char *text = compose(&request);
    static const char block[] =
        "X-Sender: <>\nX-Receiver: <alice@example.org>\nX-Sluice-RequireTLS: true\nFrom: ";
    assert_int_equal(strncmp(text, block, strlen(block)), 0);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rejected_recipient_is_reported_in_full),
        cmocka_unit_test(a_report_of_a_message_with_requiretls_asks_for_it),
        cmocka_unit_test(without_a_reply_the_diagnostic_code_is_our_own),
        cmocka_unit_test(each_recipient_has_its_own_block),
        cmocka_unit_test(a_reply_cannot_add_lines),
        cmocka_unit_test(an_unsafe_sender_gets_none),
        cmocka_unit_test(the_head_is_quoted_safely),
        cmocka_unit_test(a_huge_head_is_cut_at_a_line),
        cmocka_unit_test(a_head_that_holds_a_boundary_gets_another),
        cmocka_unit_test(international_mail_gets_the_global_forms),
        cmocka_unit_test(the_same_event_has_the_same_name),
        cmocka_unit_test(every_action_has_its_words_and_fields),
        cmocka_unit_test(the_whole_original_is_quoted_safely),
        cmocka_unit_test(the_longest_recipient_fits_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
