/* An SMTP or LMTP session as a machine without I/O: bytes in, bytes out, what it wants next.
 *
 * Owned by a connection, one thread. It never touches a socket, a clock or a file: the connection
 * feeds it. Driven by a table with one row per command {name, phase, time limit, on_reply}; every
 * command sent pushes a row on a bounded FIFO of expected replies, every reply pops one. A reply
 * with an empty FIFO, or octets left over when TLS is wanted, is a violation.
 *
 *   init ─▶ READ (banner) ─▶ READ (EHLO) ─▶ [TLS ─▶ tls_done ─▶ READ (EHLO)] ─▶ [AUTH] ─▶ IDLE
 *   IDLE ─ begin ─▶ READ ... BODY (pull content) ... READ (final) ─▶ IDLE (transaction done)
 *   any state ─▶ CLOSE
 */
#ifndef SLUICE_ROUTER_SMTP_SESSION_H
#define SLUICE_ROUTER_SMTP_SESSION_H

#include "router/auth_settings.h"
#include "router/delivery.h"
#include "router/outcome_table.h"
#include "router/smtp_reply.h"

enum smtp_want {
    SMTP_WANT_READ, /* send what is in out, then feed replies; session->deadline_ms holds */
    SMTP_WANT_TLS, /* send out first (nothing is), start the handshake, then smtp_session_tls_done()
                      or give up */
    SMTP_WANT_BODY, /* 354 was read, or BDAT is in out: pull content with smtp_session_next_body(),
                       send it all (out first, in one flight), then smtp_session_body_sent();
                       meanwhile feed what the peer says */
    SMTP_WANT_IDLE, /* ready for smtp_session_begin(); if a transaction was under way, it is done */
    SMTP_WANT_CLOSE /* send out if possible (QUIT), then close; session->failure says why if no
                       transaction tells */
};

struct smtp_session_params {
    const char *helo_name; /* borrowed for the session's life */
    enum transport transport;
    bool want_tls;    /* STARTTLS where offered */
    bool require_tls; /* not offered or refused: CLOSE with the failure */
    bool requiretls;  /* with require_tls: for good, as far as that is (RFC 8689 4.2.1) */
    const struct auth_settings *auth; /* borrowed; NULL: no AUTH */
    bool auth_verified;               /* under TLS: the certificate is checked */
    bool is_wrapped;                  /* TLS is active before the greeting */
    const struct config *config;      /* borrowed: time limits */
    /* For the transcript: each line sent or received, without CRLF, secrets masked; may be NULL.
     * Content is reported once as
     * "[content, N octets]". */
    void (*on_line)(void *ctx, char direction, struct bytes line); /* '>' sent, '<' received */
    void *on_line_ctx;
};

enum {
    SMTP_EXPECTED_MAX = 128, /* commands in flight: rows of the FIFO */
    SMTP_MAILBOX_MAX = 510,  /* octets; a longer address is refused here (RFC 5321 4.5.3.1.3) */
    SMTP_COMMAND_MAX = 1280, /* octets of a command line: an address, ORCPT of 500 and the rest */
    SMTP_DOMAINS_MAX = 16,   /* recipient domains remembered for RCPTDOMAINMAX */
    SMTP_FRESH_MS = 1000, /* since the peer spoke last: it can hardly be about to hang up on us */
    SMTP_OUT_MAX = 64 * 1024 /* what `out` should allow: a whole window of commands */
};

struct smtp_expected {
    uint8_t command;    /* enum smtp_command, private to the session's .c files */
    uint32_t recipient; /* of delivery->recipients, for RCPT and LMTP finals */
};

struct smtp_session {
    struct smtp_session_params params;
    struct smtp_capabilities capabilities;
    struct smtp_reply_parser parser;
    struct smtp_expected expected[SMTP_EXPECTED_MAX]; /* ring */
    unsigned first_expected;
    unsigned num_expected;
    uint8_t state; /* private: enum smtp_state */
    bool tls_active;
    bool tls_refused;          /* STARTTLS answered with 4xx or 5xx */
    bool synced;               /* a 354 came in its turn: replies and commands agree */
    bool used;                 /* at least one transaction was carried to its final reply */
    bool said_421;             /* the peer is closing */
    int64_t deadline_ms;       /* monotonic: the current wait ends then */
    struct outcome failure;    /* host-level failure; kind NONE while there is none */
    unsigned num_transactions; /* carried so far */
    uint32_t num_mails;        /* MAIL commands sent, for MAILMAX */
    uint64_t domains[SMTP_DOMAINS_MAX]; /* hashes of recipient domains, for RCPTDOMAINMAX */
    unsigned num_domains;
    struct smtp_auth *auth; /* owned, private to smtp_auth.c: the exchange under way; NULL */
    int64_t last_heard_ms;  /* when the peer spoke last */
    /* The transaction under way (smtp_transaction.c). */
    struct delivery *delivery; /* borrowed; NULL when idle */
    int content_fd;            /* borrowed; -1: content is in memory */
    struct content_reader reader;
    bool reader_open;
    unsigned next_rcpt; /* next recipient to be named */
    uint32_t num_named; /* RCPT commands sent, for RCPTMAX */
    unsigned num_accepted;
    bool *accepted; /* owned: per recipient of the delivery, awaits the final reply */
    size_t accepted_cap;
    uint8_t to_send;   /* private: enum smtp_to_send, the sender's cursor */
    bool needs_rset;   /* the last transaction did not end with its final reply */
    bool mail_refused; /* replies to what was pipelined behind MAIL say nothing new */
    bool body_started; /* content octets have been handed out */
    bool body_ended;   /* the final dot has been handed out */
    bool split; /* 452/552 after an accepted recipient: the refused ones go in a next transaction */
    bool one_flight; /* all of it leaves before the first reply is read, content by BDAT (RFC 3030):
                        doubt begins with its first octet */
    bool refused_421; /* 421 as the answer to MAIL or RCPT of a flight: its content was not taken */
    uint64_t chunk_left; /* octets that BDAT announced and that have not been handed out */
    uint64_t body_len;   /* octets of content handed out */
    int64_t body_started_ms;
};

void smtp_session_init(struct smtp_session *session, const struct smtp_session_params *params,
                       int64_t now_ms);
void smtp_session_fini(struct smtp_session *session);
/* Feeds octets (may be none), appends commands to out. All of `in` is consumed (the parser keeps
 * what is incomplete), except after a violation. Never call it while TLS is wanted. While BODY is
 * wanted it may be called with what the peer says meanwhile (RFC 2920 3.1): it answers BODY (go on)
 * or CLOSE. */
enum smtp_want smtp_session_step(struct smtp_session *session, struct bytes in, struct buffer *out,
                                 int64_t now_ms);
/* The handshake succeeded: forgets capabilities, says EHLO again into out. */
enum smtp_want smtp_session_tls_done(struct smtp_session *session, struct buffer *out,
                                     int64_t now_ms);

/* Whether this session can carry it; NONE: yes. Else the failure for this host (SIZE, SMTPUTF8, TLS
 * level): next host. */
struct outcome smtp_session_fits(const struct smtp_session *session,
                                 const struct delivery *delivery);
/* Whether the limits that the peer told (RFC 9422) allow no transaction with the delivery's domain
 * on this session any more: another session may carry it. */
bool smtp_session_is_spent(const struct smtp_session *session, const struct delivery *delivery);
/* Starts a transaction: MAIL, RCPT..., DATA, pipelined where offered; with CHUNKING content of up
 * to smtp.one_flight_max octets in the same flight. Skips recipients whose outcome is already
 * known. content_fd: borrowed until the transaction ends; -1 when the content is in memory. Only
 * when IDLE. */
enum smtp_want smtp_session_begin(struct smtp_session *session, struct delivery *delivery,
                                  int content_fd, struct buffer *out, int64_t now_ms);
/* The next run of content on the wire, borrowed until the next call; the last one is the
 * terminating dot, or empty after BDAT. *out_want says whether to go on (BODY), that this was the
 * last (READ), or that content could not be read (CLOSE: no dot was sent; outcomes are set). */
struct bytes smtp_session_next_body(struct smtp_session *session, enum smtp_want *out_want);
/* Whether recipients[i] of the delivery under way was accepted (in one flight: named) and awaits
 * its final reply: the ones that the content about to be sent is for (the others of a split are not
 * part of it). */
bool smtp_session_awaits(const struct smtp_session *session, uint32_t i);
/* Octets of content left: that moves the deadline (content_timeout without any, and
 * content_min_rate over all). */
void smtp_session_body_progress(struct smtp_session *session, int64_t now_ms);
/* The last octet, the dot's, has left. Only from here on can a reply be the final one, and does
 * loss mean doubt: what a peer says earlier is about content that it has not got. READ. */
enum smtp_want smtp_session_body_sent(struct smtp_session *session, int64_t now_ms);
/* Nothing more to carry: QUIT into out. */
enum smtp_want smtp_session_quit(struct smtp_session *session, struct buffer *out);
/* EOF, reset, time-out, broken channel: one path. The session wants CLOSE from here on.
 *   no transaction:          session->failure; nothing when idle after use (routine)
 *   before content, fresh:   session->failure; recipients keep what they have: next host
 *   before content, used:    LOST and TIMEOUT are routine, recipients stay OUTCOME_NONE
 *   content, final dot sent: accepted recipients get the outcome (in doubt after the dot); the
 *                            others of a split stay OUTCOME_NONE, session->failure if fresh
 *   our own troubles (file, journal, shutdown): every recipient that has none gets an outcome */
void smtp_session_trouble(struct smtp_session *session, enum trouble trouble, const char *detail);
/* After a transaction ended: whether recipients remain that want another transaction on a
 * connection now (452 split, or nothing was tried because the peer closed a reused connection
 * before content). */
bool smtp_delivery_wants_more(const struct delivery *delivery);

#endif
