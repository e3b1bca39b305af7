/* The inside of the session machine: its states, its commands, and what its files share.
 * Private to router/smtp_*.c; everybody else includes smtp_session.h. */
#ifndef SLUICE_ROUTER_SMTP_MACHINE_H
#define SLUICE_ROUTER_SMTP_MACHINE_H

#include "router/smtp_session.h"

enum smtp_state {
    SMTP_STATE_GREETING, /* waits for the banner */
    SMTP_STATE_HELLO,    /* EHLO, HELO or LHLO is out */
    SMTP_STATE_STARTTLS,
    SMTP_STATE_TLS, /* the connection shakes hands */
    SMTP_STATE_AUTH,
    SMTP_STATE_IDLE,
    SMTP_STATE_ENVELOPE, /* MAIL, RCPT, DATA */
    SMTP_STATE_BODY,     /* 354 was read or BDAT is said, the content's end has not left */
    SMTP_STATE_FINAL,
    SMTP_STATE_LONE_DOT, /* 354 although nobody was accepted (RFC 2920 3.1) */
    SMTP_STATE_CLOSED,
    NUM_SMTP_STATES
};

enum smtp_command {
    SMTP_BANNER, /* nothing is sent: the peer speaks first */
    SMTP_EHLO,
    SMTP_HELO,
    SMTP_LHLO,
    SMTP_STARTTLS,
    SMTP_AUTH, /* and each answer to a challenge */
    SMTP_RSET,
    SMTP_MAIL,
    SMTP_RCPT,
    SMTP_DATA,
    SMTP_FINAL, /* the final dot; with LMTP one reply per accepted recipient */
    SMTP_BDAT,
    SMTP_LONE_DOT,
    NUM_SMTP_COMMANDS
};

/* The sender's cursor within a transaction; the receiver's is the FIFO. */
enum smtp_to_send { SEND_RSET, SEND_MAIL, SEND_RCPT, SEND_DATA, SEND_NOTHING };

/* What a call into the machine may append to, and when it is. */
struct smtp_turn {
    struct buffer *out; /* borrowed for the call */
    int64_t now_ms;
};

struct smtp_command_row {
    const char *name;
    uint8_t phase;   /* enum outcome_phase */
    uint8_t success; /* first digit of the reply hoped for; 0: any reply will do */
    size_t limit_at; /* offset in struct config of the time limit, int64_t milliseconds */
    /* Called with a reply of the class hoped for, or 4xx or 5xx; never with 421, except for the
     * final dot. The reply is session->parser.reply. */
    void (*on_reply)(struct smtp_session *session, const struct smtp_expected *expected,
                     struct smtp_turn *turn);
};

extern const struct smtp_command_row smtp_commands[NUM_SMTP_COMMANDS];

/* smtp_session.c */
void smtp_enter(struct smtp_session *session, enum smtp_state state);
/* Pushes a row; the deadline starts when it is the only one. */
void smtp_expect(struct smtp_session *session, enum smtp_command command, uint32_t recipient,
                 int64_t now_ms);
/* The deadline starts anew, for the reply that is expected next. */
void smtp_start_wait(struct smtp_session *session, int64_t now_ms);
/* The command whose reply is expected next is MAIL, RCPT or RSET. */
bool smtp_awaits_envelope(const struct smtp_session *session);
/* Sends a line and expects its reply. When out has no room the session is given up. */
void smtp_send(struct smtp_session *session, struct smtp_turn *turn, enum smtp_command command,
               uint32_t recipient, const char *format, ...) __attribute__((format(printf, 5, 6)));
/* The end of the connection's use, for whatever reason: tells the recipients or session->failure,
 * as smtp_session_trouble() says. */
void smtp_give_up(struct smtp_session *session, const struct outcome *outcome, enum blame blame);
/* QUIT, and the end: a host that speaks SMTP but will not do. */
void smtp_leave_host(struct smtp_session *session, const struct outcome *outcome,
                     struct smtp_turn *turn);
static inline bool smtp_reply_is_refusal(const struct smtp_session *session)
{
    return session->parser.reply.code >= 400;
}
enum smtp_want smtp_state_want(const struct smtp_session *session);

/* smtp_transaction.c */
void smtp_transaction_init(struct smtp_session *session);
void smtp_transaction_fini(struct smtp_session *session);
/* Sends as many commands as may be in flight; ends the transaction when nothing is left to be sent
 * or awaited. */
void smtp_transaction_fill(struct smtp_session *session, struct smtp_turn *turn);
/* A transaction is cut short: tells the recipients, or session->failure when the host is to blame
 * and they can still be tried at the next. */
void smtp_transaction_abort(struct smtp_session *session, const struct outcome *outcome,
                            enum blame blame);
void smtp_on_rset(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn);
void smtp_on_mail(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn);
void smtp_on_rcpt(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn);
void smtp_on_data(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn);
void smtp_on_final(struct smtp_session *session, const struct smtp_expected *expected,
                   struct smtp_turn *turn);
void smtp_on_lone_dot(struct smtp_session *session, const struct smtp_expected *expected,
                      struct smtp_turn *turn);

/* smtp_dsn.c: the parameters behind MAIL and RCPT, each with a space before it; "" where the peer
 * lacks the extension or the sender asked for nothing. */
enum {
    SMTP_DSN_MAIL_MAX = 9 + 7 + DSN_ENVID_MAX + 1,
    SMTP_DSN_RCPT_MAX = 8 + DSN_NOTIFY_TEXT + 7 + DSN_ORCPT_MAX + 1
};
void smtp_dsn_mail(const struct smtp_session *session, char out[SMTP_DSN_MAIL_MAX]);
void smtp_dsn_rcpt(const struct smtp_session *session, const struct address *address,
                   char out[SMTP_DSN_RCPT_MAX]);
/* What a delivery over this session means for the report of success. */
enum outcome_hop smtp_dsn_hop(const struct smtp_session *session);

#endif
