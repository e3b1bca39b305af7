/* AUTH (RFC 4954) on a session: PLAIN (RFC 4616), LOGIN, SCRAM-SHA-256 (RFC 7677).
 *
 * Part of the session machine: no I/O. It begins once the session is as protected as it will be,
 * and ends idle or closed. Private to router/smtp_*.c. */
#ifndef SLUICE_ROUTER_SMTP_AUTH_H
#define SLUICE_ROUTER_SMTP_AUTH_H

#include "router/smtp_machine.h"

enum { SMTP_CHALLENGE_MAX = 1400 /* octets of base64: of SCRAM_MESSAGE_MAX, and of any prompt */ };

/* The exchange under way. Owned by the session; freed when it ends. */
struct smtp_auth;

/* Says AUTH, or leaves the host: it may not be said here, or no mechanism is shared. */
void smtp_auth_begin(struct smtp_session *session, struct smtp_turn *turn);
/* A line of the reply to AUTH, without its code, before the reply is judged. */
void smtp_auth_hear(struct smtp_session *session, unsigned number, struct bytes text);
void smtp_on_auth(struct smtp_session *session, const struct smtp_expected *expected,
                  struct smtp_turn *turn);
/* Wipes it. */
void smtp_auth_fini(struct smtp_session *session);

#endif
