/* What a sender may ask of delivery status notifications: NOTIFY, RET, ORCPT and the xtext in which
 * SMTP carries them (RFC 3461 4). Pure; any thread. */
#ifndef SLUICE_QUEUE_DSN_OPTION_H
#define SLUICE_QUEUE_DSN_OPTION_H

#include "base/bytes.h"

/* Bits; 0: nothing was asked for, which means failures, and delays if the operator warns of them.
 */
enum dsn_notify { NOTIFY_SUCCESS = 1, NOTIFY_FAILURE = 2, NOTIFY_DELAY = 4, NOTIFY_NEVER = 8 };

enum dsn_ret { RET_UNSAID, RET_HDRS, RET_FULL };

enum {
    DSN_ENVID_MAX = 100, /* octets of xtext, RFC 3461 4.4 */
    DSN_ORCPT_MAX = 500, /* octets as in RCPT, RFC 3461 4.2 */
    DSN_NOTIFY_TEXT = 32 /* room for any of its forms and NUL */
};

/* "NEVER", or any of SUCCESS, FAILURE, DELAY with commas; white space around the commas is
 * tolerated. */
bool dsn_notify_parse(struct bytes text, uint8_t *out) __attribute__((warn_unused_result));
/* The same in one form: "SUCCESS,FAILURE"; "" for 0. */
void dsn_notify_print(uint8_t notify, char out[DSN_NOTIFY_TEXT]);

/* "rfc822;Kim+2B40x@example.net" with its xtext decoded: a type, a semicolon, printable ASCII.
 * Owned by the caller; NULL: it is none. */
char *dsn_orcpt_parse(struct bytes text);

/* "+2B" and the like. Fails on what is no xtext; what comes out may be any octets. */
bool xtext_decode(struct bytes text, struct buffer *out) __attribute__((warn_unused_result));
void xtext_encode(struct bytes text, struct buffer *out);

#endif
