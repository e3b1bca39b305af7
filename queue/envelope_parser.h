/* Private to the envelope parser: what its files share while one message is read. */
#ifndef SLUICE_QUEUE_ENVELOPE_PARSER_H
#define SLUICE_QUEUE_ENVELOPE_PARSER_H

#include "queue/envelope.h"
#include "queue/header_field.h"

/* A field of the header section that may say who sends or receives. */
struct envelope_field {
    enum header_name name;
    size_t offset;
    size_t end;
    struct bytes body; /* borrowed from the head */
};

struct envelope_parser {
    struct bytes head; /* borrowed */
    size_t max_recipients;
    struct envelope *out; /* borrowed */
    char *why;            /* borrowed: ENVELOPE_WHY_MAX octets */
    bool has_sender;
    uint32_t options; /* bit n: option n of the table was seen */
    size_t cap_cuts;
    struct envelope_field *fields; /* owned; in the order of the file */
    size_t num_fields;
    size_t cap_fields;
    unsigned num_tls_required; /* TLS-Required fields */
};

/* Writes "line N: NAME: WHY" and returns false. name may be NULL. */
bool envelope_fail(struct envelope_parser *parser, size_t offset, const char *name,
                   const char *why);
/* One X-Sluice-... line of the block on top. */
bool envelope_read_option(struct envelope_parser *parser, const struct header_field *field)
    __attribute__((warn_unused_result));
/* Cuts the DSN parameters of an X-Receiver line, "NOTIFY=..." and "ORCPT=...", from the end of its
 * body. */
void envelope_split_parameters(struct bytes *body, struct bytes *out_parameters);
/* Puts them into the recipient. NULL, or a static text: what is wrong. */
const char *envelope_read_parameters(struct bytes parameters, struct address *recipient);
/* Sender and recipients from parser->fields, as `sendmail -t`. */
bool envelope_read_header_form(struct envelope_parser *parser) __attribute__((warn_unused_result));

#endif
