/* Rules of the session around its transactions: greeting, EHLO, STARTTLS, idle, QUIT, time limits,
 * and how it ends. */
#include "tests/unit/router/smtp_dialogue.h"

#define GREETING                                                                                   \
    {                                                                                              \
        NULL, "220 mx.test ESMTP\r\n"                                                              \
    }
#define ONE_DELIVERED                                                                              \
    {MAIL, "250 ok\r\n"}, {RCPT(0), "250 ok\r\n"}, {"DATA", "354 go\r\n"},                         \
    {                                                                                              \
        CONTENT_SENT, "250 2.0.0 queued\r\n"                                                       \
    }

static void before_mail_the_dialogue_leads_where_the_table_says(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "plain",
         .num_recipients = 1,
         .rows = {GREETING, {EHLO, CAPABILITIES}, ONE_DELIVERED},
         .outcomes = "D"},
        {.name = "multi-line greeting, bare code, text missing",
         .num_recipients = 1,
         .rows = {{NULL, "220-mx\r\n220-\r\n220\r\n"},
                  {EHLO, CAPABILITIES},
                  {MAIL, "250\r\n"},
                  {RCPT(0), "250 \r\n"},
                  {"DATA", "354\r\n"},
                  {CONTENT_SENT, "250\r\n"}},
         .outcomes = "D"},
        {.name = "line feeds without carriage returns",
         .num_recipients = 1,
         .rows = {{NULL, "220-mx\n220 hi\n"}, {EHLO, CAPABILITIES}, ONE_DELIVERED},
         .outcomes = "D"},
        {.name = "helo-after-5xx",
         .num_recipients = 1,
         .rows = {GREETING,
                  {EHLO, "502 5.5.1 what?\r\n"},
                  {"HELO me.test", "250 mx.test\r\n"},
                  {"MAIL FROM:<s@a.test>", "250 ok\r\n"},
                  {RCPT(0), "250 ok\r\n"},
                  {"DATA", "354 go\r\n"},
                  {CONTENT_SENT, "250 ok\r\n"}},
         .outcomes = "D"},
        {.name = "helo refused too",
         .num_recipients = 1,
         .rows = {GREETING, {EHLO, "502 no\r\n"}, {"HELO me.test", "550 no\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_EHLO,
         .failure_code = 550},
        {.name = "4xx to EHLO is no reason for HELO",
         .num_recipients = 1,
         .rows = {GREETING, {EHLO, "450 later\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_EHLO,
         .failure_code = 450},
        {.name = "554 at the greeting",
         .num_recipients = 1,
         .rows = {{NULL, "554 no service\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_BANNER,
         .failure_code = 554},
        {.name = "421-at-banner",
         .num_recipients = 1,
         .rows = {{NULL, "421 4.3.2 too busy\r\n" LOST}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_BANNER,
         .failure_code = 421},
        {.name = "close-before-banner",
         .num_recipients = 1,
         .rows = {{NULL, LOST}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_BANNER},
        {.name = "silent-after-connect",
         .num_recipients = 1,
         .rows = {{NULL, SILENT}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_BANNER},
        {.name = "354 as the greeting",
         .num_recipients = 1,
         .rows = {{NULL, "354 go\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_BANNER},
        {.name = "http at port 25",
         .num_recipients = 1,
         .rows = {{NULL, "HTTP/1.1 400 Bad Request\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_BANNER},
        {.name = "code-changes-in-multiline",
         .num_recipients = 1,
         .rows = {GREETING, {EHLO, "250-mx.test\r\n550 SIZE\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_EHLO},
        {.name = "lost in the middle of a multi-line reply",
         .num_recipients = 1,
         .rows = {GREETING, {EHLO, "250-mx.test\r\n250-SI" LOST}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_EHLO},
        {.name = "lmtp says LHLO and knows no HELO",
         .num_recipients = 1,
         .lmtp = true,
         .rows = {GREETING, {"LHLO me.test", "500 what?\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_EHLO,
         .failure_code = 500},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void starttls_leads_where_the_level_says(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "EHLO is said again after the handshake, and what was told before is forgotten",
         .num_recipients = 1,
         .want_tls = true,
         .rows = {GREETING,
                  {EHLO, "250-mx.test\r\n250-SIZE 5\r\n250-STARTTLS\r\n250 8BITMIME\r\n"},
                  {"STARTTLS", "220 go\r\n"},
                  {EHLO, CAPABILITIES_TLS},
                  ONE_DELIVERED},
         .outcomes = "D"},
        {.name = "not wanted, so not said",
         .num_recipients = 1,
         .rows = {GREETING, {EHLO, CAPABILITIES_TLS}, ONE_DELIVERED},
         .outcomes = "D"},
        {.name = "not offered and not required: plaintext",
         .num_recipients = 1,
         .want_tls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES}, ONE_DELIVERED},
         .outcomes = "D"},
        {.name = "not offered but required",
         .num_recipients = 1,
         .want_tls = true,
         .require_tls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_STARTTLS},
        {.name = "only HELO, but required",
         .num_recipients = 1,
         .want_tls = true,
         .require_tls = true,
         .rows = {GREETING, {EHLO, "500 no\r\n"}, {"HELO me.test", "250-mx\r\n250 STARTTLS\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_STARTTLS},
        {.name = "not offered, under REQUIRETLS",
         .num_recipients = 1,
         .requiretls = true,
         .rows = {GREETING, {EHLO, "250-mx.test\r\n250 REQUIRETLS\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_STARTTLS},
        {.name = "refused for good, under REQUIRETLS",
         .num_recipients = 1,
         .requiretls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES_TLS}, {"STARTTLS", "502 5.5.1 no\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_STARTTLS},
        {.name = "refused for now, under REQUIRETLS",
         .num_recipients = 1,
         .requiretls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES_TLS}, {"STARTTLS", "454 4.7.0 later\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_STARTTLS,
         .failure_code = 454},
        {.name = "starttls-refused-454: plaintext",
         .num_recipients = 1,
         .want_tls = true,
         .rows = {GREETING,
                  {EHLO, CAPABILITIES_TLS},
                  {"STARTTLS", "454 4.7.0 not now\r\n"},
                  ONE_DELIVERED},
         .outcomes = "D"},
        {.name = "starttls refused with 5xx: plaintext",
         .num_recipients = 1,
         .want_tls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES_TLS}, {"STARTTLS", "502 no\r\n"}, ONE_DELIVERED},
         .outcomes = "D"},
        {.name = "starttls refused but required",
         .num_recipients = 1,
         .require_tls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES_TLS}, {"STARTTLS", "554 5.7.3 no\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_STARTTLS,
         .failure_code = 554},
        {.name = "421 to STARTTLS",
         .num_recipients = 1,
         .want_tls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES_TLS}, {"STARTTLS", "421 bye\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_STARTTLS,
         .failure_code = 421},
        {.name = "extra-after-220-starttls",
         .num_recipients = 1,
         .want_tls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES_TLS}, {"STARTTLS", "220 go\r\n250-injected\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_TLS},
        {.name = "one octet after 220 to STARTTLS",
         .num_recipients = 1,
         .want_tls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES_TLS}, {"STARTTLS", "220 go\r\n2"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_TLS},
        {.name = "the handshake fails",
         .num_recipients = 1,
         .want_tls = true,
         .rows = {GREETING, {EHLO, CAPABILITIES_TLS}, {"STARTTLS", "220 go\r\n" LOST}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_TLS},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

struct talk {
    struct smtp_fixture fixture;
    struct smtp_session session;
    struct buffer out;
    struct buffer transcript;
};

static void note_line(void *ctx, char direction, struct bytes line)
{
    buffer_printf(ctx, "%c%.*s\n", direction, (int)line.len, (const char *)line.at);
}

static void talk_init(struct talk *talk, uint32_t num_recipients)
{
    fixture_init(&talk->fixture, num_recipients);
    buffer_init(&talk->out, SMTP_OUT_MAX);
    buffer_init(&talk->transcript, 64 * 1024);
    struct smtp_session_params params = {.helo_name = "me.test",
                                         .want_tls = true,
                                         .config = &talk->fixture.config,
                                         .on_line = note_line,
                                         .on_line_ctx = &talk->transcript};
    smtp_session_init(&talk->session, &params, 100);
}

static void talk_fini(struct talk *talk)
{
    smtp_session_fini(&talk->session);
    buffer_fini(&talk->out);
    buffer_fini(&talk->transcript);
    fixture_fini(&talk->fixture);
}

static enum smtp_want talk_hear(struct talk *talk, const char *reply, int64_t now_ms)
{
    buffer_clear(&talk->out);
    return smtp_session_step(&talk->session, bytes_of(reply), &talk->out, now_ms);
}

static void each_wait_has_its_limit_and_parts_of_a_reply_do_not_move_it(void **state)
{
    (void)state;
    struct talk talk;
    struct smtp_session *session = &talk.session;
    enum smtp_want want;
    talk_init(&talk, 1);
    assert_int_equal(session->deadline_ms, 100 + 1000);
    talk_hear(&talk, "220-hi\r\n220", 600);
    assert_int_equal(session->deadline_ms, 100 + 1000);
    talk_hear(&talk, " \r\n", 700);
    assert_int_equal(session->deadline_ms, 700 + 2000);
    talk_hear(&talk, "250-mx\r\n250 STARTTLS\r\n", 800);
    assert_int_equal(session->deadline_ms, 800 + 3000);
    assert_int_equal(talk_hear(&talk, "220 go\r\n", 900), SMTP_WANT_TLS);
    assert_int_equal(session->deadline_ms, 900 + 3000);
    buffer_clear(&talk.out);
    assert_int_equal(smtp_session_tls_done(session, &talk.out, 1000), SMTP_WANT_READ);
    assert_int_equal(session->deadline_ms, 1000 + 2000);
    assert_int_equal(talk_hear(&talk, "250 mx\r\n", 1100), SMTP_WANT_IDLE);
    assert_true(session->deadline_ms == INT64_MAX);
    buffer_clear(&talk.out);
    smtp_session_begin(session, talk.fixture.delivery, -1, &talk.out, 2000);
    assert_int_equal(session->deadline_ms, 2000 + 4000);
    talk_hear(&talk, "250 ok\r\n", 2100);
    assert_int_equal(session->deadline_ms, 2100 + 5000);
    talk_hear(&talk, "250 ok\r\n", 2200);
    assert_int_equal(session->deadline_ms, 2200 + 6000);
    assert_int_equal(talk_hear(&talk, "354 go\r\n", 2300), SMTP_WANT_BODY);
    assert_int_equal(session->deadline_ms, 2300 + 7000);
    do
        (void)smtp_session_next_body(session, &want);
    while (want == SMTP_WANT_BODY);
    assert_int_equal(session->deadline_ms, 2300 + 7000);
    assert_int_equal(smtp_session_body_sent(session, 2400), SMTP_WANT_READ);
    assert_int_equal(session->deadline_ms, 2400 + 8000);
    talk_fini(&talk);
}

static void a_trickle_of_content_ends_by_the_least_rate(void **state)
{
    (void)state;
    struct talk talk;
    struct smtp_session *session = &talk.session;
    enum smtp_want want;
    talk_init(&talk, 1);
    talk_hear(&talk, "220 hi\r\n", 0);
    talk_hear(&talk, "250 mx\r\n", 0);
    smtp_session_begin(session, talk.fixture.delivery, -1, &talk.out, 0);
    talk_hear(&talk, "250 ok\r\n", 0);
    talk_hear(&talk, "250 ok\r\n", 0);
    talk_hear(&talk, "354 ok\r\n", 1000);
    smtp_session_body_progress(session, 5000);
    assert_int_equal(session->deadline_ms, 1000 + 7000);
    session->body_len = 5000; /* ten seconds' worth */
    smtp_session_body_progress(session, 6000);
    assert_int_equal(session->deadline_ms, 6000 + 7000);
    smtp_session_body_progress(session, 12000);
    assert_int_equal(session->deadline_ms, 1000 + 7000 + 10000);
    do
        (void)smtp_session_next_body(session, &want);
    while (want == SMTP_WANT_BODY);
    smtp_session_body_progress(session, 12500);
    assert_int_equal(session->deadline_ms, 1000 + 7000 + 10000);
    (void)smtp_session_body_sent(session, 13000);
    assert_int_equal(session->deadline_ms, 13000 + 8000);
    talk_fini(&talk);
}

static void the_transcript_has_every_line_and_the_content_once(void **state)
{
    (void)state;
    struct talk talk;
    enum smtp_want want;
    talk_init(&talk, 1);
    talk_hear(&talk, "220 hi\r\n", 0);
    talk_hear(&talk, "250-mx\r\n250 PIPELINING\r\n", 0);
    smtp_session_begin(&talk.session, talk.fixture.delivery, -1, &talk.out, 0);
    talk_hear(&talk, "250 ok\r\n250 ok\r\n354 go\r\n", 0);
    do
        (void)smtp_session_next_body(&talk.session, &want);
    while (want == SMTP_WANT_BODY);
    assert_int_equal(smtp_session_body_sent(&talk.session, 0), SMTP_WANT_READ);
    assert_int_equal(talk_hear(&talk, "250 2.0.0 done\r\n", 0), SMTP_WANT_IDLE);
    assert_int_equal(smtp_session_quit(&talk.session, &talk.out), SMTP_WANT_CLOSE);
    buffer_append_byte(&talk.transcript, 0);
    assert_string_equal((char *)talk.transcript.at, "<220 hi\n"
                                                    ">EHLO me.test\n"
                                                    "<250-mx\n"
                                                    "<250 PIPELINING\n"
                                                    ">MAIL FROM:<s@a.test>\n"
                                                    ">RCPT TO:<r0@b.test>\n"
                                                    ">DATA\n"
                                                    "<250 ok\n"
                                                    "<250 ok\n"
                                                    "<354 go\n"
                                                    ">[content, 26 octets]\n"
                                                    "<250 2.0.0 done\n"
                                                    ">QUIT\n");
    talk_fini(&talk);
}

static void a_reply_that_came_before_its_command_is_a_violation(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 1);
    assert_int_equal(talk_hear(&talk, "220 hi\r\n250 mx\r\n", 0), SMTP_WANT_CLOSE);
    assert_int_equal(talk.session.failure.kind, OUTCOME_DEFERRED);
    assert_int_equal(talk.session.failure.phase, PHASE_EHLO);
    talk_fini(&talk);
}

static void idle_and_used_the_end_is_routine_idle_and_fresh_it_is_a_failure(void **state)
{
    (void)state;
    static const char *const ends[] = {"421 4.4.2 idle too long\r\n", "250 surprise\r\n", LOST};
    for (unsigned i = 0; i < 6; i++) {
        struct talk talk;
        const char *end = ends[i / 2];
        bool used = i % 2;
        talk_init(&talk, 1);
        talk_hear(&talk, "220 hi\r\n", 0);
        assert_int_equal(talk_hear(&talk, "250 mx\r\n", 0), SMTP_WANT_IDLE);
        talk.session.used = used;
        if (*end == *LOST)
            smtp_session_trouble(&talk.session, TROUBLE_LOST, NULL);
        else
            assert_int_equal(talk_hear(&talk, end, 0), SMTP_WANT_CLOSE);
        assert_int_equal(talk.session.failure.kind, used ? OUTCOME_NONE : OUTCOME_DEFERRED);
        assert_int_equal(talk.session.said_421, *end == '4');
        assert_int_equal(talk.out.len, 0);
        /* Closed is closed. */
        assert_int_equal(talk_hear(&talk, "250 more\r\n", 0), SMTP_WANT_CLOSE);
        smtp_session_trouble(&talk.session, TROUBLE_TIMEOUT, NULL);
        assert_int_equal(talk.session.failure.kind, used ? OUTCOME_NONE : OUTCOME_DEFERRED);
        talk_fini(&talk);
    }
}

static void quit_is_said_when_idle_and_to_a_host_that_will_not_do(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 1);
    assert_int_equal(talk_hear(&talk, "554 no\r\n", 0), SMTP_WANT_CLOSE);
    assert_memory_equal(talk.out.at, "QUIT\r\n", 6);
    assert_int_equal(talk.out.len, 6);
    assert_int_equal(smtp_session_quit(&talk.session, &talk.out), SMTP_WANT_CLOSE);
    assert_int_equal(talk.out.len, 6);
    talk_fini(&talk);
}

static void capabilities_and_peer_name_are_what_the_last_ehlo_told(void **state)
{
    (void)state;
    struct talk talk;
    talk_init(&talk, 1);
    talk_hear(&talk, "220 hi\r\n", 0);
    talk_hear(&talk, "250-MX.Test hi\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 STARTTLS\r\n", 0);
    assert_int_equal(talk_hear(&talk, "220 go\r\n", 0), SMTP_WANT_TLS);
    assert_string_equal(talk.session.capabilities.peer_name, "mx.test");
    assert_true(talk.session.capabilities.pipelining);
    smtp_session_tls_done(&talk.session, &talk.out, 0);
    assert_string_equal(talk.session.capabilities.peer_name, "");
    assert_int_equal(talk_hear(&talk, "250-other.test\r\n250 SIZE 7\r\n", 0), SMTP_WANT_IDLE);
    assert_true(talk.session.tls_active);
    assert_string_equal(talk.session.capabilities.peer_name, "other.test");
    assert_false(talk.session.capabilities.pipelining || talk.session.capabilities.eight_bit);
    assert_int_equal(talk.session.capabilities.size_max, 7);
    talk_fini(&talk);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(before_mail_the_dialogue_leads_where_the_table_says),
        cmocka_unit_test(starttls_leads_where_the_level_says),
        cmocka_unit_test(each_wait_has_its_limit_and_parts_of_a_reply_do_not_move_it),
        cmocka_unit_test(a_trickle_of_content_ends_by_the_least_rate),
        cmocka_unit_test(the_transcript_has_every_line_and_the_content_once),
        cmocka_unit_test(a_reply_that_came_before_its_command_is_a_violation),
        cmocka_unit_test(idle_and_used_the_end_is_routine_idle_and_fresh_it_is_a_failure),
        cmocka_unit_test(quit_is_said_when_idle_and_to_a_host_that_will_not_do),
        cmocka_unit_test(capabilities_and_peer_name_are_what_the_last_ehlo_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
