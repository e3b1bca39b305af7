/* Rules of a transaction: what each reply makes of each recipient, pipelined and not, and what a
 * connection that ends in the middle leaves behind. */
#include "tests/unit/router/smtp_dialogue.h"

#define HELLO                                                                                      \
    {NULL, "220 mx.test ESMTP\r\n"},                                                               \
    {                                                                                              \
        EHLO, CAPABILITIES                                                                         \
    }
#define LMTP_HELLO                                                                                 \
    {NULL, "220 mx.test LMTP\r\n"},                                                                \
    {                                                                                              \
        "LHLO me.test", CAPABILITIES                                                               \
    }
#define MAIL_OK                                                                                    \
    {                                                                                              \
        MAIL, "250 2.1.0 ok\r\n"                                                                   \
    }
#define RCPT_OK(n)                                                                                 \
    {                                                                                              \
        RCPT(n), "250 2.1.5 ok\r\n"                                                                \
    }
#define DATA_OK                                                                                    \
    {                                                                                              \
        "DATA", "354 go\r\n"                                                                       \
    }
#define FINAL_OK                                                                                   \
    {                                                                                              \
        CONTENT_SENT, "250 2.0.0 queued\r\n"                                                       \
    }
#define RSET_OK                                                                                    \
    {                                                                                              \
        "RSET", "250 ok\r\n"                                                                       \
    }
#define DELIVERED MAIL_OK, RCPT_OK(0), DATA_OK, FINAL_OK

static void each_recipient_gets_the_outcome_of_its_own_replies(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "250, 251 and 252 accept",
         .num_recipients = 3,
         .rows = {HELLO,
                  MAIL_OK,
                  {RCPT(0), "250 ok\r\n"},
                  {RCPT(1), "251 will forward\r\n"},
                  {RCPT(2), "252 cannot verify\r\n"},
                  DATA_OK,
                  FINAL_OK},
         .outcomes = "DDD"},
        {.name = "4xx and 5xx touch one recipient each",
         .num_recipients = 4,
         .rows = {HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "450 4.2.1 busy\r\n"},
                  {RCPT(2), "550-5.1.1 no\r\n550 5.1.1 such user\r\n"},
                  RCPT_OK(3),
                  DATA_OK,
                  FINAL_OK},
         .outcomes = "DTBD"},
        {.name = "final 4xx defers, a recipient's own 5xx stays",
         .num_recipients = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  {RCPT(0), "550 no\r\n"},
                  RCPT_OK(1),
                  DATA_OK,
                  {CONTENT_SENT, "451 4.3.0 later\r\n"}},
         .outcomes = "BT"},
        {.name = "final 5xx bounces",
         .num_recipients = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "450 busy\r\n"},
                  DATA_OK,
                  {CONTENT_SENT, "554 5.7.1 spam\r\n"}},
         .outcomes = "BT"},
        {.name = "MAIL 5xx bounces all",
         .num_recipients = 2,
         .rows = {HELLO,
                  {MAIL, "550 5.7.1 not you\r\n"},
                  {"+" RCPT(0), "503 MAIL first\r\n"},
                  {"+" RCPT(1), "503 MAIL first\r\n"},
                  {"+DATA", "503 MAIL first\r\n"}},
         .outcomes = "BB"},
        {.name = "MAIL 4xx defers all, even if RCPT is then accepted and DATA too",
         .num_recipients = 2,
         .rows = {HELLO,
                  {MAIL, "451 4.7.1 greylisted\r\n"},
                  {"+" RCPT(0), "250 ok\r\n"},
                  {"+" RCPT(1), "550 no\r\n"},
                  {"+DATA", "354 go\r\n"},
                  {"+.", "554 no valid recipients\r\n"}},
         .outcomes = "TT"},
        {.name = "DATA refused: the accepted get its outcome, the refused keep theirs",
         .num_recipients = 2,
         .rows = {HELLO, MAIL_OK, {RCPT(0), "550 no\r\n"}, RCPT_OK(1), {"DATA", "451 later\r\n"}},
         .outcomes = "BT"},
        {.name = "all refused and DATA refused: the recipients' own outcomes win",
         .num_recipients = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  {RCPT(0), "550 no\r\n"},
                  {RCPT(1), "450 busy\r\n"},
                  {"+DATA", "554 no valid recipients\r\n"}},
         .outcomes = "BT"},
        {.name = "354-without-recipients: a lone dot, its reply ignored",
         .num_recipients = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  {RCPT(0), "550 no\r\n"},
                  {RCPT(1), "450 busy\r\n"},
                  {"+DATA", "354 go\r\n"},
                  {"+.", "250 delivered to nobody\r\n"}},
         .outcomes = "BT"},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void too_many_recipients_split_the_batch(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "452 after an accepted one: another transaction on the same connection",
         .num_recipients = 3,
         .rows = {HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "452 4.5.3 too many\r\n"},
                  {"+" RCPT(2), "452 4.5.3 too many\r\n"},
                  DATA_OK,
                  FINAL_OK,
                  MAIL_OK,
                  RCPT_OK(1),
                  RCPT_OK(2),
                  DATA_OK,
                  FINAL_OK},
         .outcomes = "DDD"},
        {.name = "552 is taken for 452 (RFC 5321 4.5.3.1.10), and means itself when it comes first",
         .num_recipients = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "552 5.2.2 full\r\n"},
                  DATA_OK,
                  FINAL_OK,
                  MAIL_OK,
                  {RCPT(1), "552 5.2.2 full\r\n"},
                  {"+DATA", "503 no\r\n"}},
         .outcomes = "DB"},
        {.name = "452 before any was accepted defers that one",
         .num_recipients = 2,
         .rows = {HELLO, MAIL_OK, {RCPT(0), "452 4.2.2 full\r\n"}, RCPT_OK(1), DATA_OK, FINAL_OK},
         .outcomes = "TD"},
        {.name = "the content of a split is refused: the rest is still tried",
         .num_recipients = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "452 too many\r\n"},
                  {"DATA", "451 later\r\n"},
                  RSET_OK,
                  MAIL_OK,
                  RCPT_OK(1),
                  DATA_OK,
                  FINAL_OK},
         .outcomes = "TD"},
        {.name = "lost after the dot of a split: only those who were part of it are in doubt",
         .num_recipients = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "452 too many\r\n"},
                  DATA_OK,
                  {CONTENT_SENT, LOST}},
         .fails = true,
         .failure_phase = PHASE_MAIL,
         .outcomes = "?-",
         .closes = true},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void on_a_fresh_connection_its_end_before_content_is_the_hosts_failure(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "421 to MAIL",
         .num_recipients = 1,
         .rows = {HELLO, {MAIL, "421 4.7.0 slow down\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_MAIL,
         .failure_code = 421},
        {.name = "421-after-rcpt-3",
         .num_recipients = 5,
         .rows = {HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "550 no\r\n"},
                  RCPT_OK(2),
                  {RCPT(3), "421 bye\r\n" LOST}},
         .outcomes = "-B---",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_RCPT,
         .failure_code = 421},
        {.name = "421 to DATA",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), {"DATA", "421 bye\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_DATA,
         .failure_code = 421},
        {.name = "lost at RCPT",
         .num_recipients = 2,
         .rows = {HELLO, MAIL_OK, {RCPT(0), LOST}},
         .outcomes = "--",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_RCPT},
        {.name = "silent at DATA",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), {"DATA", SILENT}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_DATA},
        {.name = "250 to DATA is no SMTP",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), {"DATA", "250 ok\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_DATA},
        {.name = "354 to RCPT is no SMTP",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, {RCPT(0), "354 go\r\n"}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_RCPT},
        {.name = "421 when everybody was refused already: nothing is left to fail",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, {RCPT(0), "550 no\r\n"}, {"+DATA", "421 bye\r\n"}},
         .outcomes = "B",
         .closes = true},
    };
    /* Without pipelining the last one ends idle: DATA is never said. */
    size_t num = sizeof dialogues / sizeof *dialogues;
    play_all(dialogues, num - 1);
    play_dialogue(&dialogues[num - 1], true, false);
    play_dialogue(&dialogues[num - 1], true, true);
}

static void on_a_connection_that_has_delivered_its_end_before_content_is_routine(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "421 to MAIL",
         .num_recipients = 2,
         .num_deliveries = 2,
         .rows =
             {HELLO, MAIL_OK, RCPT_OK(0), RCPT_OK(1), DATA_OK, FINAL_OK, {MAIL, "421 enough\r\n"}},
         .outcomes = "--",
         .closes = true},
        {.name = "lost at MAIL",
         .num_recipients = 1,
         .num_deliveries = 2,
         .rows = {HELLO, DELIVERED, {MAIL, LOST}},
         .outcomes = "-",
         .closes = true},
        {.name = "421 to DATA",
         .num_recipients = 2,
         .num_deliveries = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  RCPT_OK(1),
                  DATA_OK,
                  FINAL_OK,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "550 no\r\n"},
                  {"DATA", "421 enough\r\n"}},
         .outcomes = "-B",
         .closes = true},
        {.name = "silent at RCPT",
         .num_recipients = 1,
         .num_deliveries = 2,
         .rows = {HELLO, DELIVERED, MAIL_OK, {RCPT(0), SILENT}},
         .outcomes = "-",
         .closes = true},
        {.name = "nonsense is not routine: it counts as an attempt",
         .num_recipients = 1,
         .num_deliveries = 2,
         .rows = {HELLO, DELIVERED, MAIL_OK, {RCPT(0), "what?\r\n"}},
         .outcomes = "T",
         .closes = true},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void after_the_dot_only_an_answer_removes_the_doubt(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "close-after-dot",
         .num_recipients = 2,
         .rows =
             {HELLO, MAIL_OK, RCPT_OK(0), {RCPT(1), "550 no\r\n"}, DATA_OK, {CONTENT_SENT, LOST}},
         .outcomes = "?B",
         .closes = true},
        {.name = "silent after the dot",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), DATA_OK, {CONTENT_SENT, SILENT}},
         .outcomes = "?",
         .closes = true},
        {.name = "half a reply to the dot",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), DATA_OK, {CONTENT_SENT, "250-queued\r\n250" LOST}},
         .outcomes = "?",
         .closes = true},
        {.name = "an unreadable reply to the dot",
         .num_recipients = 1,
         .rows =
             {HELLO, MAIL_OK, RCPT_OK(0), DATA_OK, {CONTENT_SENT, "250-queued\r\n550 or not\r\n"}},
         .outcomes = "?",
         .closes = true},
        {.name = "354 as the reply to the dot",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), DATA_OK, {CONTENT_SENT, "354 go on\r\n"}},
         .outcomes = "?",
         .closes = true},
        {.name = "421 to the dot defers without doubt",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), DATA_OK, {CONTENT_SENT, "421 4.3.2 bye\r\n" LOST}},
         .outcomes = "T",
         .closes = true},
        {.name = "a reply more after the final one closes, and changes nothing",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), DATA_OK, {CONTENT_SENT, "250 ok\r\n550 oh\r\n"}},
         .outcomes = "D",
         .closes = true},
        {.name = "250 and 421 together: delivered, and the connection ends",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), DATA_OK, {CONTENT_SENT, "250 ok\r\n421 bye\r\n"}},
         .outcomes = "D",
         .closes = true},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void during_content_the_end_defers_without_doubt(void **state)
{
    (void)state;
    /* In each the rest comes before the content is sent. */
    static const struct dialogue dialogues[] = {
        {.name = "421",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), {"DATA", "354 go\r\n421 bye\r\n"}},
         .outcomes = "T",
         .closes = true},
        {.name = "552 is the peer's word about the content",
         .num_recipients = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "450 busy\r\n"},
                  {"DATA", "354 go\r\n552 5.3.4 too big\r\n"}},
         .outcomes = "BT",
         .closes = true},
        {.name = "250 makes no sense",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), {"DATA", "354 go\r\n250 have it\r\n"}},
         .outcomes = "T",
         .closes = true},
        {.name = "lost",
         .num_recipients = 1,
         .rows = {HELLO, MAIL_OK, RCPT_OK(0), {"DATA", "354 go\r\n" LOST}},
         .outcomes = "T",
         .closes = true},
        {.name = "lost, and the connection had delivered before",
         .num_recipients = 1,
         .num_deliveries = 2,
         .rows = {HELLO, DELIVERED, MAIL_OK, RCPT_OK(0), {"DATA", "354 go\r\n" LOST}},
         .outcomes = "T",
         .closes = true},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void the_next_transaction_resets_what_did_not_end_cleanly(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "clean: no RSET",
         .num_recipients = 1,
         .num_deliveries = 3,
         .rows = {HELLO,
                  DELIVERED,
                  MAIL_OK,
                  RCPT_OK(0),
                  DATA_OK,
                  {CONTENT_SENT, "550 spam\r\n"},
                  DELIVERED},
         .outcomes = "D"},
        {.name = "all refused, DATA refused or not said: RSET",
         .num_recipients = 1,
         .num_deliveries = 2,
         .rows =
             {HELLO, MAIL_OK, {RCPT(0), "550 no\r\n"}, {"+DATA", "503 no\r\n"}, RSET_OK, DELIVERED},
         .outcomes = "D"},
        {.name = "MAIL refused: RSET",
         .num_recipients = 1,
         .num_deliveries = 2,
         .rows = {HELLO,
                  {MAIL, "550 no\r\n"},
                  {"+" RCPT(0), "503 no\r\n"},
                  {"+DATA", "503 no\r\n"},
                  RSET_OK,
                  DELIVERED},
         .outcomes = "D"},
        {.name = "RSET refused: the host is left",
         .num_recipients = 1,
         .num_deliveries = 2,
         .rows = {HELLO,
                  MAIL_OK,
                  {RCPT(0), "550 no\r\n"},
                  {"+DATA", "503 no\r\n"},
                  {"RSET", "500 what?\r\n" LOST}},
         .outcomes = "-",
         .closes = true,
         .fails = true,
         .failure_phase = PHASE_MAIL},
    };
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
}

static void lmtp_has_a_final_reply_for_each_accepted_recipient(void **state)
{
    (void)state;
    static const struct dialogue dialogues[] = {
        {.name = "lmtp-per-recipient",
         .num_recipients = 5,
         .lmtp = true,
         .rows = {LMTP_HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  {RCPT(1), "550 no\r\n"},
                  RCPT_OK(2),
                  RCPT_OK(3),
                  RCPT_OK(4),
                  DATA_OK,
                  {CONTENT_SENT, "250 ok\r\n452 4.2.2 full\r\n554 5.6.0 no\r\n250 ok\r\n"}},
         .outcomes = "DBTBD"},
        {.name = "lost between the final replies",
         .num_recipients = 3,
         .lmtp = true,
         .rows = {LMTP_HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  RCPT_OK(1),
                  RCPT_OK(2),
                  DATA_OK,
                  {CONTENT_SENT, "250 ok\r\n" LOST}},
         .outcomes = "D??",
         .closes = true},
        {.name = "421 for one: the others will not be answered",
         .num_recipients = 3,
         .lmtp = true,
         .rows = {LMTP_HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  RCPT_OK(1),
                  RCPT_OK(2),
                  DATA_OK,
                  {CONTENT_SENT, "250 ok\r\n421 bye\r\n"}},
         .outcomes = "DT?",
         .closes = true},
        {.name = "two deliveries",
         .num_recipients = 2,
         .num_deliveries = 2,
         .lmtp = true,
         .rows = {LMTP_HELLO,
                  MAIL_OK,
                  RCPT_OK(0),
                  RCPT_OK(1),
                  DATA_OK,
                  {CONTENT_SENT, "250 ok\r\n250 ok\r\n"},
                  MAIL_OK,
                  {RCPT(0), "450 busy\r\n"},
                  RCPT_OK(1),
                  DATA_OK,
                  {CONTENT_SENT, "250 ok\r\n"}},
         .outcomes = "TD"},
    };
    static const struct dialogue pipelined_only = {
        .name = "354 without recipients: no reply would follow the dot",
        .num_recipients = 1,
        .lmtp = true,
        .rows = {LMTP_HELLO, MAIL_OK, {RCPT(0), "550 no\r\n"}, {"+DATA", "354 go\r\n"}},
        .outcomes = "B",
        .closes = true};
    play_all(dialogues, sizeof dialogues / sizeof *dialogues);
    play_dialogue(&pipelined_only, true, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_recipient_gets_the_outcome_of_its_own_replies),
        cmocka_unit_test(too_many_recipients_split_the_batch),
        cmocka_unit_test(on_a_fresh_connection_its_end_before_content_is_the_hosts_failure),
        cmocka_unit_test(on_a_connection_that_has_delivered_its_end_before_content_is_routine),
        cmocka_unit_test(after_the_dot_only_an_answer_removes_the_doubt),
        cmocka_unit_test(during_content_the_end_defers_without_doubt),
        cmocka_unit_test(the_next_transaction_resets_what_did_not_end_cleanly),
        cmocka_unit_test(lmtp_has_a_final_reply_for_each_accepted_recipient),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
