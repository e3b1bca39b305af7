/* A session's life around its transactions: banner, EHLO, STARTTLS, idle, QUIT, and its end.
 * It never touches a socket or a clock, and knows no recipient: smtp_transaction.c does. */
#include "base/check.h"
#include "router/smtp_auth.h"

#include <openssl/mem.h>
#include <stdio.h>

static void on_banner(struct smtp_session *session, const struct smtp_expected *expected,
                      struct smtp_turn *turn);
static void on_hello(struct smtp_session *session, const struct smtp_expected *expected,
                     struct smtp_turn *turn);
static void on_starttls(struct smtp_session *session, const struct smtp_expected *expected,
                        struct smtp_turn *turn);

#define LIMIT(name) offsetof(struct config, smtp.name##_timeout_ms)

const struct smtp_command_row smtp_commands[NUM_SMTP_COMMANDS] = {
    [SMTP_BANNER] = {"the greeting", PHASE_BANNER, 2, LIMIT(banner), on_banner},
    [SMTP_EHLO] = {"EHLO", PHASE_EHLO, 2, LIMIT(ehlo), on_hello},
    [SMTP_HELO] = {"HELO", PHASE_EHLO, 2, LIMIT(ehlo), on_hello},
    [SMTP_LHLO] = {"LHLO", PHASE_EHLO, 2, LIMIT(ehlo), on_hello},
    [SMTP_STARTTLS] = {"STARTTLS", PHASE_STARTTLS, 2, LIMIT(starttls), on_starttls},
    [SMTP_AUTH] = {"AUTH", PHASE_AUTH, 0, LIMIT(auth), smtp_on_auth},
    [SMTP_RSET] = {"RSET", PHASE_MAIL, 2, LIMIT(mail), smtp_on_rset},
    [SMTP_MAIL] = {"MAIL", PHASE_MAIL, 2, LIMIT(mail), smtp_on_mail},
    [SMTP_RCPT] = {"RCPT", PHASE_RCPT, 2, LIMIT(rcpt), smtp_on_rcpt},
    [SMTP_DATA] = {"DATA", PHASE_DATA, 3, LIMIT(data), smtp_on_data},
    [SMTP_FINAL] = {"the final dot", PHASE_FINAL, 2, LIMIT(final), smtp_on_final},
    [SMTP_BDAT] = {"BDAT", PHASE_FINAL, 2, LIMIT(final), smtp_on_final},
    [SMTP_LONE_DOT] = {"the lone dot", PHASE_FINAL, 0, LIMIT(final), smtp_on_lone_dot},
};

static const struct {
    enum smtp_want want;
    unsigned leads_to; /* bits of the states that may follow */
} states[NUM_SMTP_STATES] = {
#define TO(name) (1u << SMTP_STATE_##name)
    [SMTP_STATE_GREETING] = {SMTP_WANT_READ, TO(HELLO) | TO(CLOSED)},
    [SMTP_STATE_HELLO] = {SMTP_WANT_READ, TO(STARTTLS) | TO(AUTH) | TO(IDLE) | TO(CLOSED)},
    [SMTP_STATE_STARTTLS] = {SMTP_WANT_READ, TO(TLS) | TO(AUTH) | TO(IDLE) | TO(CLOSED)},
    [SMTP_STATE_TLS] = {SMTP_WANT_TLS, TO(HELLO) | TO(CLOSED)},
    [SMTP_STATE_AUTH] = {SMTP_WANT_READ, TO(IDLE) | TO(CLOSED)},
    [SMTP_STATE_IDLE] = {SMTP_WANT_IDLE, TO(ENVELOPE) | TO(CLOSED)},
    [SMTP_STATE_ENVELOPE] = {SMTP_WANT_READ, TO(BODY) | TO(LONE_DOT) | TO(IDLE) | TO(CLOSED)},
    [SMTP_STATE_BODY] = {SMTP_WANT_BODY, TO(FINAL) | TO(CLOSED)},
    [SMTP_STATE_FINAL] = {SMTP_WANT_READ, TO(IDLE) | TO(CLOSED)},
    [SMTP_STATE_LONE_DOT] = {SMTP_WANT_READ, TO(IDLE) | TO(CLOSED)},
    [SMTP_STATE_CLOSED] = {SMTP_WANT_CLOSE, 0},
#undef TO
};

/* The one place through which every change of state goes. */
void smtp_enter(struct smtp_session *session, enum smtp_state state)
{
    CHECK(states[session->state].leads_to & 1u << state);
    session->state = (uint8_t)state;
    if (state == SMTP_STATE_CLOSED)
        session->num_expected = 0;
    if (state == SMTP_STATE_IDLE || state == SMTP_STATE_CLOSED)
        session->deadline_ms = INT64_MAX;
}

enum smtp_want smtp_state_want(const struct smtp_session *session)
{
    return states[session->state].want;
}

void smtp_session_init(struct smtp_session *session, const struct smtp_session_params *params,
                       int64_t now_ms)
{
    *session = (struct smtp_session){
        .params = *params, .state = SMTP_STATE_GREETING, .tls_active = params->is_wrapped};
    smtp_reply_parser_init(&session->parser);
    smtp_transaction_init(session);
    smtp_expect(session, SMTP_BANNER, 0, now_ms);
}

void smtp_session_fini(struct smtp_session *session)
{
    smtp_transaction_fini(session);
    smtp_auth_fini(session);
}

static const struct smtp_expected *front(const struct smtp_session *session)
{
    return &session->expected[session->first_expected];
}

void smtp_start_wait(struct smtp_session *session, int64_t now_ms)
{
    if (session->num_expected == 0)
        return;
    size_t limit_at = smtp_commands[front(session)->command].limit_at;
    int64_t limit_ms;
    memcpy(&limit_ms, (const char *)session->params.config + limit_at, sizeof limit_ms);
    session->deadline_ms = now_ms + limit_ms;
}

bool smtp_awaits_envelope(const struct smtp_session *session)
{
    if (session->num_expected == 0)
        return false;
    uint8_t command = front(session)->command;
    return command == SMTP_MAIL || command == SMTP_RCPT || command == SMTP_RSET;
}

void smtp_expect(struct smtp_session *session, enum smtp_command command, uint32_t recipient,
                 int64_t now_ms)
{
    CHECK(session->num_expected < SMTP_EXPECTED_MAX);
    unsigned slot = (session->first_expected + session->num_expected++) % SMTP_EXPECTED_MAX;
    session->expected[slot] = (struct smtp_expected){(uint8_t)command, recipient};
    if (session->num_expected == 1)
        smtp_start_wait(session, now_ms);
}

static struct smtp_expected pop_expected(struct smtp_session *session, int64_t now_ms)
{
    struct smtp_expected expected = *front(session);
    session->first_expected = (session->first_expected + 1) % SMTP_EXPECTED_MAX;
    session->num_expected--;
    smtp_start_wait(session, now_ms);
    return expected;
}

static void tell_line(const struct smtp_session *session, char direction, struct bytes line)
{
    if (session->params.on_line)
        session->params.on_line(session->params.on_line_ctx, direction, line);
}

void smtp_send(struct smtp_session *session, struct smtp_turn *turn, enum smtp_command command,
               uint32_t recipient, const char *format, ...)
{
    char line[SMTP_COMMAND_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(line, sizeof line - 2, format, args);
    va_end(args);
    /* Only the last answer of AUTH may be empty. */
    CHECK((len > 0 || command == SMTP_AUTH) && (size_t)len < sizeof line - 2);
    tell_line(session, '>', bytes_make(line, (size_t)len));
    memcpy(line + len, "\r\n", 2);
    bool fits = buffer_append(turn->out, line, (size_t)len + 2);
    if (command == SMTP_AUTH)
        OPENSSL_cleanse(line, (size_t)len);
    if (!fits) {
        /* The peer answered commands that have not left yet. */
        smtp_session_trouble(session, TROUBLE_BROKEN_REPLY, "replies before their commands");
        return;
    }
    smtp_expect(session, command, recipient, turn->now_ms);
}

static void say_quit(struct smtp_session *session, struct buffer *out)
{
    if (buffer_append_str(out, "QUIT\r\n"))
        tell_line(session, '>', bytes_of("QUIT"));
}

void smtp_leave_host(struct smtp_session *session, const struct outcome *outcome,
                     struct smtp_turn *turn)
{
    say_quit(session, turn->out);
    smtp_give_up(session, outcome, BLAME_HOST);
}

static void leave_refusing_host(struct smtp_session *session, enum outcome_phase phase,
                                struct smtp_turn *turn)
{
    struct outcome outcome = outcome_from_reply(phase, &session->parser.reply);
    smtp_leave_host(session, &outcome, turn);
}

static void say_hello(struct smtp_session *session, enum smtp_command command,
                      struct smtp_turn *turn)
{
    smtp_capabilities_init(&session->capabilities);
    smtp_send(session, turn, command, 0, "%s %s", smtp_commands[command].name,
              session->params.helo_name);
}

static void begin_hello(struct smtp_session *session, struct smtp_turn *turn)
{
    smtp_enter(session, SMTP_STATE_HELLO);
    say_hello(session, session->params.transport == TRANSPORT_LMTP ? SMTP_LHLO : SMTP_EHLO, turn);
}

static void on_banner(struct smtp_session *session, const struct smtp_expected *expected,
                      struct smtp_turn *turn)
{
    (void)expected;
    if (smtp_reply_is_refusal(session))
        leave_refusing_host(session, PHASE_BANNER, turn);
    else
        begin_hello(session, turn);
}

static void leave_without_tls(struct smtp_session *session, enum trouble trouble,
                              const char *detail, struct smtp_turn *turn)
{
    struct outcome outcome = outcome_from_trouble(PHASE_STARTTLS, trouble, detail);
    smtp_leave_host(session, &outcome, turn);
}

/* As protected as it will be. */
static void become_ready(struct smtp_session *session, struct smtp_turn *turn)
{
    if (session->params.auth)
        smtp_auth_begin(session, turn);
    else
        smtp_enter(session, SMTP_STATE_IDLE);
}

/* Whether to encrypt now; leaves the host when that is required and cannot be had. */
static void after_hello(struct smtp_session *session, struct smtp_turn *turn)
{
    bool wants = session->params.want_tls || session->params.require_tls;
    if (session->tls_active || !wants) {
        become_ready(session, turn);
    } else if (session->capabilities.starttls) {
        smtp_enter(session, SMTP_STATE_STARTTLS);
        smtp_send(session, turn, SMTP_STARTTLS, 0, "STARTTLS");
    } else if (session->params.requiretls) {
        leave_without_tls(session, TROUBLE_REQUIRETLS_FAILED, "STARTTLS is not offered", turn);
    } else if (session->params.require_tls) {
        leave_without_tls(session, TROUBLE_TLS_NOT_OFFERED, NULL, turn);
    } else {
        become_ready(session, turn);
    }
}

static void on_hello(struct smtp_session *session, const struct smtp_expected *expected,
                     struct smtp_turn *turn)
{
    if (!smtp_reply_is_refusal(session)) {
        /* HELO has no extensions, whatever its reply's lines look like. */
        if (expected->command == SMTP_HELO) {
            struct smtp_capabilities greeted = session->capabilities;
            smtp_capabilities_init(&session->capabilities);
            memcpy(session->capabilities.peer_name, greeted.peer_name, sizeof greeted.peer_name);
        }
        after_hello(session, turn);
    } else if (expected->command == SMTP_EHLO && session->parser.reply.code >= 500) {
        say_hello(session, SMTP_HELO, turn); /* RFC 5321 3.2 */
    } else {
        leave_refusing_host(session, PHASE_EHLO, turn);
    }
}

static void on_starttls(struct smtp_session *session, const struct smtp_expected *expected,
                        struct smtp_turn *turn)
{
    (void)expected;
    if (!smtp_reply_is_refusal(session)) {
        smtp_enter(session, SMTP_STATE_TLS);
        session->deadline_ms = turn->now_ms + session->params.config->smtp.starttls_timeout_ms;
        return;
    }
    session->tls_refused = true;
    if (session->params.requiretls && session->parser.reply.code >= 500)
        leave_without_tls(session, TROUBLE_REQUIRETLS_FAILED, session->parser.reply.text, turn);
    else if (session->params.require_tls)
        leave_refusing_host(session, PHASE_STARTTLS, turn);
    else
        become_ready(session, turn);
}

enum smtp_want smtp_session_tls_done(struct smtp_session *session, struct buffer *out,
                                     int64_t now_ms)
{
    CHECK(session->state == SMTP_STATE_TLS);
    struct smtp_turn turn = {out, now_ms};
    session->tls_active = true;
    smtp_reply_parser_init(&session->parser);
    begin_hello(session, &turn); /* RFC 3207 4.2: what was learned in plaintext is forgotten */
    return smtp_state_want(session);
}

static enum outcome_phase current_phase(const struct smtp_session *session)
{
    if (session->state == SMTP_STATE_BODY && !session->refused_421)
        return PHASE_CONTENT;
    /* Of a flight that has left, the replies that did not come say nothing. */
    if (session->state == SMTP_STATE_FINAL && !session->refused_421)
        return PHASE_FINAL;
    if (session->state == SMTP_STATE_TLS)
        return PHASE_TLS;
    if (session->num_expected == 0)
        return PHASE_MAIL; /* idle: the next that would be said */
    return (enum outcome_phase)smtp_commands[front(session)->command].phase;
}

void smtp_give_up(struct smtp_session *session, const struct outcome *outcome, enum blame blame)
{
    if (session->delivery)
        smtp_transaction_abort(session, outcome, blame);
    else if (session->state != SMTP_STATE_IDLE || !session->used)
        session->failure = *outcome;
    smtp_enter(session, SMTP_STATE_CLOSED);
}

void smtp_session_trouble(struct smtp_session *session, enum trouble trouble, const char *detail)
{
    if (session->state == SMTP_STATE_CLOSED)
        return;
    struct outcome outcome = outcome_from_trouble(current_phase(session), trouble, detail);
    smtp_give_up(session, &outcome, outcome_blame(trouble));
}

static void broken_reply(struct smtp_session *session, const char *what)
{
    const struct smtp_reply *reply = &session->parser.reply;
    char detail[OUTCOME_TEXT_MAX];
    snprintf(detail, sizeof detail, "%s: %u %.120s", what, reply->code, reply->text);
    smtp_session_trouble(session, TROUBLE_BROKEN_REPLY, detail);
}

/* The peer answers before it has the content: a refusal is its word about the content, and since no
 * dot has left nothing can have been accepted. Anything else makes no sense. */
static void early_reply(struct smtp_session *session)
{
    if (!smtp_reply_is_refusal(session)) {
        broken_reply(session, "a reply to content that was not complete");
        return;
    }
    struct outcome outcome = outcome_from_reply(PHASE_CONTENT, &session->parser.reply);
    smtp_give_up(session, &outcome, BLAME_HOST);
}

/* 421: the peer closes, and says so in answer to whatever came last or to nothing at all (RFC 5321
 * 3.8). As the answer to the final dot it is a plain refusal. */
static void closing_reply(struct smtp_session *session, struct smtp_turn *turn)
{
    session->said_421 = true;
    session->refused_421 = session->one_flight && smtp_awaits_envelope(session);
    if (session->refused_421) {
        struct outcome outcome = outcome_from_reply(current_phase(session), &session->parser.reply);
        smtp_give_up(session, &outcome, BLAME_HOST);
    } else if (session->state == SMTP_STATE_BODY) {
        early_reply(session);
    } else if (session->state == SMTP_STATE_FINAL) {
        struct smtp_expected expected = pop_expected(session, turn->now_ms);
        smtp_on_final(session, &expected, turn);
        /* LMTP: the replies to the other recipients will not come. */
        smtp_session_trouble(session, TROUBLE_LOST, session->parser.reply.text);
    } else {
        struct outcome outcome = outcome_from_reply(current_phase(session), &session->parser.reply);
        smtp_give_up(session, &outcome, BLAME_HOST);
    }
}

/* One complete reply. is_due: a command whose reply it can be had been sent when it arrived. */
static void take_reply(struct smtp_session *session, bool is_due, struct smtp_turn *turn)
{
    unsigned class = session->parser.reply.code / 100u;
    if (session->parser.reply.code == 421) {
        closing_reply(session, turn);
        return;
    }
    if (session->state == SMTP_STATE_BODY && !smtp_awaits_envelope(session)) {
        early_reply(session);
        return;
    }
    if (!is_due || session->num_expected == 0) {
        broken_reply(session, "a reply to no command");
        return;
    }
    const struct smtp_command_row *row = &smtp_commands[front(session)->command];
    if (row->success && class != row->success && class != 4 && class != 5) {
        broken_reply(session, "unexpected reply");
        return;
    }
    struct smtp_expected expected = pop_expected(session, turn->now_ms);
    row->on_reply(session, &expected, turn);
}

static void on_reply_line(void *ctx, unsigned number, struct bytes line)
{
    struct smtp_session *session = ctx;
    tell_line(session, '<', line);
    if (session->state == SMTP_STATE_HELLO)
        smtp_capabilities_line(&session->capabilities, number, smtp_reply_line_text(line));
    else if (session->state == SMTP_STATE_AUTH)
        smtp_auth_hear(session, number, smtp_reply_line_text(line));
}

static bool listens(const struct smtp_session *session)
{
    return session->state != SMTP_STATE_TLS && session->state != SMTP_STATE_CLOSED;
}

enum smtp_want smtp_session_step(struct smtp_session *session, struct bytes in, struct buffer *out,
                                 int64_t now_ms)
{
    struct smtp_turn turn = {out, now_ms};
    /* Replies in this input cannot answer commands that this call is about to append. */
    unsigned num_due = session->num_expected;
    if (in.len)
        session->last_heard_ms = now_ms;
    while (in.len && listens(session)) {
        size_t consumed;
        enum smtp_parse parse =
            smtp_reply_parse(&session->parser, in, &consumed, on_reply_line, session);
        in = bytes_from(in, consumed);
        if (parse == SMTP_PARSE_BROKEN)
            smtp_session_trouble(session, TROUBLE_BROKEN_REPLY, session->parser.why);
        if (parse != SMTP_PARSE_DONE)
            break;
        /* The replies after an LMTP content are all due, though their rows come one by one. */
        take_reply(session, num_due > 0 || session->state == SMTP_STATE_FINAL, &turn);
        num_due -= num_due > 0;
        smtp_reply_parser_init(&session->parser);
    }
    /* Whoever sits in the middle may have put commands or replies before the handshake, to be taken
     * for what came under its protection (RFC 3207 6). */
    if (session->state == SMTP_STATE_TLS && in.len)
        smtp_session_trouble(session, TROUBLE_INJECTION, NULL);
    if (session->state == SMTP_STATE_ENVELOPE)
        smtp_transaction_fill(session, &turn);
    return smtp_state_want(session);
}

enum smtp_want smtp_session_quit(struct smtp_session *session, struct buffer *out)
{
    CHECK(!session->delivery);
    if (session->state == SMTP_STATE_CLOSED)
        return SMTP_WANT_CLOSE;
    if (session->state == SMTP_STATE_IDLE)
        say_quit(session, out);
    smtp_enter(session, SMTP_STATE_CLOSED);
    return SMTP_WANT_CLOSE;
}
