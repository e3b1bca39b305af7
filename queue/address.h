/* RFC 5321 and RFC 5322 address grammar, with RFC 6531/6532 UTF-8 and IDNA domains.
 *
 * Pure: bytes in, struct out; no I/O, no recursion on input, every loop bounded by the input.
 * Results live in the caller's arena (struct address_list owns one block). */
#ifndef SLUICE_QUEUE_ADDRESS_H
#define SLUICE_QUEUE_ADDRESS_H

#include "base/bytes.h"

/* The local part has no limit of its own: RFC 5321 4.5.3.1.1 grants 64 octets, but VERP and SRS
 * senders are longer, and receivers take them. */
enum {
    ADDRESS_MAILBOX_MAX = 254,      /* octets: a path of 256 without its brackets, 4.5.3.1.3 */
    ADDRESS_DOMAIN_MAX = 253,       /* octets in A-label form: 255 on the wire of the DNS */
    ADDRESS_DOMAIN_TEXT_MAX = 1020, /* octets of a domain as written, UTF-8 and maybe decomposed */
    ADDRESS_COMMENT_DEPTH_MAX = 100,
    ADDRESS_GROUP_DEPTH_MAX = 16
};

/* One mailbox in the form in which SMTP carries it. All strings NUL-terminated. */
struct address {
    char *mailbox; /* owned: local@domain, local part quoted only where it must be, no brackets;
                      "" for the null sender */
    const char *domain; /* inside mailbox: A-label form in lower case, or "[192.0.2.1]",
                           "[IPv6:...]" in canonical form; "" for the null sender */
    bool is_literal;    /* the domain is an address literal */
    bool needs_utf8;    /* the local part has non-ASCII: needs SMTPUTF8 (RFC 6531) */
    uint8_t notify;     /* of a recipient: bits of enum dsn_notify, what the sender wants to know */
    char *orcpt;        /* of a recipient, owned: "rfc822;kim@example.net" (RFC 3461 4.2); NULL */
};

struct address_list {
    struct address *items; /* owned array */
    size_t num;
    size_t cap;
};

void address_fini(struct address *address);
void address_list_init(struct address_list *list);
void address_list_fini(struct address_list *list);
/* Same mailbox: local parts octet by octet, domains as A-labels. */
bool address_equal(const struct address *a, const struct address *b);
/* The domain of user text (of a configuration, of a command line) in A-label form and lower case;
 * NULL if it is none. Owned by the caller. */
char *address_domain_to_ascii(struct bytes domain);

/* An envelope path as X-Sender, X-Receiver, Return-Path have it: "<a@b>", "a@b", with source routes
 * dropped (RFC 5321 appendix C), "<>" only if null_allowed. On failure false and *out_why is a
 * static text for people. */
bool address_parse_path(struct bytes text, bool null_allowed, struct address *out,
                        const char **out_why) __attribute__((warn_unused_result));
/* An unfolded-or-not field body of addresses (To, Cc, Bcc, From ...): appends every mailbox to
 * list, groups flattened. Full RFC 5322 3.4 with obsolete forms (4.4), comments, quoted strings,
 * folding, routes, and what people write without harm to the meaning (docs/spool.md). Fails
 * without changing list when the body is not of the grammar, or holds more than max mailboxes. */
bool address_parse_list(struct bytes body, size_t max, struct address_list *list,
                        const char **out_why) __attribute__((warn_unused_result));

#endif
