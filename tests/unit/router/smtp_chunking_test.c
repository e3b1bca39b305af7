/* Rules of a transaction that leaves in one flight (RFC 3030 BDAT), and of the limits that a peer
 * tells (RFC 9422). */
#include "tests/unit/router/smtp_dialogue.h"

/* And a first transaction, by DATA. */
#define HELLO_CHUNKING(rcpts)                                                                      \
    {NULL, "220 mx.test ESMTP\r\n"}, {EHLO, "*CHUNKING"}, MAIL_OK, rcpts, DATA_OK
#define DATA_OK                                                                                    \
    {"DATA", "354 go\r\n"},                                                                        \
    {                                                                                              \
        CONTENT_SENT, "250 2.0.0 queued\r\n"                                                       \
    }
#define TWO RCPT_OK(0), RCPT_OK(1)
#define THREE TWO, RCPT_OK(2)
#define FOUR THREE, RCPT_OK(3)
#define MAIL_OK                                                                                    \
    {                                                                                              \
        MAIL, "250 2.1.0 ok\r\n"                                                                   \
    }
#define RCPT_OK(n)                                                                                 \
    {                                                                                              \
        RCPT(n), "250 2.1.5 ok\r\n"                                                                \
    }
#define BDAT_SAID                                                                                  \
    {                                                                                              \
        BDAT, ""                                                                                   \
    }
#define FLIGHT_OK MAIL_OK, RCPT_OK(0), BDAT_SAID, CHUNK_OK
#define CHUNK_OK                                                                                   \
    {                                                                                              \
        CHUNK_SENT, "250 2.0.0 queued\r\n"                                                         \
    }
#define BY_DATA                                                                                    \
    MAIL_OK, RCPT_OK(0), {"DATA", "354 go\r\n"},                                                   \
    {                                                                                              \
        CONTENT_SENT, "250 2.0.0 queued\r\n"                                                       \
    }

/* Replies come before the content has left, or after. */
static void play_flights(const struct dialogue *dialogues, size_t num_dialogues)
{
    for (size_t i = 0; i < num_dialogues; i++)
        for (unsigned bytewise = 0; bytewise < 2; bytewise++)
            play_dialogue(&dialogues[i], true, bytewise);
}

static void in_one_flight_each_recipient_gets_the_outcome_of_its_own_replies(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "delivered, and the next one too",
         .num_recipients = 1,
         .num_deliveries = 3,
         .rows = {HELLO_CHUNKING(RCPT_OK(0)), FLIGHT_OK, FLIGHT_OK},
         .outcomes = "D"},
        {.name = "4xx and 5xx touch one recipient each",
         .num_recipients = 4,
         .num_deliveries = 2,
         .rows = {HELLO_CHUNKING(FOUR),
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "450 4.2.1 busy\r\n"},
                  {RCPT(2), "550 5.1.1 no\r\n"},
                  RCPT_OK(3),
                  BDAT_SAID,
                  CHUNK_OK},
         .outcomes = "DTBD"},
        {.name = "MAIL refused: what the others get says nothing",
         .num_recipients = 2,
         .num_deliveries = 2,
         .rows = {HELLO_CHUNKING(TWO),
                  {MAIL, "550 5.7.1 not you\r\n"},
                  {RCPT(0), "250 ok\r\n"},
                  {RCPT(1), "503 MAIL first\r\n"},
                  BDAT_SAID,
                  {CHUNK_SENT, "250 ok\r\n"}},
         .outcomes = "BB"},
        {.name = "all refused: BDAT's reply is nobody's",
         .num_recipients = 2,
         .num_deliveries = 2,
         .rows = {HELLO_CHUNKING(TWO),
                  MAIL_OK,
                  {RCPT(0), "550 no\r\n"},
                  {RCPT(1), "450 busy\r\n"},
                  BDAT_SAID,
                  {CHUNK_SENT, "250 delivered to nobody\r\n"}},
         .outcomes = "BT"},
        {.name = "452 splits the batch",
         .num_recipients = 3,
         .num_deliveries = 2,
         .rows = {HELLO_CHUNKING(THREE),
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "452 4.5.3 too many\r\n"},
                  {RCPT(2), "452 4.5.3 too many\r\n"},
                  BDAT_SAID,
                  CHUNK_OK,
                  MAIL_OK,
                  RCPT_OK(1),
                  RCPT_OK(2),
                  BDAT_SAID,
                  CHUNK_OK},
         .outcomes = "DDD"},
        {.name = "content deferred",
         .num_recipients = 2,
         .num_deliveries = 2,
         .rows = {HELLO_CHUNKING(TWO),
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "550 no\r\n"},
                  BDAT_SAID,
                  {CHUNK_SENT, "451 later\r\n"}},
         .outcomes = "TB"},
        {.name = "content refused: RSET, and then no flight",
         .num_recipients = 1,
         .num_deliveries = 3,
         .rows = {HELLO_CHUNKING(RCPT_OK(0)),
                  MAIL_OK,
                  RCPT_OK(0),
                  BDAT_SAID,
                  {CHUNK_SENT, "554 5.7.1 spam\r\n"},
                  {"RSET", "250 ok\r\n"},
                  BY_DATA},
         .outcomes = "D"},
    };
    play_flights(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void a_flight_that_is_lost_leaves_doubt_unless_a_reply_removes_it(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "lost without a reply",
         .num_recipients = 2,
         .num_deliveries = 2,
         .rows = {HELLO_CHUNKING(TWO),
                  {MAIL, ""},
                  {RCPT(0), ""},
                  {RCPT(1), ""},
                  BDAT_SAID,
                  {CHUNK_SENT, LOST}},
         .outcomes = "??",
         .closes = true},
        {.name = "silent behind some replies",
         .num_recipients = 3,
         .num_deliveries = 2,
         .rows = {HELLO_CHUNKING(THREE),
                  MAIL_OK,
                  {RCPT(0), "550 no\r\n"},
                  RCPT_OK(1),
                  {RCPT(2), ""},
                  BDAT_SAID,
                  {CHUNK_SENT, SILENT}},
         .outcomes = "B??",
         .closes = true},
        {.name = "421 to BDAT: not taken",
         .num_recipients = 1,
         .num_deliveries = 2,
         .rows = {HELLO_CHUNKING(RCPT_OK(0)),
                  MAIL_OK,
                  RCPT_OK(0),
                  BDAT_SAID,
                  {CHUNK_SENT, "421 bye\r\n"}},
         .outcomes = "T",
         .closes = true},
        {.name = "421 to MAIL after a delivery: routine",
         .num_recipients = 1,
         .num_deliveries = 3,
         .rows = {HELLO_CHUNKING(RCPT_OK(0)), FLIGHT_OK, {MAIL, "421 4.7.0 enough\r\n"}},
         .outcomes = "-",
         .closes = true},
        {.name = "421 to RCPT after a delivery: routine",
         .num_recipients = 1,
         .num_deliveries = 3,
         .rows =
             {HELLO_CHUNKING(RCPT_OK(0)), FLIGHT_OK, MAIL_OK, {RCPT(0), "421 4.7.0 enough\r\n"}},
         .outcomes = "-",
         .closes = true},
    };
    static const struct dialogue after_it_left = {
        .name = "a reply that makes no sense, once all has left",
        .num_recipients = 1,
        .num_deliveries = 2,
        .rows = {HELLO_CHUNKING(RCPT_OK(0)),
                 {MAIL, "354 go\r\n"},
                 {RCPT(0), ""},
                 BDAT_SAID,
                 {CHUNK_SENT, ""}},
        .outcomes = "?",
        .closes = true};
    static const struct dialogue before_its_end = {.name =
                                                       "an answer to a chunk that is not complete",
                                                   .num_recipients = 2,
                                                   .num_deliveries = 2,
                                                   .rows = {HELLO_CHUNKING(TWO),
                                                            MAIL_OK,
                                                            RCPT_OK(0),
                                                            {RCPT(1), "550 no\r\n"},
                                                            {BDAT, "554 5.3.4 too big\r\n"}},
                                                   .outcomes = "BB",
                                                   .closes = true};
    play_flights(dialogues, sizeof dialogues / sizeof *dialogues);
    play_dialogue(&after_it_left, true, false);
    play_dialogue(&before_its_end, true, true);
}

/* A reply too many makes each later one pass for the next command's: the first transaction shows
 * it.
 */
static void the_first_transaction_goes_by_data_and_finds_replies_that_nobody_asked_for(void **state)
{
    (void)state;
    static const struct dialogue dialogue = {.name = "unasked-reply",
                                             .num_recipients = 1,
                                             .rows = {{NULL, "220 mx.test ESMTP\r\n"},
                                                      {EHLO, "*CHUNKING"},
                                                      {MAIL, "250 by the way\r\n250 ok\r\n"},
                                                      RCPT_OK(0),
                                                      {"DATA", "354 go\r\n"}},
                                             .outcomes = "-",
                                             .closes = true,
                                             .fails = true,
                                             .failure_phase = PHASE_DATA};
    play_dialogue(&dialogue, true, false);
}

static void without_pipelining_there_is_no_flight(void **state)
{
    (void)state;
    static const struct dialogue dialogue = {.name = "CHUNKING alone",
                                             .num_recipients = 1,
                                             .num_deliveries = 2,
                                             .rows = {HELLO_CHUNKING(RCPT_OK(0)), BY_DATA},
                                             .outcomes = "D"};
    play_dialogue(&dialogue, false, false);
}

static void send_body(struct smtp_session *session, enum smtp_want want)
{
    while (want == SMTP_WANT_BODY)
        (void)smtp_session_next_body(session, &want);
    assert_int_equal(want, SMTP_WANT_READ);
    assert_int_equal(smtp_session_body_sent(session, 0), SMTP_WANT_READ);
}

/* A session that is ready for MAIL at `now` 0. */
static void open_session(struct smtp_session *session, struct smtp_fixture *fixture,
                         struct buffer *out, const char *keywords)
{
    struct smtp_session_params params = {.helo_name = "me.test", .config = &fixture->config};
    buffer_init(out, SMTP_OUT_MAX);
    smtp_session_init(session, &params, 0);
    (void)smtp_session_step(session, bytes_of("220 mx.test\r\n"), out, 0);
    assert_int_equal(smtp_session_step(session, bytes_of(keywords), out, 0), SMTP_WANT_IDLE);
    /* A first transaction, by DATA. */
    char replies[160] = "250 mail\r\n";
    for (uint32_t i = 0; i < fixture->delivery->num_recipients; i++)
        strcat(replies, "250 rcpt\r\n");
    strcat(replies, "354 go\r\n");
    assert_int_equal(smtp_session_begin(session, fixture->delivery, -1, out, 0), SMTP_WANT_READ);
    send_body(session, smtp_session_step(session, bytes_of(replies), out, 0));
    assert_int_equal(smtp_session_step(session, bytes_of("250 ok\r\n"), out, 0), SMTP_WANT_IDLE);
    for (uint32_t i = 0; i < fixture->delivery->num_recipients; i++)
        fixture->delivery->recipients[i].outcome = (struct outcome){0};
    buffer_clear(out);
}

static void close_session(struct smtp_session *session, struct smtp_fixture *fixture,
                          struct buffer *out)
{
    smtp_session_trouble(session, TROUBLE_LOST, NULL);
    smtp_session_fini(session);
    buffer_fini(out);
    fixture_fini(fixture);
}

static void only_small_content_in_memory_flies_and_only_on_a_fresh_connection(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        uint64_t most;
        int64_t now_ms;
        bool lmtp, bad_address, flies;
    } rows[] = {
        {"the limit exactly", 26, 0, false, false, true},
        {"an octet more", 25, 0, false, false, false},
        {"never", 0, 0, false, false, false},
        {"just fresh", 26, SMTP_FRESH_MS - 1, false, false, true},
        {"waited", 26, SMTP_FRESH_MS, false, false, false},
        {"LMTP", 26, 0, true, false, false},
        {"an address that cannot be sent", 26, 0, false, true, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct smtp_fixture fixture;
        struct smtp_session session;
        struct buffer out;
        fixture_init(&fixture, 2);
        fixture.config.smtp.one_flight_max = rows[i].most;
        open_session(&session, &fixture, &out, "250-mx.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
        if (rows[i].bad_address)
            fixture.message.envelope.recipients.items[1].mailbox[0] = '\r';
        if (rows[i].lmtp)
            session.params.transport = TRANSPORT_LMTP;
        enum smtp_want want =
            smtp_session_begin(&session, fixture.delivery, -1, &out, rows[i].now_ms);
        if ((want == SMTP_WANT_BODY) != rows[i].flies)
            fail_msg("%s: want %d", rows[i].name, (int)want);
        close_session(&session, &fixture, &out);
    }
}

/* Content that is not what was measured must not turn into commands, nor commands into content. */
static void a_chunk_of_another_length_than_announced_is_cut_off(void **state)
{
    (void)state;
    for (int off = -1; off <= 1; off += 2) {
        struct smtp_fixture fixture;
        struct smtp_session session;
        struct buffer out;
        fixture_init(&fixture, 1);
        fixture.message.content.class.wire_len += (uint64_t)(int64_t)off;
        open_session(&session, &fixture, &out, "250-mx.test\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
        enum smtp_want want = smtp_session_begin(&session, fixture.delivery, -1, &out, 0);
        uint64_t len = 0;
        while (want == SMTP_WANT_BODY)
            len += smtp_session_next_body(&session, &want).len;
        assert_int_equal(want, SMTP_WANT_CLOSE);
        assert_true(len < fixture.message.content.class.wire_len);
        assert_false(fixture.delivery->recipients[0].outcome.in_doubt);
        close_session(&session, &fixture, &out);
    }
}

static void rcptmax_cuts_a_batch_into_transactions(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "two at a time",
         .num_recipients = 3,
         .rows = {{NULL, "220 mx.test\r\n"},
                  {EHLO, "*LIMITS RCPTMAX=2 MAILMAX=9"},
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "550 no\r\n"},
                  {"DATA", "354 go\r\n"},
                  {CONTENT_SENT, "250 ok\r\n"},
                  MAIL_OK,
                  RCPT_OK(2),
                  {"DATA", "354 go\r\n"},
                  {CONTENT_SENT, "250 ok\r\n"}},
         .outcomes = "DBD"},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void a_session_is_spent_when_the_peers_limits_are_reached(void **state)
{
    (void)state;
    struct smtp_fixture fixture;
    struct smtp_session session;
    struct buffer out;
    fixture_init(&fixture, 1);
    open_session(&session, &fixture, &out,
                 "250-mx.test\r\n250-PIPELINING\r\n250-CHUNKING\r\n"
                 "250 LIMITS MAILMAX=3 RCPTDOMAINMAX=1\r\n");
    struct delivery *delivery = fixture.delivery;
    for (unsigned i = 0; i < 2; i++) {
        delivery->domain = "other.test";
        assert_true(smtp_session_is_spent(&session, delivery));
        delivery->domain = "b.test";
        assert_false(smtp_session_is_spent(&session, delivery));
        delivery->recipients[0].outcome = (struct outcome){0};
        send_body(&session, smtp_session_begin(&session, delivery, -1, &out, 0));
        assert_int_equal(
            smtp_session_step(&session, bytes_of("250 a\r\n250 b\r\n250 c\r\n"), &out, 0),
            SMTP_WANT_IDLE);
        assert_int_equal(delivery->recipients[0].outcome.kind, OUTCOME_DELIVERED);
    }
    assert_true(smtp_session_is_spent(&session, delivery));
    close_session(&session, &fixture, &out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_one_flight_each_recipient_gets_the_outcome_of_its_own_replies),
        cmocka_unit_test(a_flight_that_is_lost_leaves_doubt_unless_a_reply_removes_it),
        cmocka_unit_test(
            the_first_transaction_goes_by_data_and_finds_replies_that_nobody_asked_for),
        cmocka_unit_test(without_pipelining_there_is_no_flight),
        cmocka_unit_test(only_small_content_in_memory_flies_and_only_on_a_fresh_connection),
        cmocka_unit_test(a_chunk_of_another_length_than_announced_is_cut_off),
        cmocka_unit_test(rcptmax_cuts_a_batch_into_transactions),
        cmocka_unit_test(a_session_is_spent_when_the_peers_limits_are_reached),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
