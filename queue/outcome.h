/* The fate of one recipient in one attempt: a value, copied, until it is journaled.
 *
 * Outcomes of deliveries are made in one place (router/outcome.c) from one table; this file only
 * says what they are, because the journal and the DSN speak of them too. No code branches on text.
 */
#ifndef SLUICE_QUEUE_OUTCOME_H
#define SLUICE_QUEUE_OUTCOME_H

#include <stdbool.h>
#include <stdint.h>

enum outcome_kind {
    OUTCOME_NONE,      /* not known yet */
    OUTCOME_DELIVERED, /* a receiver took responsibility (250) */
    OUTCOME_DEFERRED,  /* 4xx, network, DNS: try again later, an attempt is counted */
    OUTCOME_BOUNCED,   /* 5xx, expired: final, the sender is told */
    OUTCOME_RETURNED   /* not tried (shutdown, site suspended): no attempt is counted */
};

/* Where in its way the attempt ended. */
enum outcome_phase {
    PHASE_QUEUE, /* expiry, loops, size limits: before any network */
    PHASE_ROUTE, /* DNS */
    PHASE_CONNECT,
    PHASE_BANNER,
    PHASE_EHLO,
    PHASE_STARTTLS, /* the command and its reply */
    PHASE_TLS,      /* the handshake */
    PHASE_AUTH,
    PHASE_MAIL,
    PHASE_RCPT,
    PHASE_DATA,    /* DATA and its 354 */
    PHASE_CONTENT, /* while content is sent, before the final dot */
    PHASE_FINAL    /* the reply to the final dot, or its absence */
};

/* Of a delivered recipient: who owes the sender the report of success that it may have asked for
 * (RFC 3461 5.2). */
enum outcome_hop {
    HOP_UNKNOWN, /* not delivered, or recorded by a version that did not look */
    HOP_REPORTS, /* the receiver: it has the DSN extension */
    HOP_RELAYED, /* we: the receiver lacks it, so "relayed" is all that can be told */
    HOP_FINAL    /* we: it is in the mailbox (LMTP) */
};

enum { OUTCOME_TEXT_MAX = 240 };

struct outcome {
    uint8_t kind;  /* enum outcome_kind */
    uint8_t phase; /* enum outcome_phase */
    /* The connection was lost after the final dot, before its reply: it may have been delivered. */
    bool in_doubt;
    uint8_t hop;         /* enum outcome_hop */
    uint16_t code;       /* SMTP reply code, 0 when there was none */
    uint8_t enhanced[3]; /* RFC 3463 class, subject, detail (each at most 255); 0.0.0: none */
    /* One printable line in UTF-8, NUL-terminated, cut at a character boundary: the reply's text
     * without its codes, or our own words. */
    char text[OUTCOME_TEXT_MAX];
};

const char *outcome_kind_name(enum outcome_kind kind);
const char *outcome_phase_name(enum outcome_phase phase);

#endif
