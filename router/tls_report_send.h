/* One TLS report on its way: the domain's TLSRPT record, then its endpoints one after the other
 * until one takes the report (RFC 8460 3: that is enough).
 *
 * On a loop, in its thread; nothing blocks but what the mail callback does. */
#ifndef SLUICE_ROUTER_TLS_REPORT_SEND_H
#define SLUICE_ROUTER_TLS_REPORT_SEND_H

#include "dns/resolver.h"
#include "router/tls_report_plan.h"
#include "tls/https_request.h"
#include "tls/tlsrpt_record.h"

enum {
    TLS_REPORT_PACKED_MAX = 10 * 1024 * 1024, /* what receivers of mail take (RFC 8460 5.2) */
    TLS_REPORT_POST_MS = 60 * 1000,           /* of one POST */
    TLS_REPORT_RESPONSE_MAX = 64 * 1024
};

struct tls_report_send;

enum tls_report_mail_result {
    TLS_REPORT_MAIL_READY,  /* it goes out as soon as the ledger knows of it */
    TLS_REPORT_MAIL_FAILED, /* another time, perhaps */
    TLS_REPORT_MAIL_CLOSED  /* no mail leaves for there */
};

struct tls_report_send_services {
    struct loop *loop;       /* borrowed, as all of these */
    struct mailbox *mailbox; /* where the resolver answers */
    struct resolver *resolver;
    struct tls_context *context;
    bool allow_local, ipv4, ipv6;
    enum tls_report_mail_result (*mail)(void *ctx, const struct tls_report_send *send,
                                        const char *mailbox, char why[TLS_WHY_MAX]);
    /* Once, never from within tls_report_send_start(). The callee calls tls_report_send_free(). */
    void (*on_done)(void *ctx, struct tls_report_send *send, enum tls_report_result result);
    void *ctx;
};

struct tls_report_send {
    struct tls_report_send *next; /* the owner's */
    const struct tls_report_send_services *services;
    struct tls_report_entry *entry; /* borrowed */
    struct record_query txt, a, aaaa;
    unsigned num_pending; /* of these, the resolver has not answered */
    bool knows_record;
    bool is_mail;                /* the endpoint that took it */
    bool was_tried;              /* some endpoint */
    struct tlsrpt_record record; /* borrows from txt.answer */
    size_t num_tried;
    struct https_request *request; /* owned; NULL */
    struct buffer packed;          /* the report as gzip */
    char name[DOMAIN_NAME_MAX + sizeof "_smtp._tls."];
    char endpoint[TLSRPT_URI_MAX + 1]; /* the last one tried; "" none */
    char why[TLS_WHY_MAX];             /* it did not take the report */
};

struct tls_report_send *tls_report_send_start(const struct tls_report_send_services *services,
                                              struct tls_report_entry *entry)
    __attribute__((warn_unused_result, returns_nonnull));
/* Whose query it is that was answered. */
struct tls_report_send *tls_report_send_of(struct record_query *query)
    __attribute__((returns_nonnull));
void tls_report_send_answered(struct tls_report_send *send);
/* Ends what is under way. What the resolver was asked must be answered before the send is freed. */
void tls_report_send_stop(struct tls_report_send *send);
void tls_report_send_free(struct tls_report_send *send);

#endif
