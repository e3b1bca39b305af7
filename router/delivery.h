/* A delivery: one message's recipients in one domain, at most max_recipients of them; the unit that
 * a connection transmits and that an attempt is counted for.
 *
 * One owner at any time: dispatcher -> site backlog -> connection -> journal thread -> dispatcher.
 */
#ifndef SLUICE_ROUTER_DELIVERY_H
#define SLUICE_ROUTER_DELIVERY_H

#include "dns/route.h"
#include "queue/message.h"
#include "router/config_snapshot.h"

struct site;

/* Instants of the attempt (monotonic microseconds; 0: not reached), for the log's delays by stage.
 */
struct delivery_stamps {
    int64_t queued_us;  /* handed to the site's backlog */
    int64_t taken_us;   /* by a connection */
    int64_t ready_us;   /* the session was ready for MAIL (connect, TLS done or reused) */
    int64_t content_us; /* last octet of content handed to the socket */
    int64_t done_us;    /* final reply or failure */
};

/* Where the attempt took place, copied from the connection at its end. */
struct delivery_trace {
    char mx[256]; /* MX host; "" when none was reached */
    struct host_address address;
    uint16_t port;           /* 0: no address was reached */
    const char *tls_version; /* static; NULL: plaintext */
    const char *tls_cipher;  /* static */
    const char *tls_level;   /* static: of the policy in force at the host; NULL: none reached */
    const char *tls_source;  /* static: who decided it */
    const char *sts_mode;    /* static: of the domain's MTA-STS policy; NULL: none counts here */
    const char *sts_result;  /* static: delivery_sts_result() */
    char sts_id[STS_ID_MAX + 1];
    bool tls_verified; /* the certificate was checked, now or when the session began */
    bool tls_resumed;
    bool reused;                /* the connection had carried a delivery before */
    uint32_t attempts_on_hosts; /* hosts tried in this attempt */
    uint64_t sent_len;          /* octets of content on the wire */
    struct delivery_stamps stamps;
};

struct delivery_recipient {
    uint32_t index; /* in message->envelope.recipients */
    struct outcome outcome;
};

struct delivery {
    struct mailbox_item item;
    struct delivery *next;            /* in the one list that holds it */
    struct message *message;          /* borrowed: lives until all its deliveries are back */
    struct route *route;              /* one reference, owned */
    struct sts_policy *sts;           /* one reference, owned; NULL: the domain has none */
    bool sts_is_uncertain;            /* none, but that may be for a failure that passes */
    struct site *site;                /* borrowed: lives while deliveries name it */
    struct config_snapshot *snapshot; /* one reference; NULL: not placed yet */
    const struct destination_settings *settings; /* borrowed from snapshot */
    const char *domain;                          /* borrowed from message->envelope */
    uint32_t
        attempt; /* number of this attempt of the message's recipients in this domain, from 1 */
    uint32_t restarts; /* times it lost its connection before content, without an attempt */
    /* RFC 8689 5: a report is not lost for want of REQUIRETLS. No host had it, so in this attempt
     * TLS will do. */
    bool requiretls_waived;
    bool is_only;  /* of its message in this attempt: nobody else sends from its content */
    bool recorded; /* journal thread: the outcomes are in the journal */
    struct delivery_trace trace;
    uint32_t num_recipients;
    struct delivery_recipient recipients[];
};

static inline const struct address *delivery_recipient_address(const struct delivery *delivery,
                                                               uint32_t i)
{
    return &delivery->message->envelope.recipients.items[delivery->recipients[i].index];
}

/* Whether it may go only where RFC 8689 4.2.1 says. */
static inline bool delivery_requires_tls(const struct delivery *delivery)
{
    return delivery->message->envelope.require_tls && !delivery->requiretls_waived;
}

/* By the worker, after its end: octets of content that will not be sent again go back to the
 * allocator while they are in the caches, and not two commits later. A report to the sender reads
 * the file. */
void delivery_drop_content(struct delivery *delivery);
struct delivery *delivery_new(struct message *message, uint32_t num_recipients);
void delivery_free(struct delivery *delivery);
/* Stores its outcomes in the journal: a store that survives a crash of the process, any thread.
 * False with errno set when it cannot be stored. */
bool delivery_record(const struct delivery *delivery, struct journal *journal);

#endif
