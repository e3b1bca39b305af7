/* One delivery over a session: MAIL, RCPT, DATA pipelined, or all with its content in one flight by
 * BDAT; a verdict per recipient.
 * It does not choose deliveries nor try them again: what stays OUTCOME_NONE is the connection's. */
#include "base/check.h"
#include "base/memory.h"
#include "router/smtp_machine.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

void smtp_transaction_init(struct smtp_session *session)
{
    session->content_fd = -1;
}

void smtp_transaction_fini(struct smtp_session *session)
{
    if (session->reader_open)
        content_reader_fini(&session->reader);
    session->reader_open = false;
    free(session->accepted);
    session->accepted = NULL;
    session->accepted_cap = 0;
}

/* The delivery is the connection's again. body_len and the flags stay for the log until the next
 * begins. */
static void let_go(struct smtp_session *session)
{
    if (session->reader_open)
        content_reader_fini(&session->reader);
    session->reader_open = false;
    session->delivery = NULL;
    session->content_fd = -1;
    session->num_transactions++;
}

static void finish(struct smtp_session *session)
{
    let_go(session);
    smtp_enter(session, SMTP_STATE_IDLE);
}

static bool is_open(const struct delivery *delivery, uint32_t i)
{
    return delivery->recipients[i].outcome.kind == OUTCOME_NONE;
}

bool smtp_delivery_wants_more(const struct delivery *delivery)
{
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        if (is_open(delivery, i))
            return true;
    return false;
}

bool smtp_session_awaits(const struct smtp_session *session, uint32_t i)
{
    return session->delivery && session->accepted[i];
}

/* The first recipient from i on that is accepted and awaits its final reply; num_recipients when
 * there is none. */
static uint32_t next_accepted(const struct smtp_session *session, uint32_t i)
{
    while (i < session->delivery->num_recipients && !session->accepted[i])
        i++;
    return i;
}

static void settle_open(struct smtp_session *session, const struct outcome *outcome)
{
    for (uint32_t i = 0; i < session->delivery->num_recipients; i++)
        if (is_open(session->delivery, i))
            session->delivery->recipients[i].outcome = *outcome;
}

static void settle_accepted(struct smtp_session *session, const struct outcome *outcome)
{
    uint32_t end = session->delivery->num_recipients;
    for (uint32_t i = next_accepted(session, 0); i < end; i = next_accepted(session, i + 1)) {
        session->delivery->recipients[i].outcome = *outcome;
        session->accepted[i] = false;
    }
}

/* While content is under way its outcome is only for those who were accepted. The others of a split
 * stay open for another connection, except in a trouble of ours, which leaves nobody open. */
static void abort_content(struct smtp_session *session, const struct outcome *outcome,
                          enum blame blame)
{
    settle_accepted(session, outcome);
    if (!smtp_delivery_wants_more(session->delivery))
        return;
    if (blame == BLAME_US) {
        struct outcome untried = outcome_from_trouble(PHASE_QUEUE, TROUBLE_SHUTDOWN, NULL);
        settle_open(session, &untried);
    } else if (!session->used) {
        session->failure = outcome_from_trouble(PHASE_MAIL, TROUBLE_LOST,
                                                "before the rest of a split batch was named");
    }
}

void smtp_transaction_abort(struct smtp_session *session, const struct outcome *outcome,
                            enum blame blame)
{
    bool in_content = !session->refused_421 &&
                      (session->state == SMTP_STATE_BODY || session->state == SMTP_STATE_FINAL);
    if (blame == BLAME_US && session->state != SMTP_STATE_FINAL)
        settle_open(session, outcome);
    else if (in_content)
        abort_content(session, outcome, blame);
    else if (session->used && blame == BLAME_PROTOCOL)
        settle_open(session, outcome);
    else if (!session->used && smtp_delivery_wants_more(session->delivery))
        session->failure = *outcome;
    let_go(session);
}

/* Addresses come from strangers' files. The parser lets nothing pass that could end a command line;
 * this looks again, at the last place where it would matter. */
static bool can_be_sent(const struct address *address)
{
    size_t len = strlen(address->mailbox);
    for (size_t i = 0; i < len; i++)
        if ((uint8_t)address->mailbox[i] < 0x20 || address->mailbox[i] == 0x7f)
            return false;
    return len <= SMTP_MAILBOX_MAX;
}

struct outcome smtp_session_fits(const struct smtp_session *session,
                                 const struct delivery *delivery)
{
    const struct smtp_capabilities *capabilities = &session->capabilities;
    uint64_t wire_len = delivery->message->content.class.wire_len;
    /* What was told before the handshake is forgotten: this is what it told under TLS. */
    if (delivery_requires_tls(delivery) && !(session->tls_active && capabilities->requiretls))
        return outcome_from_trouble(PHASE_EHLO, TROUBLE_NO_REQUIRETLS, "it is not offered");
    if (delivery->message->envelope.needs_utf8 && !capabilities->smtputf8)
        return outcome_from_trouble(PHASE_EHLO, TROUBLE_NO_SMTPUTF8, NULL);
    if (capabilities->size_max && wire_len > capabilities->size_max) {
        char detail[80];
        snprintf(detail, sizeof detail, "%" PRIu64 " of %" PRIu64 " octets", wire_len,
                 capabilities->size_max);
        return outcome_from_trouble(PHASE_EHLO, TROUBLE_TOO_LARGE, detail);
    }
    return (struct outcome){.kind = OUTCOME_NONE};
}

bool smtp_session_is_spent(const struct smtp_session *session, const struct delivery *delivery)
{
    const struct smtp_capabilities *capabilities = &session->capabilities;
    if (capabilities->mail_max && session->num_mails >= capabilities->mail_max)
        return true;
    if (!capabilities->rcpt_domain_max)
        return false;
    uint64_t hash = bytes_hash(bytes_of(delivery->domain));
    for (unsigned i = 0; i < session->num_domains; i++)
        if (session->domains[i] == hash)
            return false;
    return session->num_domains >= capabilities->rcpt_domain_max ||
           session->num_domains == SMTP_DOMAINS_MAX;
}

/* Not spent before: so there is room, or it is known. */
static void note_domain(struct smtp_session *session)
{
    if (!session->capabilities.rcpt_domain_max)
        return;
    uint64_t hash = bytes_hash(bytes_of(session->delivery->domain));
    for (unsigned i = 0; i < session->num_domains; i++)
        if (session->domains[i] == hash)
            return;
    if (session->num_domains < SMTP_DOMAINS_MAX)
        session->domains[session->num_domains++] = hash;
}

/* Most RCPT commands in this transaction. */
static uint32_t rcpt_max(const struct smtp_session *session)
{
    return session->capabilities.rcpt_max ? session->capabilities.rcpt_max : UINT32_MAX;
}

/* Content in memory, whose length cannot change any more, to a peer that hardly can have hung up:
 * a connection that was lost under a flight leaves doubt, where one that was lost under MAIL does
 * not. And only behind a DATA that worked: all good replies to a flight are alike, so one that the
 * peer gave too many would make the RCPT's pass for the content's; a 354 shows that none is. LMTP's
 * final replies depend on the RCPTs' and are left to DATA. */
static bool fits_one_flight(const struct smtp_session *session, int64_t now_ms)
{
    const struct delivery *delivery = session->delivery;
    const struct content *content = &delivery->message->content;
    uint64_t most = session->params.config->smtp.one_flight_max;
    uint32_t num_open = 0;
    if (!session->synced || !session->capabilities.chunking || !session->capabilities.pipelining ||
        session->params.transport == TRANSPORT_LMTP || session->content_fd >= 0 ||
        content->class.wire_len > most || now_ms - session->last_heard_ms >= SMTP_FRESH_MS ||
        session->needs_rset)
        return false;
    for (uint32_t i = 0; i < delivery->num_recipients; i++) {
        if (!is_open(delivery, i))
            continue;
        num_open++;
        if (!can_be_sent(delivery_recipient_address(delivery, i)))
            return false;
    }
    return num_open > 0 && num_open + 2 <= SMTP_EXPECTED_MAX;
}

static void reset_transaction(struct smtp_session *session, struct delivery *delivery,
                              int content_fd)
{
    if (session->accepted_cap < delivery->num_recipients) {
        session->accepted =
            mem_realloc(session->accepted, delivery->num_recipients, sizeof *session->accepted);
        session->accepted_cap = delivery->num_recipients;
    }
    if (delivery->num_recipients)
        memset(session->accepted, 0, delivery->num_recipients * sizeof *session->accepted);
    session->delivery = delivery;
    session->content_fd = content_fd;
    session->next_rcpt = 0;
    session->num_named = 0;
    session->num_accepted = 0;
    session->to_send = session->needs_rset ? SEND_RSET : SEND_MAIL;
    session->mail_refused = false;
    session->body_started = false;
    session->body_ended = false;
    session->split = false;
    session->refused_421 = false;
    session->chunk_left = 0;
    session->body_len = 0;
    session->body_started_ms = 0;
}

enum smtp_want smtp_session_begin(struct smtp_session *session, struct delivery *delivery,
                                  int content_fd, struct buffer *out, int64_t now_ms)
{
    CHECK(session->state == SMTP_STATE_IDLE && !session->delivery);
    struct smtp_turn turn = {out, now_ms};
    smtp_enter(session, SMTP_STATE_ENVELOPE);
    reset_transaction(session, delivery, content_fd);
    if (!can_be_sent(&delivery->message->envelope.sender)) {
        struct outcome outcome = outcome_from_trouble(PHASE_MAIL, TROUBLE_BAD_ADDRESS, NULL);
        settle_open(session, &outcome);
    }
    if (!smtp_delivery_wants_more(delivery))
        session->to_send = SEND_NOTHING;
    session->one_flight = fits_one_flight(session, now_ms);
    smtp_transaction_fill(session, &turn);
    return smtp_state_want(session);
}

static void send_mail(struct smtp_session *session, struct smtp_turn *turn)
{
    const struct smtp_capabilities *capabilities = &session->capabilities;
    const struct message *message = session->delivery->message;
    char size[32] = "";
    if (capabilities->size)
        snprintf(size, sizeof size, " SIZE=%" PRIu64, message->content.class.wire_len);
    /* 8-bit content goes as it is to a peer that does not offer 8BITMIME: converting it would break
     * signatures, and every receiver met in practice is 8-bit clean. */
    bool says_eight_bit = capabilities->eight_bit && message->content.class.eight_bit;
    bool says_utf8 = capabilities->smtputf8 && message->envelope.needs_utf8;
    char dsn[SMTP_DSN_MAIL_MAX];
    smtp_dsn_mail(session, dsn);
    session->needs_rset = true;
    session->num_mails++;
    note_domain(session);
    session->to_send = SEND_RCPT;
    smtp_send(session, turn, SMTP_MAIL, 0, "MAIL FROM:<%s>%s%s%s%s%s",
              message->envelope.sender.mailbox, size, says_eight_bit ? " BODY=8BITMIME" : "",
              says_utf8 ? " SMTPUTF8" : "",
              delivery_requires_tls(session->delivery) ? " REQUIRETLS" : "", dsn);
}

/* After a split the peer has said that it takes no more, so nobody else is named. */
static void send_rcpt(struct smtp_session *session, struct smtp_turn *turn)
{
    const struct delivery *delivery = session->delivery;
    uint32_t i = session->next_rcpt;
    while (i < delivery->num_recipients && !is_open(delivery, i))
        i++;
    session->next_rcpt = i + 1;
    if (i >= delivery->num_recipients || session->split ||
        session->num_named >= rcpt_max(session)) {
        session->to_send = SEND_DATA;
        return;
    }
    const struct address *address = delivery_recipient_address(delivery, i);
    if (!can_be_sent(address)) {
        session->delivery->recipients[i].outcome =
            outcome_from_trouble(PHASE_RCPT, TROUBLE_BAD_ADDRESS, NULL);
        return;
    }
    session->num_named++;
    /* In one flight it may be accepted from here on, until its own reply says no. */
    session->accepted[i] = session->one_flight;
    char dsn[SMTP_DSN_RCPT_MAX];
    smtp_dsn_rcpt(session, address, dsn);
    smtp_send(session, turn, SMTP_RCPT, i, "RCPT TO:<%s>%s", address->mailbox, dsn);
}

static void begin_body(struct smtp_session *session, struct smtp_turn *turn);

/* The content follows at once, of just this length. */
static void send_bdat(struct smtp_session *session, struct smtp_turn *turn)
{
    session->chunk_left = session->delivery->message->content.class.wire_len;
    smtp_send(session, turn, SMTP_BDAT, 0, "BDAT %" PRIu64 " LAST", session->chunk_left);
    if (session->state == SMTP_STATE_ENVELOPE)
        begin_body(session, turn);
}

/* Moves the sender's cursor one step; what it sends, if anything, is one command. */
static void send_next(struct smtp_session *session, struct smtp_turn *turn)
{
    switch ((enum smtp_to_send)session->to_send) {
    case SEND_RSET:
        session->to_send = SEND_MAIL;
        smtp_send(session, turn, SMTP_RSET, 0, "RSET");
        break;
    case SEND_MAIL:
        send_mail(session, turn);
        break;
    case SEND_RCPT:
        send_rcpt(session, turn);
        break;
    case SEND_DATA:
        session->to_send = SEND_NOTHING;
        /* All refused, and known in time: no DATA. With replies outstanding it is a fair bet. */
        if (session->num_accepted == 0 && session->num_expected == 0)
            break;
        if (session->one_flight)
            send_bdat(session, turn);
        else
            smtp_send(session, turn, SMTP_DATA, 0, "DATA");
        break;
    case SEND_NOTHING:
        break;
    }
}

void smtp_transaction_fill(struct smtp_session *session, struct smtp_turn *turn)
{
    /* Refilled only when half empty, so that a long list goes in portions and not in lines. */
    unsigned window = session->capabilities.pipelining ? SMTP_EXPECTED_MAX : 1;
    if (session->num_expected > window / 2)
        return;
    while (session->state == SMTP_STATE_ENVELOPE && session->to_send != SEND_NOTHING &&
           session->num_expected < window) {
        bool is_full = turn->out->max - turn->out->len < SMTP_COMMAND_MAX;
        if (is_full && session->num_expected)
            return;
        send_next(session, turn);
    }
    if (session->state == SMTP_STATE_ENVELOPE && session->num_expected == 0)
        finish(session);
}

void smtp_on_rset(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn)
{
    (void)expected;
    (void)turn;
    if (smtp_reply_is_refusal(session))
        smtp_session_trouble(session, TROUBLE_BROKEN_REPLY, "RSET was refused");
}

void smtp_on_mail(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn)
{
    (void)expected;
    (void)turn;
    if (!smtp_reply_is_refusal(session))
        return;
    struct outcome outcome = outcome_from_reply(PHASE_MAIL, &session->parser.reply);
    settle_open(session, &outcome);
    memset(session->accepted, 0, session->delivery->num_recipients * sizeof *session->accepted);
    session->mail_refused = true;
    session->to_send = SEND_NOTHING;
}

void smtp_on_rcpt(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn)
{
    (void)turn;
    uint32_t i = expected->recipient;
    uint16_t code = session->parser.reply.code;
    if (session->mail_refused)
        return;
    session->accepted[i] = !smtp_reply_is_refusal(session);
    session->num_accepted += session->accepted[i];
    if (session->accepted[i])
        return;
    /* RFC 5321 4.5.3.1.10: too many recipients. The rest goes in another transaction; when it is a
     * full mailbox instead, that one will say so again as its first. */
    if ((code == 452 || code == 552) && session->num_accepted) {
        session->split = true;
        return;
    }
    session->delivery->recipients[i].outcome =
        outcome_from_reply(PHASE_RCPT, &session->parser.reply);
}

/* At least content_min_rate over all, and never content_timeout without progress. */
static void set_body_deadline(struct smtp_session *session, int64_t now_ms)
{
    const struct config *config = session->params.config;
    int64_t silence_ms = config->smtp.content_timeout_ms;
    session->deadline_ms = now_ms + silence_ms;
    if (config->smtp.content_min_rate == 0)
        return;
    uint64_t allowed_s = session->body_len / config->smtp.content_min_rate;
    int64_t overall_ms = session->body_started_ms + silence_ms + (int64_t)allowed_s * 1000;
    if (overall_ms < session->deadline_ms)
        session->deadline_ms = overall_ms;
}

static void begin_body(struct smtp_session *session, struct smtp_turn *turn)
{
    smtp_enter(session, SMTP_STATE_BODY);
    content_reader_init(&session->reader, &session->delivery->message->content,
                        session->one_flight ? CONTENT_CHUNKS : CONTENT_DATA, session->content_fd);
    session->reader_open = true;
    session->body_started_ms = turn->now_ms;
    set_body_deadline(session, turn->now_ms);
}

void smtp_on_data(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn)
{
    (void)expected;
    session->synced |= !smtp_reply_is_refusal(session);
    if (smtp_reply_is_refusal(session)) {
        struct outcome outcome = outcome_from_reply(PHASE_DATA, &session->parser.reply);
        settle_accepted(session, &outcome);
    } else if (session->num_accepted) {
        begin_body(session, turn);
    } else if (session->params.transport == TRANSPORT_LMTP) {
        /* No recipient, no reply (RFC 2033 4.2): there would be nothing to wait for. */
        smtp_session_trouble(session, TROUBLE_BROKEN_REPLY, "DATA accepted without recipients");
    } else {
        smtp_enter(session, SMTP_STATE_LONE_DOT);
        smtp_send(session, turn, SMTP_LONE_DOT, 0, ".");
    }
}

void smtp_on_lone_dot(struct smtp_session *session, const struct smtp_expected *expected,
                      struct smtp_turn *turn)
{
    (void)expected;
    (void)turn;
    session->needs_rset = false;
    finish(session);
}

void smtp_on_final(struct smtp_session *session, const struct smtp_expected *expected,
                   struct smtp_turn *turn)
{
    struct outcome outcome = outcome_from_reply(PHASE_FINAL, &session->parser.reply);
    if (outcome.kind == OUTCOME_DELIVERED)
        outcome.hop = (uint8_t)smtp_dsn_hop(session);
    session->used = true;
    if (session->params.transport == TRANSPORT_LMTP) {
        /* RFC 2033 4.2: a reply for each accepted recipient, in the order of the RCPTs. */
        session->delivery->recipients[expected->recipient].outcome = outcome;
        session->accepted[expected->recipient] = false;
        uint32_t next = next_accepted(session, expected->recipient);
        if (next < session->delivery->num_recipients) {
            smtp_expect(session, SMTP_FINAL, next, turn->now_ms);
            return;
        }
    } else {
        settle_accepted(session, &outcome);
    }
    /* After a refused BDAT what the peer still holds of the transaction is unknown (RFC 3030 2). */
    session->needs_rset = session->one_flight && smtp_reply_is_refusal(session);
    finish(session);
}

/* A chunk longer or shorter than announced would turn content into commands. */
static bool keeps_chunk(struct smtp_session *session, size_t len, bool is_end)
{
    if (!session->one_flight)
        return true;
    bool fits = is_end ? session->chunk_left == 0 : len <= session->chunk_left;
    session->chunk_left -= fits ? len : 0;
    return fits;
}

struct bytes smtp_session_next_body(struct smtp_session *session, enum smtp_want *out_want)
{
    CHECK(session->state == SMTP_STATE_BODY && !session->body_ended);
    struct bytes run = {0};
    enum content_status status = content_reader_next(&session->reader, &run);
    if (status != CONTENT_FAILED && !keeps_chunk(session, run.len, status == CONTENT_END)) {
        status = CONTENT_FAILED;
        errno = ESTALE;
    }
    switch (status) {
    case CONTENT_MORE:
        session->body_started = true;
        session->body_len += run.len;
        break;
    case CONTENT_END:
        session->body_ended = true;
        *out_want = SMTP_WANT_READ;
        return bytes_of(session->one_flight ? "" : ".\r\n");
    case CONTENT_FAILED:
        run = bytes_make(NULL, 0);
        if (errno == ESTALE) /* not the length that was classified */
            smtp_session_trouble(session, TROUBLE_FILE_CHANGED, NULL);
        else
            smtp_session_trouble(session, TROUBLE_FILE_READ, strerror(errno));
        break;
    }
    *out_want = smtp_state_want(session);
    return run;
}

void smtp_session_body_progress(struct smtp_session *session, int64_t now_ms)
{
    if (session->state == SMTP_STATE_BODY)
        set_body_deadline(session, now_ms);
}

enum smtp_want smtp_session_body_sent(struct smtp_session *session, int64_t now_ms)
{
    CHECK(session->state == SMTP_STATE_BODY && session->body_ended);
    char note[64];
    int len = snprintf(note, sizeof note, "[content, %" PRIu64 " octets]", session->body_len);
    if (session->params.on_line)
        session->params.on_line(session->params.on_line_ctx, '>', bytes_make(note, (size_t)len));
    smtp_enter(session, SMTP_STATE_FINAL);
    if (session->one_flight)
        smtp_start_wait(session, now_ms);
    else
        smtp_expect(session, SMTP_FINAL, next_accepted(session, 0), now_ms);
    return smtp_state_want(session);
}
