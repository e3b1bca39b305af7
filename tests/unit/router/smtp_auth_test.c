/* AUTH as dialogues: each mechanism, each way to fail, and where it may not be said. SCRAM's
 * messages are in tests/unit/tls/scram_test.c. */
#include "tests/unit/router/smtp_dialogue.h"

#define GREETING                                                                                   \
    {                                                                                              \
        NULL, "220 hi\r\n"                                                                         \
    }
#define DELIVERED                                                                                  \
    {MAIL, "250 ok\r\n"}, {RCPT(0), "250 ok\r\n"}, {"DATA", "354 go\r\n"},                         \
    {                                                                                              \
        CONTENT_SENT, "250 taken\r\n"                                                              \
    }
#define PLAIN "AUTH PLAIN AHUAcw=="
#define FAILS(...)                                                                                 \
    .num_recipients = 1, .outcomes = "-", .closes = true, .fails = true,                           \
    .failure_phase = PHASE_AUTH, __VA_ARGS__

static char user[] = "u", long_user[256];
static const struct auth_settings anywhere = {user, NULL, "s", 7, AUTH_UNVERIFIED_PLAINTEXT};
static const struct auth_settings login = {user, NULL, "s", AUTH_LOGIN, AUTH_UNVERIFIED_PLAINTEXT};
static const struct auth_settings under_tls = {user, NULL, "s", 7, AUTH_UNVERIFIED_TRUE};
static const struct auth_settings checked = {user, NULL, "s", 7, AUTH_UNVERIFIED_FALSE};

static void each_mechanism_leads_to_mail(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "PLAIN, with its answer in the first line",
         .num_recipients = 1,
         .auth = &anywhere,
         .rows = {GREETING, {EHLO, "*AUTH LOGIN PLAIN"}, {PLAIN, "235 ok\r\n"}, DELIVERED},
         .outcomes = "D"},
        {.name = "LOGIN, whatever its prompts are",
         .num_recipients = 1,
         .auth = &login,
         .rows = {GREETING,
                  {EHLO, "*AUTH=PLAIN LOGIN"},
                  {"AUTH LOGIN", "334 VXNlcm5hbWU6\r\n"},
                  {"dQ==", "334 Password:\r\n"},
                  {"cw==", "235 ok\r\n"},
                  DELIVERED},
         .outcomes = "D"},
        {.name = "only what is offered under TLS counts",
         .num_recipients = 1,
         .want_tls = true,
         .auth = &under_tls,
         .rows = {GREETING,
                  {EHLO, "250-mx\r\n250-AUTH LOGIN\r\n250 STARTTLS\r\n"},
                  {"STARTTLS", "220 go\r\n"},
                  {EHLO, "*AUTH PLAIN"},
                  {PLAIN, "235 ok\r\n"},
                  DELIVERED},
         .outcomes = "D"},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void every_failure_is_the_host_s(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "535",
         FAILS(.auth = &anywhere, .failure_code = 535),
         .rows = {GREETING, {EHLO, "*AUTH PLAIN"}, {PLAIN, "535 5.7.8 no\r\n"}}},
        {.name = "454",
         FAILS(.auth = &anywhere, .failure_code = 454),
         .rows = {GREETING, {EHLO, "*AUTH PLAIN"}, {PLAIN, "454 4.7.0 later\r\n"}}},
        {.name = "421",
         FAILS(.auth = &anywhere, .failure_code = 421),
         .rows = {GREETING, {EHLO, "*AUTH PLAIN"}, {PLAIN, "421 bye\r\n"}}},
        {.name = "the peer hangs up",
         FAILS(.auth = &anywhere),
         .rows = {GREETING, {EHLO, "*AUTH PLAIN"}, {PLAIN, LOST}}},
        {.name = "the peer says nothing",
         FAILS(.auth = &anywhere),
         .rows = {GREETING, {EHLO, "*AUTH PLAIN"}, {PLAIN, SILENT}}},
        {.name = "another success",
         FAILS(.auth = &anywhere),
         .rows = {GREETING, {EHLO, "*AUTH PLAIN"}, {PLAIN, "250 sure\r\n"}}},
        {.name = "a challenge too many is cancelled",
         FAILS(.auth = &anywhere),
         .rows = {GREETING,
                  {EHLO, "*AUTH PLAIN"},
                  {PLAIN, "334 more\r\n"},
                  {"*", "501 cancelled\r\n"}}},
        {.name = "even after that it asks",
         FAILS(.auth = &login),
         .rows = {GREETING,
                  {EHLO, "*AUTH LOGIN"},
                  {"AUTH LOGIN", "334 \r\n"},
                  {"dQ==", "334 \r\n"},
                  {"cw==", "334 \r\n"},
                  {"*", "334 \r\n"}}},
        {.name = "a success after a cancelled exchange is none",
         FAILS(.auth = &anywhere),
         .rows =
             {GREETING, {EHLO, "*AUTH PLAIN"}, {PLAIN, "334 more\r\n"}, {"*", "235 welcome\r\n"}}},
        {.name = "nothing shared",
         FAILS(.auth = &login),
         .rows = {GREETING, {EHLO, "*AUTH PLAIN SCRAM-SHA-256"}}},
        {.name = "no AUTH at all", FAILS(.auth = &anywhere), .rows = {GREETING, {EHLO, "*"}}},
        {.name = "in plaintext",
         FAILS(.auth = &under_tls),
         .rows = {GREETING, {EHLO, "*AUTH PLAIN"}}},
        {.name = "STARTTLS was refused",
         FAILS(.auth = &under_tls, .want_tls = true),
         .rows = {GREETING,
                  {EHLO, "250-mx\r\n250-AUTH PLAIN\r\n250 STARTTLS\r\n"},
                  {"STARTTLS", "454 no\r\n"}}},
        {.name = "the certificate is not checked",
         FAILS(.auth = &checked, .want_tls = true),
         .rows = {GREETING,
                  {EHLO, CAPABILITIES_TLS},
                  {"STARTTLS", "220 go\r\n"},
                  {EHLO, "*AUTH PLAIN"}}},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void a_line_that_would_be_too_long_leaves_its_answer_out(void **state)
{
    (void)state;
    struct smtp_fixture fixture;
    struct smtp_session session;
    struct buffer out;
    memset(long_user, 'u', sizeof long_user - 1);
    char secret[256] = "";
    memset(secret, 's', sizeof secret - 1);
    const struct auth_settings settings = {long_user, NULL, secret, 7, AUTH_UNVERIFIED_PLAINTEXT};
    fixture_init(&fixture, 1);
    buffer_init(&out, SMTP_OUT_MAX);
    struct smtp_session_params params = {
        .helo_name = "me.test", .config = &fixture.config, .auth = &settings};
    smtp_session_init(&session, &params, 0);
    smtp_session_step(&session, bytes_of("220 hi\r\n"), &out, 0);
    buffer_clear(&out);
    smtp_session_step(&session, bytes_of("250-mx\r\n250 AUTH PLAIN\r\n"), &out, 0);
    assert_true(bytes_equal(buffer_bytes(&out), bytes_of("AUTH PLAIN\r\n")));
    assert_int_equal(session.deadline_ms, 3500);
    buffer_clear(&out);
    smtp_session_step(&session, bytes_of("334 \r\n"), &out, 0);
    assert_int_equal(out.len, (2 + 255 + 255 + 2) / 3 * 4 + 2);
    size_t sent_len = out.len;
    buffer_clear(&out);
    assert_int_equal(smtp_session_step(&session, bytes_of("235 ok\r\n"), &out, 0), SMTP_WANT_IDLE);
    /* What was sent is not left behind. */
    for (size_t i = 0; i < sent_len; i++)
        assert_int_equal(out.at[i], 0);
    smtp_session_fini(&session);
    buffer_fini(&out);
    fixture_fini(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_mechanism_leads_to_mail),
        cmocka_unit_test(every_failure_is_the_host_s),
        cmocka_unit_test(a_line_that_would_be_too_long_leaves_its_answer_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
