/* Rules of what a transaction sends: parameters, portions, who is named, and the content that
 * cannot be had. The replies' side is in smtp_transaction_test.c. */
#include "tests/unit/router/smtp_dialogue.h"

#include <fcntl.h>
#include <unistd.h>

struct talk {
    struct smtp_fixture fixture;
    struct smtp_session session;
    struct buffer out;
};

/* A session that is ready for MAIL. */
static void talk_init(struct talk *talk, uint32_t num_recipients, const char *ehlo_reply)
{
    fixture_init(&talk->fixture, num_recipients);
    buffer_init(&talk->out, SMTP_OUT_MAX);
    struct smtp_session_params params = {.helo_name = "me.test", .config = &talk->fixture.config};
    smtp_session_init(&talk->session, &params, 0);
    smtp_session_step(&talk->session, bytes_of("220 hi\r\n"), &talk->out, 0);
    assert_int_equal(smtp_session_step(&talk->session, bytes_of(ehlo_reply), &talk->out, 0),
                     SMTP_WANT_IDLE);
    buffer_clear(&talk->out);
}

static void talk_fini(struct talk *talk)
{
    smtp_session_fini(&talk->session);
    buffer_fini(&talk->out);
    fixture_fini(&talk->fixture);
}

static enum smtp_want talk_begin(struct talk *talk, int fd)
{
    return smtp_session_begin(&talk->session, talk->fixture.delivery, fd, &talk->out, 0);
}

static enum smtp_want talk_hear(struct talk *talk, const char *reply)
{
    buffer_clear(&talk->out);
    return smtp_session_step(&talk->session, bytes_of(reply), &talk->out, 0);
}

static void assert_sent(struct talk *talk, const char *text)
{
    assert_int_equal(talk->out.len, strlen(text));
    assert_memory_equal(talk->out.at, text, strlen(text));
}

/* RFC 8689 2: only under TLS, where it was told under TLS. */
static void requiretls_fits_only_what_was_offered_under_tls(void **state)
{
    (void)state;
    static const char *const told[] = {"250 mx\r\n", "250-mx\r\n250 REQUIRETLS\r\n"};
    for (unsigned i = 0; i < 4; i++) {
        struct talk talk;
        talk_init(&talk, 1, told[i & 1]);
        talk.session.tls_active = i & 2;
        talk.fixture.message.envelope.require_tls = true;
        struct outcome outcome = smtp_session_fits(&talk.session, talk.fixture.delivery);
        assert_int_equal(outcome.kind, i == 3 ? OUTCOME_NONE : OUTCOME_BOUNCED);
        assert_int_equal(outcome_is_for_requiretls(&outcome), i != 3);
        if (i == 3) {
            talk_begin(&talk, -1);
            assert_sent(&talk, "MAIL FROM:<s@a.test> REQUIRETLS\r\n");
        }
        talk.fixture.delivery->requiretls_waived = true;
        outcome = smtp_session_fits(&talk.session, talk.fixture.delivery);
        assert_int_equal(outcome.kind, OUTCOME_NONE);
        talk_fini(&talk);
    }
}

static void mail_carries_the_parameters_that_are_needed_and_offered(void **state)
{
    (void)state;
    static const struct {
        const char *ehlo;
        bool eight_bit, utf8;
        const char *mail;
    } rows[] = {
        {"250 mx\r\n", false, false, "MAIL FROM:<s@a.test>\r\n"},
        {"250 mx\r\n", true, false, "MAIL FROM:<s@a.test>\r\n"},
        {"250-mx\r\n250 8bitmime\r\n", false, false, "MAIL FROM:<s@a.test>\r\n"},
        {"250-mx\r\n250 8bitmime\r\n", true, false, "MAIL FROM:<s@a.test> BODY=8BITMIME\r\n"},
        {"250-mx\r\n250-size 99\r\n250 8BITMIME\r\n", true, false,
         "MAIL FROM:<s@a.test> SIZE=26 BODY=8BITMIME\r\n"},
        {"250-mx\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n", true, true,
         "MAIL FROM:<s@a.test> BODY=8BITMIME SMTPUTF8\r\n"},
        {"250-mx\r\n250-SMTPUTF8\r\n250 8BITMIME\r\n", false, false, "MAIL FROM:<s@a.test>\r\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct talk talk;
        talk_init(&talk, 1, rows[i].ehlo);
        talk.fixture.message.content.class.eight_bit = rows[i].eight_bit;
        talk.fixture.message.envelope.needs_utf8 = rows[i].utf8;
        assert_int_equal(smtp_session_fits(&talk.session, talk.fixture.delivery).kind,
                         OUTCOME_NONE);
        assert_int_equal(talk_begin(&talk, -1), SMTP_WANT_READ);
        assert_sent(&talk, rows[i].mail);
        talk_fini(&talk);
    }
}

static void a_session_says_what_it_cannot_carry(void **state)
{
    (void)state;
    struct talk talk;
    struct outcome misfit;
    talk_init(&talk, 1, "250-mx\r\n250 SIZE 25\r\n");
    misfit = smtp_session_fits(&talk.session, talk.fixture.delivery);
    assert_int_equal(misfit.kind, OUTCOME_BOUNCED);
    assert_memory_equal(misfit.enhanced, ((uint8_t[]){5, 3, 4}), 3);
    assert_true(outcome_tries_next_host(&misfit));
    talk.fixture.message.content.class.wire_len = 25;
    assert_int_equal(smtp_session_fits(&talk.session, talk.fixture.delivery).kind, OUTCOME_NONE);
    talk.fixture.message.envelope.needs_utf8 = true;
    misfit = smtp_session_fits(&talk.session, talk.fixture.delivery);
    assert_int_equal(misfit.kind, OUTCOME_BOUNCED);
    assert_memory_equal(misfit.enhanced, ((uint8_t[]){5, 6, 7}), 3);
    assert_true(outcome_tries_next_host(&misfit));
    talk_fini(&talk);
}

static void with_pipelining_an_envelope_leaves_in_one_go(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 2, "250-mx\r\n250 PIPELINING\r\n");
    talk_begin(&talk, -1);
    assert_sent(&talk, "MAIL FROM:<s@a.test>\r\nRCPT TO:<r0@b.test>\r\nRCPT TO:<r1@b.test>\r\n"
                       "DATA\r\n");
    talk_fini(&talk);
}

static void recipients_with_an_outcome_are_not_named(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 3, "250-mx\r\n250 PIPELINING\r\n");
    talk.fixture.delivery->recipients[0].outcome.kind = OUTCOME_DELIVERED;
    talk.fixture.delivery->recipients[2].outcome.kind = OUTCOME_BOUNCED;
    talk_begin(&talk, -1);
    assert_sent(&talk, "MAIL FROM:<s@a.test>\r\nRCPT TO:<r1@b.test>\r\nDATA\r\n");
    talk_fini(&talk);
}

static void nobody_left_to_name_is_done_at_once(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 1, "250 mx\r\n");
    talk.fixture.delivery->recipients[0].outcome.kind = OUTCOME_DELIVERED;
    assert_int_equal(talk_begin(&talk, -1), SMTP_WANT_IDLE);
    assert_int_equal(talk.out.len, 0);
    assert_null(talk.session.delivery);
    talk_fini(&talk);
}

static void more_recipients_than_rows_go_in_portions_of_one_transaction(void **state)
{
    (void)state;
    enum { NUM = 3 * SMTP_EXPECTED_MAX };
    struct talk talk;
    unsigned num_sent = 0, portions = 0;
    talk_init(&talk, NUM, "250-mx\r\n250 PIPELINING\r\n");
    enum smtp_want want = talk_begin(&talk, -1);
    while (want == SMTP_WANT_READ) {
        unsigned lines = 0;
        for (size_t i = 0; i < talk.out.len; i++)
            lines += talk.out.at[i] == '\n';
        bool has_data =
            talk.out.len > 6 && memcmp(talk.out.at + talk.out.len - 6, "DATA\r\n", 6) == 0;
        assert_true(lines > 0 && talk.session.num_expected <= SMTP_EXPECTED_MAX);
        buffer_clear(&talk.out);
        for (unsigned i = 0; i < lines; i++) {
            bool is_data = has_data && i == lines - 1;
            struct bytes reply = bytes_of(is_data ? "354 go\r\n" : "250 ok\r\n");
            want = smtp_session_step(&talk.session, reply, &talk.out, 0);
        }
        num_sent += lines;
        portions++;
    }
    assert_int_equal(want, SMTP_WANT_BODY);
    assert_int_equal(num_sent, NUM + 2);
    assert_int_equal(talk.session.num_accepted, NUM);
    assert_true(portions > 2 && portions < 10);
    talk_fini(&talk);
}

static void a_full_window_is_refilled_when_half_empty(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 2 * SMTP_EXPECTED_MAX, "250-mx\r\n250 PIPELINING\r\n");
    talk_begin(&talk, -1);
    assert_int_equal(talk.session.num_expected, SMTP_EXPECTED_MAX);
    for (unsigned i = 1; i < SMTP_EXPECTED_MAX / 2; i++) {
        talk_hear(&talk, "250 ok\r\n");
        assert_int_equal(talk.out.len, 0);
    }
    talk_hear(&talk, "250 ok\r\n");
    assert_int_equal(talk.session.num_expected, SMTP_EXPECTED_MAX);
    talk_fini(&talk);
}

static void a_small_out_buffer_only_makes_the_portions_smaller(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 50, "250-mx\r\n250 PIPELINING\r\n");
    talk.out.max = SMTP_COMMAND_MAX + 200;
    talk_begin(&talk, -1);
    assert_false(talk.out.overflow);
    assert_true(talk.session.next_rcpt > 2 && talk.session.next_rcpt < 20);
    /* Replies to what has not left yet, until there is no room: the peer's fault, and an end. */
    enum smtp_want want = SMTP_WANT_READ;
    for (unsigned i = 0; i < 200 && want == SMTP_WANT_READ; i++)
        want = smtp_session_step(&talk.session, bytes_of("250 ok\r\n"), &talk.out, 0);
    assert_int_equal(want, SMTP_WANT_CLOSE);
    assert_int_equal(talk.session.failure.kind, OUTCOME_DEFERRED);
    talk_fini(&talk);
}

static void an_address_that_would_end_the_line_is_never_sent(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 2, "250-mx\r\n250 PIPELINING\r\n");
    struct address *bad = &talk.fixture.message.envelope.recipients.items[0];
    free(bad->mailbox);
    bad->mailbox = mem_strdup("a>\r\nRCPT TO:<victim@b.test");
    talk_begin(&talk, -1);
    assert_sent(&talk, "MAIL FROM:<s@a.test>\r\nRCPT TO:<r1@b.test>\r\nDATA\r\n");
    assert_int_equal(talk.fixture.delivery->recipients[0].outcome.kind, OUTCOME_BOUNCED);
    talk_fini(&talk);

    talk_init(&talk, 2, "250-mx\r\n250 PIPELINING\r\n");
    free(talk.fixture.message.envelope.sender.mailbox);
    talk.fixture.message.envelope.sender.mailbox = mem_strdup("a>\r\nQUIT");
    assert_int_equal(talk_begin(&talk, -1), SMTP_WANT_IDLE);
    assert_int_equal(talk.out.len, 0);
    assert_int_equal(talk.fixture.delivery->recipients[1].outcome.kind, OUTCOME_BOUNCED);
    talk_fini(&talk);
}

static enum smtp_want pull_body(struct talk *talk)
{
    enum smtp_want want = SMTP_WANT_BODY;
    while (want == SMTP_WANT_BODY)
        (void)smtp_session_next_body(&talk->session, &want);
    return want == SMTP_WANT_READ ? smtp_session_body_sent(&talk->session, 0) : want;
}

static void content_that_cannot_be_read_defers_and_no_dot_leaves(void **state)
{
    (void)state;
    struct talk talk;
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    talk_init(&talk, 1, "250-mx\r\n250 PIPELINING\r\n");
    talk.fixture.message.content.file.at = NULL;
    talk_begin(&talk, fd);
    assert_int_equal(talk_hear(&talk, "250 ok\r\n250 ok\r\n354 go\r\n"), SMTP_WANT_BODY);
    assert_int_equal(pull_body(&talk), SMTP_WANT_CLOSE);
    assert_false(talk.session.body_ended);
    const struct outcome *outcome = &talk.fixture.delivery->recipients[0].outcome;
    assert_int_equal(outcome->kind, OUTCOME_DEFERRED);
    assert_int_equal(outcome->phase, PHASE_CONTENT);
    assert_false(outcome->in_doubt);
    assert_int_equal(talk.session.failure.kind, OUTCOME_NONE);
    talk_fini(&talk);
    close(fd);
}

static void our_own_troubles_reach_the_recipients_wherever_they_happen(void **state)
{
    (void)state;
    static const struct {
        enum trouble trouble;
        unsigned stage; /* 0: envelope, 1: before the first octet, 2: after the dot */
        char letter;
    } rows[] = {
        {TROUBLE_SHUTDOWN, 0, 'R'},     {TROUBLE_SHUTDOWN, 1, 'R'},  {TROUBLE_SHUTDOWN, 2, '?'},
        {TROUBLE_NOT_RECORDED, 1, 'R'}, {TROUBLE_FILE_GONE, 1, 'T'},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct talk talk;
        talk_init(&talk, 1, "250-mx\r\n250 PIPELINING\r\n");
        talk_begin(&talk, -1);
        if (rows[i].stage > 0)
            assert_int_equal(talk_hear(&talk, "250 ok\r\n250 ok\r\n354 go\r\n"), SMTP_WANT_BODY);
        if (rows[i].stage > 1)
            assert_int_equal(pull_body(&talk), SMTP_WANT_READ);
        smtp_session_trouble(&talk.session, rows[i].trouble, NULL);
        assert_int_equal(outcome_letter(&talk.fixture.delivery->recipients[0].outcome),
                         rows[i].letter);
        assert_int_equal(talk.session.failure.kind, OUTCOME_NONE);
        talk_fini(&talk);
    }
}

static void shutdown_after_the_dot_of_a_split_returns_the_rest(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 2, "250-mx\r\n250 PIPELINING\r\n");
    talk_begin(&talk, -1);
    talk_hear(&talk, "250 ok\r\n250 ok\r\n452 4.5.3 full\r\n354 go\r\n");
    assert_int_equal(pull_body(&talk), SMTP_WANT_READ);
    smtp_session_trouble(&talk.session, TROUBLE_SHUTDOWN, NULL);
    assert_int_equal(outcome_letter(&talk.fixture.delivery->recipients[0].outcome), '?');
    assert_int_equal(outcome_letter(&talk.fixture.delivery->recipients[1].outcome), 'R');
    talk_fini(&talk);
}

/* The socket is full while the dot waits: what the peer says then it says without having the dot.
 */
static void a_reply_before_the_dot_has_left_is_no_final_reply(void **state)
{
    (void)state;
    static const struct {
        const char *reply; /* NULL: the connection is lost */
        char letter;
        uint16_t code;
    } rows[] = {
        {"250 have it\r\n", 'T', 0},
        {"552 too big\r\n", 'B', 552},
        {"451 no room\r\n", 'T', 451},
        {"421 bye\r\n", 'T', 421},
        {"250", '-', 0},
        {NULL, 'T', 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct talk talk;
        enum smtp_want want = SMTP_WANT_BODY;
        talk_init(&talk, 1, "250-mx\r\n250 PIPELINING\r\n");
        talk_begin(&talk, -1);
        talk_hear(&talk, "250 ok\r\n250 ok\r\n354 go\r\n");
        while (want == SMTP_WANT_BODY)
            (void)smtp_session_next_body(&talk.session, &want);
        assert_int_equal(want, SMTP_WANT_READ);
        const struct outcome *outcome = &talk.fixture.delivery->recipients[0].outcome;
        if (rows[i].reply)
            want = talk_hear(&talk, rows[i].reply);
        else
            smtp_session_trouble(&talk.session, TROUBLE_LOST, NULL);
        assert_int_equal(outcome_letter(outcome), rows[i].letter);
        if (outcome->kind == OUTCOME_NONE) {
            assert_int_equal(want, SMTP_WANT_BODY);
            assert_int_equal(smtp_session_body_sent(&talk.session, 0), SMTP_WANT_READ);
            assert_int_equal(talk_hear(&talk, " 2.0.0 done\r\n"), SMTP_WANT_IDLE);
            assert_int_equal(outcome_letter(outcome), 'D');
        } else {
            assert_int_equal(smtp_session_quit(&talk.session, &talk.out), SMTP_WANT_CLOSE);
            assert_int_equal(outcome->phase, PHASE_CONTENT);
            assert_int_equal(outcome->code, rows[i].code);
        }
        talk_fini(&talk);
    }
}

static void a_final_outcome_has_phase_codes_and_text_of_the_final_reply(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 2, "250-mx\r\n250 PIPELINING\r\n");
    talk_begin(&talk, -1);
    talk_hear(&talk, "250 ok\r\n250 ok\r\n452 4.5.3 full\r\n354 go\r\n");
    assert_true(smtp_session_awaits(&talk.session, 0));
    assert_false(smtp_session_awaits(&talk.session, 1));
    assert_int_equal(pull_body(&talk), SMTP_WANT_READ);
    assert_int_equal(talk.session.body_len, strlen(FIXTURE_CONTENT));
    assert_int_equal(talk_hear(&talk, "250-2.6.0 queued\r\n250 2.6.0 as 7\r\n"), SMTP_WANT_IDLE);
    const struct outcome *outcome = &talk.fixture.delivery->recipients[0].outcome;
    assert_int_equal(outcome->kind, OUTCOME_DELIVERED);
    assert_int_equal(outcome->phase, PHASE_FINAL);
    assert_int_equal(outcome->code, 250);
    assert_memory_equal(outcome->enhanced, ((uint8_t[]){2, 6, 0}), 3);
    assert_string_equal(outcome->text, "queued as 7");
    assert_true(talk.session.used);
    assert_true(smtp_delivery_wants_more(talk.fixture.delivery));
    talk_fini(&talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requiretls_fits_only_what_was_offered_under_tls),
        cmocka_unit_test(mail_carries_the_parameters_that_are_needed_and_offered),
        cmocka_unit_test(a_session_says_what_it_cannot_carry),
        cmocka_unit_test(with_pipelining_an_envelope_leaves_in_one_go),
        cmocka_unit_test(recipients_with_an_outcome_are_not_named),
        cmocka_unit_test(nobody_left_to_name_is_done_at_once),
        cmocka_unit_test(more_recipients_than_rows_go_in_portions_of_one_transaction),
        cmocka_unit_test(a_full_window_is_refilled_when_half_empty),
        cmocka_unit_test(a_small_out_buffer_only_makes_the_portions_smaller),
        cmocka_unit_test(an_address_that_would_end_the_line_is_never_sent),
        cmocka_unit_test(content_that_cannot_be_read_defers_and_no_dot_leaves),
        cmocka_unit_test(our_own_troubles_reach_the_recipients_wherever_they_happen),
        cmocka_unit_test(shutdown_after_the_dot_of_a_split_returns_the_rest),
        cmocka_unit_test(a_reply_before_the_dot_has_left_is_no_final_reply),
        cmocka_unit_test(a_final_outcome_has_phase_codes_and_text_of_the_final_reply),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
