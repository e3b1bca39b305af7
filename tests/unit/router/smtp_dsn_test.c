/* The DSN extension: which parameters go behind MAIL and RCPT, and who owes the report of success.
 */
#include "tests/unit/router/smtp_dialogue.h"

struct talk {
    struct smtp_fixture fixture;
    struct smtp_session session;
    struct buffer out;
};

static void talk_init(struct talk *talk, enum transport transport, const char *extension)
{
    char reply[100];
    fixture_init(&talk->fixture, 1);
    buffer_init(&talk->out, SMTP_OUT_MAX);
    struct smtp_session_params params = {
        .helo_name = "me.test", .config = &talk->fixture.config, .transport = transport};
    smtp_session_init(&talk->session, &params, 0);
    smtp_session_step(&talk->session, bytes_of("220 hi\r\n"), &talk->out, 0);
    snprintf(reply, sizeof reply, "250-mx\r\n250-PIPELINING\r\n250 %s\r\n", extension);
    smtp_session_step(&talk->session, bytes_of(reply), &talk->out, 0);
    buffer_clear(&talk->out);
}

static void talk_fini(struct talk *talk)
{
    smtp_session_fini(&talk->session);
    buffer_fini(&talk->out);
    fixture_fini(&talk->fixture);
}

static struct address *recipient_of(struct talk *talk)
{
    return &talk->fixture.message.envelope.recipients.items[0];
}

struct row {
    const char *extension;
    uint8_t notify;
    enum dsn_ret ret;
    const char *envid, *orcpt, *sender, *mail, *rcpt;
};

static void check(const struct row *row)
{
    struct talk talk;
    char expected[2048];
    talk_init(&talk, TRANSPORT_SMTP, row->extension);
    struct envelope *envelope = &talk.fixture.message.envelope;
    if (row->sender)
        envelope->sender.mailbox[0] = '\0';
    envelope->ret = row->ret;
    envelope->envid = (char *)row->envid;
    recipient_of(&talk)->notify = row->notify;
    recipient_of(&talk)->orcpt = (char *)row->orcpt;
    assert_int_equal(smtp_session_begin(&talk.session, talk.fixture.delivery, -1, &talk.out, 0),
                     SMTP_WANT_READ);
    snprintf(expected, sizeof expected, "MAIL FROM:<%s>%s\r\nRCPT TO:<r0@b.test>%s\r\nDATA\r\n",
             row->sender ? row->sender : "s@a.test", row->mail, row->rcpt);
    buffer_append_byte(&talk.out, '\0');
    assert_string_equal((char *)talk.out.at, expected);
    talk_fini(&talk);
}

static void parameters_are_those_asked_for_and_offered(void **state)
{
    (void)state;
    static const char orcpt[] = "rfc822;A+1 x=y@old.test";
    static const struct row rows[] = {
        {"DSN", 0, RET_UNSAID, NULL, NULL, NULL, "", ""},
        {"HELP", NOTIFY_SUCCESS, RET_FULL, "id", orcpt, NULL, "", ""},
        {"dsn", NOTIFY_SUCCESS | NOTIFY_DELAY, RET_FULL, "order 42+1", NULL, NULL,
         " RET=FULL ENVID=order+2042+2B1", " NOTIFY=SUCCESS,DELAY ORCPT=rfc822;r0@b.test"},
        {"DSN", NOTIFY_NEVER, RET_HDRS, NULL, orcpt, NULL, " RET=HDRS",
         " NOTIFY=NEVER ORCPT=rfc822;A+2B1+20x+3Dy@old.test"},
        {"DSN", 0, RET_UNSAID, "x", orcpt, NULL, " ENVID=x",
         " ORCPT=rfc822;A+2B1+20x+3Dy@old.test"},
        {"DSN", NOTIFY_FAILURE, RET_UNSAID, NULL, NULL, "", "", " ORCPT=rfc822;r0@b.test"},
        {"DSN", NOTIFY_NEVER, RET_UNSAID, NULL, NULL, "", "",
         " NOTIFY=NEVER ORCPT=rfc822;r0@b.test"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check(&rows[i]);
}

static void the_longest_parameters_fit_a_command(void **state)
{
    (void)state;
    char orcpt[DSN_ORCPT_MAX + 1], envid[DSN_ENVID_MAX + 1], mailbox[SMTP_MAILBOX_MAX + 1];
    struct talk talk;
    memset(orcpt, 'o', sizeof orcpt);
    memset(envid, 'e', sizeof envid);
    memset(mailbox, 'm', sizeof mailbox);
    orcpt[3] = ';';
    orcpt[sizeof orcpt - 1] = envid[sizeof envid - 1] = mailbox[sizeof mailbox - 1] = '\0';
    talk_init(&talk, TRANSPORT_SMTP, "DSN");
    struct address *recipient = recipient_of(&talk);
    free(recipient->mailbox);
    recipient->mailbox = mem_strdup(mailbox);
    recipient->orcpt = orcpt;
    recipient->notify = NOTIFY_SUCCESS | NOTIFY_FAILURE | NOTIFY_DELAY;
    talk.fixture.message.envelope.ret = RET_FULL;
    talk.fixture.message.envelope.envid = envid;
    smtp_session_begin(&talk.session, talk.fixture.delivery, -1, &talk.out, 0);
    buffer_append_byte(&talk.out, '\0');
    assert_non_null(strstr((char *)talk.out.at, orcpt));
    assert_non_null(strstr((char *)talk.out.at, envid));
    talk_fini(&talk);
}

static enum outcome_hop deliver(enum transport transport, const char *extension)
{
    struct talk talk;
    enum smtp_want want;
    talk_init(&talk, transport, extension);
    smtp_session_begin(&talk.session, talk.fixture.delivery, -1, &talk.out, 0);
    buffer_clear(&talk.out);
    want =
        smtp_session_step(&talk.session, bytes_of("250 ok\r\n250 ok\r\n354 go\r\n"), &talk.out, 0);
    while (want == SMTP_WANT_BODY)
        (void)smtp_session_next_body(&talk.session, &want);
    smtp_session_body_sent(&talk.session, 0);
    smtp_session_step(&talk.session, bytes_of("250 done\r\n"), &talk.out, 0);
    struct outcome outcome = talk.fixture.delivery->recipients[0].outcome;
    assert_int_equal(outcome.kind, OUTCOME_DELIVERED);
    talk_fini(&talk);
    return outcome.hop;
}

static void who_reports_success_depends_on_the_receiver(void **state)
{
    (void)state;
    assert_int_equal(deliver(TRANSPORT_SMTP, "DSN"), HOP_REPORTS);
    assert_int_equal(deliver(TRANSPORT_SMTP, "HELP"), HOP_RELAYED);
    assert_int_equal(deliver(TRANSPORT_LMTP, "DSN"), HOP_REPORTS);
    assert_int_equal(deliver(TRANSPORT_LMTP, "HELP"), HOP_FINAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(parameters_are_those_asked_for_and_offered),
        cmocka_unit_test(the_longest_parameters_fit_a_command),
        cmocka_unit_test(who_reports_success_depends_on_the_receiver),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
