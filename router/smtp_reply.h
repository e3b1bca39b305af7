/* SMTP replies and EHLO capabilities from bytes that a stranger sends (RFC 5321 4.2, RFC 2034, RFC
 * 1869).
 *
 * Pure: bytes in, struct and consumed length out; allocates nothing. Bounded: line length, lines a
 * reply. */
#ifndef SLUICE_ROUTER_SMTP_REPLY_H
#define SLUICE_ROUTER_SMTP_REPLY_H

#include "base/bytes.h"

enum {
    SMTP_REPLY_LINE_MAX = 4096, /* tolerant: RFC says 512 */
    SMTP_REPLY_LINES_MAX = 128,
    SMTP_REPLY_TEXT_MAX = 512 /* of text kept for people */
};

enum smtp_parse { SMTP_PARSE_MORE, SMTP_PARSE_DONE, SMTP_PARSE_BROKEN };

struct smtp_reply {
    uint16_t code;                  /* 200 .. 599 */
    uint8_t enhanced[3];            /* 0.0.0: none, or its class does not agree with the code */
    char text[SMTP_REPLY_TEXT_MAX]; /* lines joined by a space, codes removed, printable UTF-8,
                                       NUL-terminated */
};

/* What EHLO told. Reset by smtp_capabilities_init(). */
struct smtp_capabilities {
    bool starttls, pipelining, size, eight_bit, smtputf8, enhanced_codes, chunking, dsn, requiretls;
    uint8_t auth;      /* bits of enum auth_mechanism: those that we speak */
    uint64_t size_max; /* 0: no limit told */
    /* LIMITS (RFC 9422); 0: none told. Transactions a session, RCPT commands a transaction,
     * recipient domains a session. */
    uint32_t mail_max, rcpt_max, rcpt_domain_max;
    char peer_name[256]; /* first word of the 250 greeting, lower case, printable; "" */
};

/* Incremental over the parts of one reply: parses whole lines from `in`, sets *consumed. BROKEN:
 * not SMTP (bad code, code changes within a reply, too long, too many lines). MORE: call again with
 * what follows. Init before each reply. on_line may be NULL; it gets each line as it came, code
 * included and line end excluded, before it is judged (transcript, EHLO). */
struct smtp_reply_parser {
    struct smtp_reply reply;
    unsigned lines;
    size_t text_len;
    bool text_full; /* a character did not fit: what follows is dropped */
    bool broken;
    char partial[SMTP_REPLY_LINE_MAX]; /* a line that is not complete yet */
    size_t partial_len;
    const char *why; /* static, when BROKEN */
};
void smtp_reply_parser_init(struct smtp_reply_parser *parser);
enum smtp_parse smtp_reply_parse(struct smtp_reply_parser *parser, struct bytes in,
                                 size_t *out_consumed,
                                 void (*on_line)(void *ctx, unsigned number, struct bytes line),
                                 void *ctx);
/* The text of a reply line: what follows the code and its separator. */
static inline struct bytes smtp_reply_line_text(struct bytes line)
{
    return bytes_from(line, 4);
}

/* Appends text as printable UTF-8 and a NUL to out, of which *len octets are used: controls and
 * invalid octets become '?', tabs a space. False when it did not fit whole; then it was cut between
 * two characters. */
bool smtp_text_append(char *out, size_t cap, size_t *len, struct bytes text);

void smtp_capabilities_init(struct smtp_capabilities *capabilities);
/* One line of an EHLO reply without its code; line 0 is the greeting. */
void smtp_capabilities_line(struct smtp_capabilities *capabilities, unsigned line,
                            struct bytes text);

#endif
