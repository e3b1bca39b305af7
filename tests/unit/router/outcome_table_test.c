/* The table of fates, row by row: replies, troubles, routes, expiry, and what tries the next host.
 */
#include "router/outcome_table.h"

#include <stdio.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static struct smtp_reply make_reply(uint16_t code, const char *enhanced, const char *text)
{
    struct smtp_reply reply = {.code = code};
    unsigned a = 0, b = 0, c = 0;
    if (sscanf(enhanced, "%u.%u.%u", &a, &b, &c) == 3)
        memcpy(reply.enhanced, ((uint8_t[]){(uint8_t)a, (uint8_t)b, (uint8_t)c}), 3);
    snprintf(reply.text, sizeof reply.text, "%s", text);
    return reply;
}

static void assert_enhanced(const struct outcome *outcome, const char *want)
{
    char text[16] = "";
    if (outcome->enhanced[0])
        snprintf(text, sizeof text, "%u.%u.%u", outcome->enhanced[0], outcome->enhanced[1],
                 outcome->enhanced[2]);
    assert_string_equal(text, want);
}

static void a_reply_leads_where_phase_and_class_say(void **state)
{
    (void)state;
    static const struct {
        enum outcome_phase phase;
        uint16_t code;
        const char *enhanced;
        enum outcome_kind kind;
        const char *want_enhanced;
        bool in_doubt;
    } rows[] = {
        /* What was hoped for: go on, or delivered. */
        {PHASE_BANNER, 220, "", OUTCOME_NONE, "", false},
        {PHASE_RCPT, 250, "2.1.5", OUTCOME_NONE, "", false},
        {PHASE_RCPT, 252, "", OUTCOME_NONE, "", false},
        {PHASE_DATA, 354, "", OUTCOME_NONE, "", false},
        {PHASE_FINAL, 250, "", OUTCOME_DELIVERED, "2.0.0", false},
        {PHASE_FINAL, 250, "2.6.0", OUTCOME_DELIVERED, "2.6.0", false},
        /* Before MAIL it is the host's word. */
        {PHASE_BANNER, 554, "", OUTCOME_DEFERRED, "4.3.2", false},
        {PHASE_BANNER, 550, "5.7.1", OUTCOME_DEFERRED, "4.7.1", false},
        {PHASE_EHLO, 550, "", OUTCOME_DEFERRED, "4.7.1", false},
        {PHASE_STARTTLS, 454, "4.7.0", OUTCOME_DEFERRED, "4.7.0", false},
        {PHASE_STARTTLS, 502, "", OUTCOME_DEFERRED, "4.5.1", false},
        {PHASE_AUTH, 235, "", OUTCOME_NONE, "", false},
        {PHASE_AUTH, 454, "", OUTCOME_DEFERRED, "4.7.0", false},
        {PHASE_AUTH, 534, "", OUTCOME_DEFERRED, "4.7.9", false},
        {PHASE_AUTH, 535, "5.7.8", OUTCOME_DEFERRED, "4.7.8", false},
        {PHASE_AUTH, 538, "", OUTCOME_DEFERRED, "4.7.11", false},
        /* From MAIL on the message's and the recipients'. */
        {PHASE_MAIL, 421, "", OUTCOME_DEFERRED, "4.3.2", false},
        {PHASE_MAIL, 451, "4.7.1", OUTCOME_DEFERRED, "4.7.1", false},
        {PHASE_MAIL, 550, "", OUTCOME_BOUNCED, "5.7.1", false},
        {PHASE_MAIL, 552, "", OUTCOME_BOUNCED, "5.3.4", false},
        {PHASE_RCPT, 450, "", OUTCOME_DEFERRED, "4.2.0", false},
        {PHASE_RCPT, 550, "", OUTCOME_BOUNCED, "5.1.1", false},
        {PHASE_RCPT, 550, "5.7.1", OUTCOME_BOUNCED, "5.7.1", false},
        {PHASE_RCPT, 552, "", OUTCOME_BOUNCED, "5.2.2", false},
        {PHASE_RCPT, 556, "", OUTCOME_BOUNCED, "5.1.10", false},
        {PHASE_RCPT, 571, "", OUTCOME_BOUNCED, "5.0.0", false},
        {PHASE_DATA, 554, "", OUTCOME_BOUNCED, "5.0.0", false},
        {PHASE_CONTENT, 552, "", OUTCOME_BOUNCED, "5.3.4", false},
        {PHASE_FINAL, 421, "", OUTCOME_DEFERRED, "4.3.2", false},
        {PHASE_FINAL, 452, "", OUTCOME_DEFERRED, "4.3.1", false},
        {PHASE_FINAL, 554, "5.6.0", OUTCOME_BOUNCED, "5.6.0", false},
        /* An enhanced code of another class is not believed. */
        {PHASE_RCPT, 550, "4.1.1", OUTCOME_BOUNCED, "5.1.1", false},
        {PHASE_FINAL, 250, "5.0.0", OUTCOME_DELIVERED, "2.0.0", false},
        /* Replies that answer nothing. */
        {PHASE_MAIL, 354, "", OUTCOME_DEFERRED, "4.5.0", false},
        {PHASE_DATA, 250, "", OUTCOME_DEFERRED, "4.5.0", false},
        {PHASE_CONTENT, 250, "", OUTCOME_DEFERRED, "4.5.0", false},
        {PHASE_FINAL, 354, "", OUTCOME_DEFERRED, "4.5.0", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtp_reply reply = make_reply(rows[i].code, rows[i].enhanced, "words");
        struct outcome outcome = outcome_from_reply(rows[i].phase, &reply);
        assert_int_equal(outcome.kind, rows[i].kind);
        assert_int_equal(outcome.phase, rows[i].phase);
        assert_int_equal(outcome.code, rows[i].code);
        assert_int_equal(outcome.in_doubt, rows[i].in_doubt);
        assert_enhanced(&outcome, rows[i].want_enhanced);
        assert_non_null(strstr(outcome.text, "words"));
    }
}

static void the_reply_text_is_cut_between_two_characters(void **state)
{
    (void)state;
    struct smtp_reply reply = {.code = 550};
    for (size_t i = 0; i + 3 < sizeof reply.text; i += 3)
        memcpy(reply.text + i, "\xe2\x82\xac", 3);
    struct outcome outcome = outcome_from_reply(PHASE_RCPT, &reply);
    size_t len = strlen(outcome.text);
    assert_true(len < OUTCOME_TEXT_MAX && len > OUTCOME_TEXT_MAX - 4);
    assert_int_equal(len % 3, 0);
}

static void a_trouble_leads_where_its_row_says(void **state)
{
    (void)state;
    static const struct {
        enum outcome_phase phase;
        enum trouble trouble;
        enum outcome_kind kind;
        const char *enhanced;
        bool in_doubt;
    } rows[] = {
        {PHASE_CONNECT, TROUBLE_CONNECT_REFUSED, OUTCOME_DEFERRED, "4.4.1", false},
        {PHASE_CONNECT, TROUBLE_CONNECT_TIMEOUT, OUTCOME_DEFERRED, "4.4.1", false},
        {PHASE_CONNECT, TROUBLE_CONNECT_FAILED, OUTCOME_DEFERRED, "4.4.1", false},
        {PHASE_BANNER, TROUBLE_TIMEOUT, OUTCOME_DEFERRED, "4.4.2", false},
        {PHASE_CONTENT, TROUBLE_TIMEOUT, OUTCOME_DEFERRED, "4.4.2", false},
        {PHASE_FINAL, TROUBLE_TIMEOUT, OUTCOME_DEFERRED, "4.4.2", true},
        {PHASE_DATA, TROUBLE_LOST, OUTCOME_DEFERRED, "4.4.2", false},
        {PHASE_FINAL, TROUBLE_LOST, OUTCOME_DEFERRED, "4.4.2", true},
        {PHASE_EHLO, TROUBLE_BROKEN_REPLY, OUTCOME_DEFERRED, "4.5.0", false},
        {PHASE_FINAL, TROUBLE_BROKEN_REPLY, OUTCOME_DEFERRED, "4.5.0", true},
        {PHASE_TLS, TROUBLE_INJECTION, OUTCOME_DEFERRED, "4.7.0", false},
        {PHASE_STARTTLS, TROUBLE_TLS_NOT_OFFERED, OUTCOME_DEFERRED, "4.7.4", false},
        {PHASE_TLS, TROUBLE_TLS_FAILED, OUTCOME_DEFERRED, "4.7.5", false},
        {PHASE_TLS, TROUBLE_TLS_POLICY, OUTCOME_DEFERRED, "4.7.5", false},
        {PHASE_EHLO, TROUBLE_NO_REQUIRETLS, OUTCOME_BOUNCED, "5.7.30", false},
        {PHASE_TLS, TROUBLE_REQUIRETLS_FAILED, OUTCOME_BOUNCED, "5.7.10", false},
        {PHASE_AUTH, TROUBLE_AUTH_UNPROTECTED, OUTCOME_DEFERRED, "4.7.11", false},
        {PHASE_AUTH, TROUBLE_AUTH_NOT_OFFERED, OUTCOME_DEFERRED, "4.7.4", false},
        {PHASE_AUTH, TROUBLE_AUTH_FAILED, OUTCOME_DEFERRED, "4.7.0", false},
        {PHASE_EHLO, TROUBLE_NO_SMTPUTF8, OUTCOME_BOUNCED, "5.6.7", false},
        {PHASE_EHLO, TROUBLE_TOO_LARGE, OUTCOME_BOUNCED, "5.3.4", false},
        {PHASE_QUEUE, TROUBLE_FILE_GONE, OUTCOME_DEFERRED, "4.3.0", false},
        {PHASE_QUEUE, TROUBLE_FILE_CHANGED, OUTCOME_DEFERRED, "4.3.0", false},
        {PHASE_CONTENT, TROUBLE_FILE_READ, OUTCOME_DEFERRED, "4.3.0", false},
        {PHASE_CONTENT, TROUBLE_NOT_RECORDED, OUTCOME_RETURNED, "4.3.0", false},
        {PHASE_QUEUE, TROUBLE_SHUTDOWN, OUTCOME_RETURNED, "4.3.2", false},
        {PHASE_CONTENT, TROUBLE_SHUTDOWN, OUTCOME_RETURNED, "4.3.2", false},
        {PHASE_FINAL, TROUBLE_SHUTDOWN, OUTCOME_DEFERRED, "4.3.2", true},
        {PHASE_QUEUE, TROUBLE_LONG_LINES, OUTCOME_BOUNCED, "5.6.0", false},
        {PHASE_QUEUE, TROUBLE_LOOP, OUTCOME_BOUNCED, "5.4.6", false},
        {PHASE_ROUTE, TROUBLE_NO_VIA, OUTCOME_DEFERRED, "4.3.5", false},
        {PHASE_QUEUE, TROUBLE_EXPIRED, OUTCOME_BOUNCED, "5.4.7", false},
        {PHASE_RCPT, TROUBLE_BAD_ADDRESS, OUTCOME_BOUNCED, "5.1.3", false},
        {PHASE_MAIL, TROUBLE_BAD_ADDRESS, OUTCOME_BOUNCED, "5.1.7", false},
    };
    bool seen[NUM_TROUBLES] = {false};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct outcome outcome = outcome_from_trouble(rows[i].phase, rows[i].trouble, "detail\x01");
        assert_int_equal(outcome.kind, rows[i].kind);
        assert_int_equal(outcome.phase, rows[i].phase);
        assert_int_equal(outcome.code, 0);
        assert_int_equal(outcome.in_doubt, rows[i].in_doubt);
        assert_enhanced(&outcome, rows[i].enhanced);
        assert_non_null(strstr(outcome.text, ": detail?"));
        seen[rows[i].trouble] = true;
    }
    for (size_t i = 0; i < NUM_TROUBLES; i++)
        assert_true(seen[i]);
}

static void a_lost_connection_says_where(void **state)
{
    (void)state;
    struct outcome outcome = outcome_from_trouble(PHASE_RCPT, TROUBLE_LOST, NULL);
    assert_string_equal(outcome.text, "connection lost while waiting for the reply to RCPT");
    outcome = outcome_from_trouble(PHASE_FINAL, TROUBLE_TIMEOUT, "");
    assert_string_equal(outcome.text, "timed out after the final dot, before its reply");
}

static void a_route_that_ends_speaks_for_itself(void **state)
{
    (void)state;
    struct route route = {.verdict = ROUTE_BOUNCE,
                          .code = 556,
                          .enhanced = {5, 1, 10},
                          .why = "the domain takes no mail"};
    struct outcome outcome = outcome_from_route(&route);
    assert_int_equal(outcome.kind, OUTCOME_BOUNCED);
    assert_int_equal(outcome.phase, PHASE_ROUTE);
    assert_int_equal(outcome.code, 556);
    assert_enhanced(&outcome, "5.1.10");
    assert_string_equal(outcome.text, "the domain takes no mail");
    route = (struct route){.verdict = ROUTE_DEFER, .enhanced = {4, 4, 3}, .why = "SERVFAIL"};
    outcome = outcome_from_route(&route);
    assert_int_equal(outcome.kind, OUTCOME_DEFERRED);
    assert_int_equal(outcome.code, 0);
    assert_enhanced(&outcome, "4.4.3");
}

static void expiry_quotes_the_last_attempt(void **state)
{
    (void)state;
    struct outcome last = {.kind = OUTCOME_NONE};
    struct outcome outcome = outcome_expired(&last);
    assert_int_equal(outcome.kind, OUTCOME_BOUNCED);
    assert_enhanced(&outcome, "5.4.7");
    assert_string_equal(outcome.text, "delivery time expired");
    struct smtp_reply reply = make_reply(450, "4.2.1", "mailbox busy");
    last = outcome_from_reply(PHASE_RCPT, &reply);
    outcome = outcome_expired(&last);
    assert_int_equal(outcome.kind, OUTCOME_BOUNCED);
    assert_string_equal(
        outcome.text, "delivery time expired; the last attempt ended with: 450 4.2.1 mailbox busy");
}

static void only_what_another_host_could_better_tries_the_next(void **state)
{
    (void)state;
    static const struct {
        enum outcome_phase phase;
        uint16_t code; /* 0: lost */
        bool next;
    } rows[] = {
        {PHASE_CONNECT, 0, true},  {PHASE_BANNER, 554, true}, {PHASE_EHLO, 450, true},
        {PHASE_TLS, 0, true},      {PHASE_MAIL, 421, true},   {PHASE_RCPT, 421, true},
        {PHASE_RCPT, 0, true},     {PHASE_DATA, 0, true},     {PHASE_MAIL, 451, false},
        {PHASE_MAIL, 550, false},  {PHASE_RCPT, 450, false},  {PHASE_DATA, 554, false},
        {PHASE_CONTENT, 0, false}, {PHASE_FINAL, 421, false}, {PHASE_FINAL, 0, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtp_reply reply = make_reply(rows[i].code, "", "");
        struct outcome outcome = rows[i].code
                                     ? outcome_from_reply(rows[i].phase, &reply)
                                     : outcome_from_trouble(rows[i].phase, TROUBLE_LOST, NULL);
        assert_int_equal(outcome_tries_next_host(&outcome), rows[i].next);
    }
    struct outcome ours = outcome_from_trouble(PHASE_EHLO, TROUBLE_SHUTDOWN, NULL);
    assert_false(outcome_tries_next_host(&ours));
}

static void blame_falls_on_the_host_the_protocol_or_us(void **state)
{
    (void)state;
    assert_int_equal(outcome_blame(TROUBLE_LOST), BLAME_HOST);
    assert_int_equal(outcome_blame(TROUBLE_TIMEOUT), BLAME_HOST);
    assert_int_equal(outcome_blame(TROUBLE_BROKEN_REPLY), BLAME_PROTOCOL);
    assert_int_equal(outcome_blame(TROUBLE_INJECTION), BLAME_PROTOCOL);
    assert_int_equal(outcome_blame(TROUBLE_SHUTDOWN), BLAME_US);
    assert_int_equal(outcome_blame(TROUBLE_NOT_RECORDED), BLAME_US);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reply_leads_where_phase_and_class_say),
        cmocka_unit_test(the_reply_text_is_cut_between_two_characters),
        cmocka_unit_test(a_trouble_leads_where_its_row_says),
        cmocka_unit_test(a_lost_connection_says_where),
        cmocka_unit_test(a_route_that_ends_speaks_for_itself),
        cmocka_unit_test(expiry_quotes_the_last_attempt),
        cmocka_unit_test(only_what_another_host_could_better_tries_the_next),
        cmocka_unit_test(blame_falls_on_the_host_the_protocol_or_us),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
