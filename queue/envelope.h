/* From a dropped file to an envelope: sender, recipients, options, and what may not leave.
 *
 * Two forms (see docs/spool.md): explicit X-Sender/X-Receiver lines at the top of the file, else
 * the RFC 5322 header fields as `sendmail -t` reads them. Pure; one thread at a time per struct. */
#ifndef SLUICE_QUEUE_ENVELOPE_H
#define SLUICE_QUEUE_ENVELOPE_H

#include "queue/address.h"
#include "queue/dsn_option.h"

enum {
    ENVELOPE_WHY_MAX = 200,
    ENVELOPE_TAG_MAX = 128,     /* octets of X-Sluice-Tag */
    ENVELOPE_FIELDS_MAX = 10000 /* fields with addresses in one header section */
};

/* A part of the file that is not sent: the X- block, Bcc, Resent-Bcc, Return-Path. Whole lines. */
struct envelope_cut {
    uint64_t offset;
    uint64_t len;
};

/* X-Sluice-TLS, upward only; ENVELOPE_TLS_NONE: the message asks for nothing. */
enum envelope_tls {
    ENVELOPE_TLS_NONE,
    ENVELOPE_TLS_ENCRYPT,
    ENVELOPE_TLS_VERIFY,
    ENVELOPE_TLS_STS,
    ENVELOPE_TLS_DANE,
    ENVELOPE_TLS_DANE_ONLY
};

struct envelope {
    struct address sender; /* mailbox "" is the null sender */
    struct address_list
        recipients; /* no duplicates; order of first appearance, so an index is stable */
    bool is_explicit;
    bool needs_utf8; /* SMTPUTF8: a non-ASCII address, or UTF-8 in the header section */
    bool has_date;   /* header section has Date (or Resent-Date where Resent fields are) */
    bool has_message_id;
    uint32_t num_received; /* Received fields: more than 100 is a loop */
    enum envelope_tls tls;
    bool require_tls;  /* X-Sluice-RequireTLS: as with REQUIRETLS of MAIL (RFC 8689 2) */
    bool tls_optional; /* a header field "TLS-Required: No" (RFC 8689 3) */
    int64_t
        deadline_wall_ms; /* X-Sluice-Deadline; 0: none. Accepts a duration from arrival ("30m") */
    int64_t deadline_after_ms; /* or relative to arrival; 0: none */
    int priority;              /* X-Sluice-Priority: 0 (bulk) .. 9 (urgent); 5 when absent */
    char *tag;                 /* owned, X-Sluice-Tag, printable, at most 128 octets; NULL */
    char *via;                 /* owned, X-Sluice-Via, a domain as A-labels; NULL */
    char *envid;               /* owned, X-Sluice-Envid, printable; NULL */
    uint8_t notify;            /* X-Sluice-Notify: of recipients that have none of their own */
    enum dsn_ret ret;          /* X-Sluice-Ret */
    size_t header_end; /* offset in the file of the first octet after the header section's empty
                          line */
    bool lacks_header; /* neither a field that is sent nor an empty line stands above the body: what
                          we put on top needs an empty line behind it */
    struct envelope_cut *cuts; /* owned, ascending, not overlapping */
    size_t num_cuts;
};

struct envelope_limits {
    size_t max_recipients; /* before duplicates collapse */
};

void envelope_fini(struct envelope *envelope);

/* head: the file's beginning, which must hold its whole header section (or the whole file). A file
 * without an empty line is all header when every line of it is a field; a file that does not begin
 * with a field has no header and so no recipients unless it is explicit. Fails with a line for
 * NAME.why (no recipients, bad address, unknown X-Sluice option value, option that this version
 * cannot honour ...). Then *out needs no envelope_fini(). */
bool envelope_parse(struct bytes head, const struct envelope_limits *limits, struct envelope *out,
                    char out_why[ENVELOPE_WHY_MAX]) __attribute__((warn_unused_result));

/* How much of a file must be read to have the header section: the offset after the first empty line
 * (LF LF, CRLF CRLF, or a mixture), after any X- block's own; 0 when head does not hold it yet.
 * from: the length of the shorter head of an earlier call that returned 0, or 0. Linear when
 * the head grows by doubling. */
size_t envelope_header_end(struct bytes head, size_t from);

#endif
