/* Fields of a header section, as they will be on the wire: RFC 5322 2.2 with the obsolete white
 * space before the colon (4.5).
 *
 * LF, CRLF and a lone CR end a line, and NUL is not seen, because content.c makes CRLF of the one
 * and drops the other: what is a Bcc field for the receiver is one here. Pure, linear. */
#ifndef SLUICE_QUEUE_HEADER_FIELD_H
#define SLUICE_QUEUE_HEADER_FIELD_H

#include "base/bytes.h"

/* Octets in which a field's colon must come: a longer name would not fit in a line. */
enum { HEADER_NAME_MAX = 998 };

enum header_line {
    HEADER_FIELD, /* a field with its continuation lines */
    HEADER_EMPTY, /* the empty line */
    HEADER_OTHER, /* a line that is no field */
    HEADER_END    /* nothing left */
};

/* Fields that mean something to the router. */
enum header_name {
    HEADER_NAME_OTHER,
    HEADER_NAME_TO,
    HEADER_NAME_CC,
    HEADER_NAME_BCC,
    HEADER_NAME_FROM,
    HEADER_NAME_SENDER,
    HEADER_NAME_RETURN_PATH,
    HEADER_NAME_RESENT_TO,
    HEADER_NAME_RESENT_CC,
    HEADER_NAME_RESENT_BCC,
    HEADER_NAME_RESENT_FROM,
    HEADER_NAME_RESENT_SENDER,
    HEADER_NAME_RESENT_DATE,
    HEADER_NAME_RESENT_MESSAGE_ID,
    HEADER_NAME_DATE,
    HEADER_NAME_MESSAGE_ID,
    HEADER_NAME_RECEIVED,
    HEADER_NAME_TLS_REQUIRED,
    HEADER_NAME_X_SENDER,
    HEADER_NAME_X_RECEIVER,
    HEADER_NAME_X_SLUICE, /* any X-Sluice-... */
    HEADER_NAMES
};

struct header_field {
    enum header_line line;
    enum header_name name_id;
    size_t offset;     /* in the text */
    size_t len;        /* whole lines, their ends included */
    struct bytes name; /* may have NUL in it */
    struct bytes body; /* behind the colon, without the last line end; folds are still in it */
};

/* The date of RFC 5322 3.3, in UTC, as fields of our own have it: "Sun, 1 Nov 2026 00:00:00 +0000".
 */
void header_date_append(struct buffer *out, int64_t wall_ms);
/* As people write it, "Resent-Bcc"; "" for HEADER_NAME_OTHER. */
const char *header_name_text(enum header_name name);
/* The offset behind the line that begins at offset at; text.len when it has no end. */
size_t header_line_end(struct bytes text, size_t at);
/* The field or other line that begins at offset at; the next begins at offset + len. */
struct header_field header_field_at(struct bytes text, size_t at);

#endif
