/* Delivery status notifications: outcomes -> an RFC 3464 multipart/report as a spool file. Pure.
 *
 * The file is explicit (X-Sender: <> and one X-Receiver), so it goes through the same spool. */
#ifndef SLUICE_QUEUE_DSN_H
#define SLUICE_QUEUE_DSN_H

#include "queue/envelope.h"
#include "queue/outcome.h"

struct dsn_recipient {
    const char *mailbox;           /* borrowed */
    const struct outcome *outcome; /* borrowed; BOUNCED */
    const char *remote_mta;        /* borrowed; "" when none was reached */
};

struct dsn_request {
    const char *reporting_mta; /* our host name */
    uint64_t id;               /* of the original message */
    unsigned event;            /* distinguishes several DSN of one message: the attempt number */
    const char *sender;        /* of the original: the recipient of the DSN; never "" */
    int64_t arrived_wall_ms;
    int64_t now_wall_ms;
    bool needs_utf8;            /* original needs SMTPUTF8: message/global-* (RFC 6533) */
    struct bytes original_head; /* header section of the original without the cuts, any line ends;
                                   may be cut short */
    const struct dsn_recipient *recipients;
    size_t num_recipients;
};

/* "dsn-QUEUEID-EVENT": the same event always has the same name. */
void dsn_name(uint64_t id, unsigned event, char out[64]);
/* Appends the whole file: LF line ends, no line over 998 octets. Texts of replies and the
 * original's head are a stranger's: control characters become "?", so that none of them can add a
 * header or end a part. Non-ASCII anywhere in an address makes it a message/global-* report as
 * needs_utf8 does. false when it would exceed out->max, or when the sender is not fit for an
 * envelope line. */
enum { DSN_HEAD_MAX = 64 * 1024 }; /* octets of the original's head that are quoted at most */
bool dsn_compose(const struct dsn_request *request, struct buffer *out);

#endif
