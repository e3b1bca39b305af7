/* Scripted dialogues: a table says what the machine must send and what the peer answers; the runner
 * plays it with replies whole and octet by octet, with PIPELINING offered and not. */
#ifndef SLUICE_TESTS_UNIT_ROUTER_SMTP_DIALOGUE_H
#define SLUICE_TESTS_UNIT_ROUTER_SMTP_DIALOGUE_H

#include "tests/unit/router/smtp_fixture.h"

#include <stdio.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

/* Instead of a reply: the peer hangs up, or says nothing until the time is over. */
#define LOST "\1"
#define SILENT "\2"
#define CONTENT_SENT FIXTURE_CONTENT "."
#define CHUNK_SENT "Subject: a test\r\n\r\nhello"
#define BDAT "BDAT 26 LAST"
#define EHLO "EHLO me.test"
#define MAIL "MAIL FROM:<s@a.test> SIZE=26"
#define RCPT(n) "RCPT TO:<r" #n "@b.test>"
#define CAPABILITIES "*" /* the reply to EHLO, PIPELINING as the mode wants */
#define CAPABILITIES_TLS "*STARTTLS"

enum { ROWS_MAX = 40 };

struct dialogue {
    const char *name;
    uint32_t num_recipients;
    uint32_t num_deliveries; /* one after the other on the session; 0: as 1 */
    bool lmtp, want_tls, require_tls;
    bool requiretls; /* of the message, and so of the session */
    const struct auth_settings *auth;
    /* says: the whole line; "+line": only sent when pipelining; "-line": only when not. NULL for
     * the greeting, which answers nothing. A reply may be several lines, or end with LOST. */
    struct {
        const char *says;
        const char *reply;
    } rows[ROWS_MAX];
    /* One letter per recipient of the last delivery: D delivered, T deferred, ? deferred in doubt,
     * B bounced, R returned, - open. */
    const char *outcomes;
    bool fails; /* session.failure is set, and then with this: */
    enum outcome_phase failure_phase;
    uint16_t failure_code;
    bool closes; /* else it ends idle */
};

struct play {
    const struct dialogue *dialogue;
    bool pipelining, bytewise;
    unsigned row;
    struct smtp_fixture fixture;
    struct smtp_session session;
    struct buffer out;
    struct buffer said; /* by the peer, not yet heard */
    char ending;        /* LOST or SILENT, once everything said was heard */
    uint32_t num_begun;
    enum smtp_want want;
};

static inline void play_reply(struct play *play, const char *reply)
{
    if (*reply == '*') {
        buffer_append_str(&play->said, "250-MX.Test greets me.test\r\n250-SIZE 1000\r\n");
        if (play->pipelining)
            buffer_append_str(&play->said, "250-PIPELINING\r\n");
        if (reply[1])
            buffer_printf(&play->said, "250-%s\r\n", reply + 1);
        buffer_append_str(&play->said, "250 ENHANCEDSTATUSCODES\r\n");
        return;
    }
    size_t len = strcspn(reply, LOST SILENT);
    buffer_append(&play->said, reply, len);
    if (reply[len])
        play->ending = reply[len];
}

/* The peer reads one line (or the whole content) and answers by the script. */
static inline void play_hear(struct play *play, struct bytes line)
{
    const char *says;
    for (;;) {
        says = play->row < ROWS_MAX ? play->dialogue->rows[play->row].says : NULL;
        if (!says || (*says != '+' && *says != '-'))
            break;
        if (play->pipelining == (*says == '+')) {
            says++;
            break;
        }
        play->row++;
    }
    if (!says || !bytes_equal(line, bytes_of(says)))
        fail_msg("%s (pipelining %d, bytewise %d): row %u wants \"%s\", was sent \"%.*s\"",
                 play->dialogue->name, play->pipelining, play->bytewise, play->row,
                 says ? says : "nothing", (int)line.len, (const char *)line.at);
    play_reply(play, play->dialogue->rows[play->row++].reply);
}

/* A script that ends with the peer's last words: what was pipelined behind is not listened to. */
static inline bool play_is_deaf(const struct play *play)
{
    bool is_last = play->row >= ROWS_MAX || !play->dialogue->rows[play->row].says;
    return play->ending || (is_last && play->dialogue->closes);
}

static inline void play_hear_commands(struct play *play)
{
    struct bytes rest = buffer_bytes(&play->out);
    while (rest.len) {
        size_t end = bytes_find(rest, '\n');
        assert_true(end < rest.len && end > 0 && rest.at[end - 1] == '\r');
        struct bytes line = bytes_first(rest, end - 1);
        if (!bytes_equal(line, bytes_of("QUIT")) && !play_is_deaf(play))
            play_hear(play, line);
        rest = bytes_from(rest, end + 1);
    }
    buffer_clear(&play->out);
}

static inline void play_body(struct play *play)
{
    char sent[256];
    size_t len = 0;
    while (play->want == SMTP_WANT_BODY) {
        struct bytes run = smtp_session_next_body(&play->session, &play->want);
        assert_true(len + run.len < sizeof sent);
        if (run.len)
            memcpy(sent + len, run.at, run.len);
        len += run.len;
    }
    assert_int_equal(play->want, SMTP_WANT_READ);
    play->want = smtp_session_body_sent(&play->session, 0);
    assert_true(len > 2 && memcmp(sent + len - 2, "\r\n", 2) == 0);
    if (!play_is_deaf(play))
        play_hear(play, bytes_make(sent, len - 2));
}

static inline void play_say(struct play *play)
{
    size_t len = play->bytewise ? 1 : play->said.len;
    /* A copy of exactly this length, so that reading beyond it is seen. */
    uint8_t *copy = mem_alloc(len);
    memcpy(copy, play->said.at, len);
    play->want = smtp_session_step(&play->session, bytes_make(copy, len), &play->out, 0);
    free(copy);
    buffer_consume(&play->said, len);
}

static inline void play_begin(struct play *play)
{
    struct delivery *delivery = play->fixture.delivery;
    if (!smtp_delivery_wants_more(delivery)) {
        play->num_begun++;
        for (uint32_t i = 0; i < delivery->num_recipients; i++)
            delivery->recipients[i].outcome = (struct outcome){0};
    }
    play->want = smtp_session_begin(&play->session, delivery, -1, &play->out, 0);
}

static inline bool play_is_over(const struct play *play)
{
    uint32_t num_deliveries = play->dialogue->num_deliveries ? play->dialogue->num_deliveries : 1;
    if (play->want == SMTP_WANT_CLOSE)
        return true;
    return play->want == SMTP_WANT_IDLE && !play->said.len && !play->ending &&
           !smtp_delivery_wants_more(play->fixture.delivery) && play->num_begun == num_deliveries;
}

static inline void play_turn(struct play *play)
{
    play_hear_commands(play);
    /* Behind BDAT the content leaves whether replies have come or not: both are tried. */
    if (play->want == SMTP_WANT_BODY && play->session.one_flight && !play->bytewise) {
        play_body(play);
    } else if (play->said.len) {
        play_say(play);
    } else if (play->ending) {
        smtp_session_trouble(&play->session, play->ending == *LOST ? TROUBLE_LOST : TROUBLE_TIMEOUT,
                             NULL);
        play->want = SMTP_WANT_CLOSE;
    } else if (play->want == SMTP_WANT_TLS) {
        play->want = smtp_session_tls_done(&play->session, &play->out, 0);
    } else if (play->want == SMTP_WANT_BODY) {
        play_body(play);
    } else if (play->want == SMTP_WANT_IDLE) {
        play_begin(play);
    } else {
        fail_msg("%s (pipelining %d, bytewise %d): stuck at row %u", play->dialogue->name,
                 play->pipelining, play->bytewise, play->row);
    }
}

static inline char outcome_letter(const struct outcome *outcome)
{
    return outcome->in_doubt ? '?' : "-DTBR"[outcome->kind];
}

static inline void play_check(const struct play *play)
{
    const struct dialogue *dialogue = play->dialogue;
    const struct smtp_session *session = &play->session;
    char outcomes[16] = "";
    for (uint32_t i = 0; i < dialogue->num_recipients; i++)
        outcomes[i] = outcome_letter(&play->fixture.delivery->recipients[i].outcome);
    bool as_wanted = strcmp(outcomes, dialogue->outcomes) == 0 &&
                     (session->failure.kind != OUTCOME_NONE) == dialogue->fails &&
                     (play->want == SMTP_WANT_CLOSE) == dialogue->closes;
    /* RFC 8689 4.2.1: what cannot be had by a word of the peer's is final, if no host has it. */
    bool is_final = dialogue->requiretls && dialogue->failure_code == 0;
    if (dialogue->fails)
        as_wanted = as_wanted && (session->failure.kind == OUTCOME_BOUNCED) == is_final &&
                    session->failure.phase == dialogue->failure_phase &&
                    session->failure.code == dialogue->failure_code &&
                    outcome_tries_next_host(&session->failure);
    if (!as_wanted)
        fail_msg(
            "%s (pipelining %d, bytewise %d): outcomes %s, want %d, failure %s in %s %u \"%s\"",
            dialogue->name, play->pipelining, play->bytewise, outcomes, (int)play->want,
            outcome_kind_name((enum outcome_kind)session->failure.kind),
            outcome_phase_name((enum outcome_phase)session->failure.phase), session->failure.code,
            session->failure.text);
    assert_null(session->delivery);
    while (play->row < ROWS_MAX && dialogue->rows[play->row].says &&
           *dialogue->rows[play->row].says == (play->pipelining ? '-' : '+'))
        ((struct play *)play)->row++;
    if (play->row < ROWS_MAX && dialogue->rows[play->row].says)
        fail_msg("%s (pipelining %d, bytewise %d): row %u was never reached", dialogue->name,
                 play->pipelining, play->bytewise, play->row);
}

static inline void play_dialogue(const struct dialogue *dialogue, bool pipelining, bool bytewise)
{
    struct play play = {.dialogue = dialogue, .pipelining = pipelining, .bytewise = bytewise};
    assert_true(dialogue->num_recipients < 16);
    fixture_init(&play.fixture, dialogue->num_recipients);
    play.fixture.message.envelope.require_tls = dialogue->requiretls;
    buffer_init(&play.out, SMTP_OUT_MAX);
    buffer_init(&play.said, 64 * 1024);
    struct smtp_session_params params = {
        .helo_name = "me.test",
        .transport = dialogue->lmtp ? TRANSPORT_LMTP : TRANSPORT_SMTP,
        .want_tls = dialogue->want_tls,
        .require_tls = dialogue->require_tls || dialogue->requiretls,
        .requiretls = dialogue->requiretls,
        .auth = dialogue->auth,
        .config = &play.fixture.config,
    };
    smtp_session_init(&play.session, &params, 0);
    play.num_begun = 1; /* as the connection does, it brings its delivery along */
    play.want = SMTP_WANT_READ;
    play_reply(&play, dialogue->rows[play.row++].reply);
    for (unsigned turns = 0; !play_is_over(&play); turns++) {
        assert_true(turns < 20000);
        play_turn(&play);
    }
    play_check(&play);
    smtp_session_fini(&play.session);
    buffer_fini(&play.out);
    buffer_fini(&play.said);
    fixture_fini(&play.fixture);
}

static inline void play_all(const struct dialogue *dialogues, size_t num_dialogues)
{
    for (size_t i = 0; i < num_dialogues; i++)
        for (unsigned mode = 0; mode < 4; mode++)
            play_dialogue(&dialogues[i], mode & 1, mode & 2);
}

#endif
