/* The original in a DSN: its header section, or all of it, in lines that no octet of it can break.
 * What does not fit the bounds was cut before, by whoever read the file, or is cut here. */
#include "queue/dsn_composer.h"

#include <stdio.h>

enum { LINE_MAX_LEN = 998 /* RFC 5322 2.1.1 */ };

/* The next line without its end (LF, CRLF or a lone CR); false at the end. */
static bool next_line(struct bytes *rest, struct bytes *out_line)
{
    size_t len = 0;
    if (rest->len == 0)
        return false;
    while (len < rest->len && rest->at[len] != '\n' && rest->at[len] != '\r')
        len++;
    *out_line = bytes_first(*rest, len);
    bool crlf = len + 1 < rest->len && rest->at[len] == '\r' && rest->at[len + 1] == '\n';
    *rest = bytes_from(*rest, len + (crlf ? 2 : 1));
    return true;
}

/* A line of the original, folded where it is too long. */
static void put_line(struct composer *c, struct bytes line)
{
    size_t column = 0;
    for (size_t i = 0; i < line.len; i++) {
        uint8_t octet = line.at[i];
        bool continues = (octet & 0xc0) == 0x80;
        if (column >= LINE_MAX_LEN - 8 && (!continues || column >= LINE_MAX_LEN - 1)) {
            buffer_append_str(c->out, "\n ");
            column = 1;
        }
        buffer_append_byte(c->out, octet == '\t' || octet >= ' ' ? octet : '?');
        column++;
    }
    buffer_append_byte(c->out, '\n');
}

static struct bytes quoted(const struct dsn_request *request)
{
    size_t most = request->is_whole ? DSN_WHOLE_MAX : DSN_HEAD_MAX;
    struct bytes text = bytes_first(request->original, most);
    /* Cut short by the bound, its last line would be a lie. */
    if (text.len < request->original.len)
        while (text.len && text.at[text.len - 1] != '\n')
            text.len--;
    return text;
}

void dsn_put_original_part(struct composer *c)
{
    static const char *const types[2][2] = {{"text/rfc822-headers", "message/global-headers"},
                                            {"message/rfc822", "message/global"}};
    bool whole = c->request->is_whole;
    struct bytes rest = quoted(c->request), line;
    const char *description = c->num_of[DSN_FAILED] ? "Undelivered message" : "Message";
    char text[40];
    snprintf(text, sizeof text, "%s%s", description, whole ? "" : " headers");
    dsn_begin_part(c, text, types[whole][c->global], c->is_8bit ? "8bit" : "7bit");
    while (next_line(&rest, &line) && (whole || line.len))
        put_line(c, line);
}
