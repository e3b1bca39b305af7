/* Delivery status notifications: outcomes -> an RFC 3464 multipart/report as a spool file. Pure.
 *
 * The file is explicit (X-Sender: <> and one X-Receiver), so it goes through the same spool. */
#ifndef SLUICE_QUEUE_DSN_H
#define SLUICE_QUEUE_DSN_H

#include "queue/envelope.h"
#include "queue/outcome.h"

/* What is told of a recipient, RFC 3464 2.3.3. */
enum dsn_action {
    DSN_FAILED,
    DSN_DELAYED,   /* it is still tried */
    DSN_DELIVERED, /* into the mailbox */
    DSN_RELAYED,   /* to a host that reports no success */
    NUM_DSN_ACTIONS
};

struct dsn_recipient {
    enum dsn_action action;
    const char *mailbox;           /* borrowed */
    const char *orcpt;             /* borrowed: "rfc822;kim@example.net"; NULL: the mailbox */
    const struct outcome *outcome; /* borrowed: of the last attempt */
    const char *remote_mta;        /* borrowed; "" when none was reached */
    int64_t attempted_wall_ms;     /* 0: none was made, or it is not known when */
    int64_t retry_until_wall_ms;   /* DSN_DELAYED */
};

struct dsn_request {
    const char *reporting_mta; /* our host name */
    uint64_t id;               /* of the original message */
    unsigned event;            /* distinguishes several DSN of one message */
    const char *sender;        /* of the original: the recipient of the DSN; never "" */
    const char *envid;         /* as the sender gave it; NULL: none */
    int64_t arrived_wall_ms;
    int64_t now_wall_ms;
    bool require_tls; /* the original's: the report is as well protected (RFC 8689 5) */
    bool needs_utf8;  /* original needs SMTPUTF8: message/global-* (RFC 6533) */
    /* The original without the cuts, any line ends: its header section, which may be cut short, or
     * all of it. Empty: it could not be read, and the report goes without. */
    struct bytes original;
    bool is_whole;
    const struct dsn_recipient *recipients;
    size_t num_recipients;
};

enum {
    DSN_HEAD_MAX = 64 * 1024,     /* octets of the original's header section that are quoted */
    DSN_WHOLE_MAX = 1024 * 1024,  /* octets of a whole original */
    DSN_RECIPIENT_MAX = 8 * 1024, /* octets that a recipient can take in the report */
    DSN_NAME_MAX = 40
};

/* "dsn-QUEUEID-EVENT": the same event always has the same name. */
void dsn_name(uint64_t id, unsigned event, char out[DSN_NAME_MAX]);
/* Reads it back; false: no such name. */
bool dsn_name_parse(const char *name, uint64_t *out_id, unsigned *out_event);

/* Appends the whole file: LF line ends, no line over 998 octets. Texts of replies and the original
 * are a stranger's: control characters become "?", so that none of them can add a header or end a
 * part. Non-ASCII in an address makes it a message/global-* report as needs_utf8 does. false when
 * it would exceed out->max, or when the sender is not fit for an envelope line. */
bool dsn_compose(const struct dsn_request *request, struct buffer *out)
    __attribute__((warn_unused_result));

#endif
