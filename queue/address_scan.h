/* Private to the address parsers: the lexical tokens of RFC 5322 3.2 and 4.1.
 *
 * Comments and folding white space are skipped and remembered as `spaced`. Tokens borrow the text.
 * Linear, without recursion or allocation. */
#ifndef SLUICE_QUEUE_ADDRESS_SCAN_H
#define SLUICE_QUEUE_ADDRESS_SCAN_H

#include "queue/address.h"

enum address_token_kind {
    ADDRESS_TOKEN_END,
    ADDRESS_TOKEN_BAD,     /* scanner->why says what */
    ADDRESS_TOKEN_ATOM,    /* atext and octets above 127 */
    ADDRESS_TOKEN_QUOTED,  /* text: between the quotes, quoted pairs and folds still in it */
    ADDRESS_TOKEN_LITERAL, /* text: between the brackets */
    ADDRESS_TOKEN_DOT,
    ADDRESS_TOKEN_AT,
    ADDRESS_TOKEN_COMMA,
    ADDRESS_TOKEN_SEMICOLON,
    ADDRESS_TOKEN_COLON,
    ADDRESS_TOKEN_OPEN, /* "<" */
    ADDRESS_TOKEN_CLOSE /* ">" */
};

struct address_token {
    enum address_token_kind kind;
    struct bytes text;
    bool spaced;          /* a comment or white space stood before it */
    bool is_encoded_word; /* an ATOM of the form =?charset?Q?text?= (RFC 2047) */
};

struct address_scanner {
    struct bytes rest;
    const char *why; /* static; NULL until something is wrong */
};

struct address_token address_scanner_next(struct address_scanner *scanner);

/* Grammar shared by paths and lists. first: the token that begins it. On success *out_next is the
 * token behind it, which the caller judges; on failure scanner->why is set. */
bool address_parse_addr_spec(struct address_scanner *scanner, struct address_token first,
                             struct address *out, struct address_token *out_next)
    __attribute__((warn_unused_result));
/* What follows "<": obsolete route, addr-spec, ">". */
bool address_parse_angle(struct address_scanner *scanner, struct address_token first,
                         struct address *out) __attribute__((warn_unused_result));

/* The domain in canonical form, NUL-terminated, in out; NULL, or a static text that says why not.
 */
const char *address_domain_canonical(struct bytes text, char out[ADDRESS_DOMAIN_MAX + 1])
    __attribute__((warn_unused_result));
/* The same for what stands between the brackets of an address literal; out has the brackets. */
const char *address_literal_canonical(struct bytes text, char out[ADDRESS_DOMAIN_MAX + 1])
    __attribute__((warn_unused_result));

#endif
