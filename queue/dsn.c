/* Failure notices: RFC 3464 multipart/report, RFC 6533 forms for internationalised mail.
 * It decides nothing about who gets one and when; it reads no clock and writes no file. */
#include "queue/dsn.h"

#include "queue/queue_id.h"

#include <stdio.h>
#include <time.h>

enum {
    LINE_MAX_LEN = 998,       /* RFC 5322 2.1.1 */
    FIELD_TEXT_MAX = 800,     /* of one field's value: with its name well below a line */
    BOUNDARY_TRIES_MAX = 1000 /* each is a new 64-bit number: more than one is a wonder */
};

struct composer {
    const struct dsn_request *request;
    struct buffer *out;
    bool global; /* RFC 6533 */
    char id[QUEUE_ID_LEN + 1];
    char boundary[64];
};

void dsn_name(uint64_t id, unsigned event, char out[64])
{
    char text[QUEUE_ID_LEN + 1];
    queue_id_format(id, text);
    snprintf(out, 64, "dsn-%s-%u", text, event);
}

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

/* A stranger's text within one line. UTF-8 is cut between characters. */
static void put_text(struct composer *c, const char *text)
{
    size_t len = strlen(text);
    if (len > FIELD_TEXT_MAX)
        len = FIELD_TEXT_MAX;
    while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
        len--;
    for (size_t i = 0; i < len; i++) {
        unsigned char octet = (unsigned char)text[i];
        bool plain = octet >= ' ' && octet != 127 && (octet < 0x80 || c->global);
        buffer_append_byte(c->out, plain ? octet : '?');
    }
}

static void put_date(struct composer *c, const char *name, int64_t wall_ms)
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    struct tm tm = {.tm_mday = 1};
    time_t seconds = (time_t)(wall_ms / 1000);
    (void)gmtime_r(&seconds, &tm);
    buffer_printf(c->out, "%s: %s, %d %s %d %02d:%02d:%02d +0000\n", name, days[tm.tm_wday],
                  tm.tm_mday, months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min,
                  tm.tm_sec);
}

/* "550 5.1.1 text", as far as there is a code, an enhanced code, a text. */
static void put_reply(struct composer *c, const struct outcome *outcome)
{
    const uint8_t *e = outcome->enhanced;
    if (outcome->code)
        buffer_printf(c->out, "%u ", outcome->code);
    if (e[0])
        buffer_printf(c->out, "%u.%u.%u ", e[0], e[1], e[2]);
    put_text(c, outcome->text[0] ? outcome->text : "(no text)");
}

static void put_field(struct composer *c, const char *name, const char *value)
{
    buffer_append_str(c->out, name);
    put_text(c, value);
    buffer_append_byte(c->out, '\n');
}

static void put_header(struct composer *c)
{
    const struct dsn_request *r = c->request;
    buffer_append_str(c->out, "X-Sender: <>\nX-Receiver: <");
    put_text(c, r->sender);
    buffer_append_str(c->out, ">\nFrom: \"Mail Delivery System\" <MAILER-DAEMON@");
    put_text(c, r->reporting_mta);
    buffer_append_str(c->out, ">\nTo: <");
    put_text(c, r->sender);
    buffer_append_str(c->out, ">\nSubject: Undelivered Mail Returned to Sender\n");
    put_date(c, "Date", r->now_wall_ms);
    buffer_printf(c->out, "Message-ID: <dsn-%s-%u@", c->id, r->event);
    put_text(c, r->reporting_mta);
    buffer_printf(c->out,
                  ">\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
                  "Content-Type: multipart/report; report-type=delivery-status;\n"
                  "\tboundary=\"%s\"\n\n"
                  "This is a MIME-encapsulated message.\n",
                  c->boundary);
}

static void begin_part(struct composer *c, const char *description, const char *type,
                       const char *encoding)
{
    buffer_printf(c->out,
                  "\n--%s\nContent-Description: %s\nContent-Type: %s\n"
                  "Content-Transfer-Encoding: %s\n\n",
                  c->boundary, description, type, encoding);
}

static void put_human_part(struct composer *c)
{
    begin_part(c, "Notification",
               c->global ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii",
               c->global ? "8bit" : "7bit");
    buffer_append_str(c->out, "This is the mail system at host ");
    put_text(c, c->request->reporting_mta);
    buffer_append_str(c->out,
                      ".\n\nYour message could not be delivered to the recipients below. It will "
                      "not be tried again.\nThe beginning of your message is attached.\n");
    for (size_t i = 0; i < c->request->num_recipients; i++) {
        const struct dsn_recipient *r = &c->request->recipients[i];
        buffer_append_str(c->out, "\n  <");
        put_text(c, r->mailbox);
        buffer_append_str(c->out, ">:\n    ");
        if (r->outcome->code && r->remote_mta[0]) {
            buffer_append_str(c->out, "host ");
            put_text(c, r->remote_mta);
            buffer_append_str(c->out, " said: ");
        }
        put_reply(c, r->outcome);
        buffer_append_byte(c->out, '\n');
    }
}

static void put_recipient_status(struct composer *c, const struct dsn_recipient *r)
{
    /* RFC 6533 3: an address in UTF-8 has an address type of its own. */
    const char *type = is_ascii(r->mailbox) ? "rfc822; " : "utf-8; ";
    const uint8_t *e = r->outcome->enhanced;
    buffer_printf(c->out, "\nOriginal-Recipient: %s", type);
    put_field(c, "", r->mailbox);
    buffer_printf(c->out, "Final-Recipient: %s", type);
    put_field(c, "", r->mailbox);
    buffer_append_str(c->out, "Action: failed\n");
    /* RFC 3464 2.3.4 requires a status: without one from the peer, "other". An expired message
     * keeps the 4.x.x of what stood in its way (RFC 3463 2). */
    if (e[0] == 4 || e[0] == 5)
        buffer_printf(c->out, "Status: %u.%u.%u\n", e[0], e[1], e[2]);
    else
        buffer_append_str(c->out, "Status: 5.0.0\n");
    if (r->remote_mta[0])
        put_field(c, "Remote-MTA: dns; ", r->remote_mta);
    if (r->outcome->code) {
        buffer_append_str(c->out, "Diagnostic-Code: smtp; ");
        put_reply(c, r->outcome);
        buffer_append_byte(c->out, '\n');
    }
    put_date(c, "Last-Attempt-Date", c->request->now_wall_ms);
}

static void put_status_part(struct composer *c)
{
    begin_part(c, "Delivery report",
               c->global ? "message/global-delivery-status" : "message/delivery-status",
               c->global ? "8bit" : "7bit");
    put_field(c, "Reporting-MTA: dns; ", c->request->reporting_mta);
    put_date(c, "Arrival-Date", c->request->arrived_wall_ms);
    for (size_t i = 0; i < c->request->num_recipients; i++)
        put_recipient_status(c, &c->request->recipients[i]);
}

/* The next line of the head without its end (LF, CRLF or a lone CR); false at the end. */
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

/* A line of the original's header, folded where it is too long. */
static void put_head_line(struct composer *c, struct bytes line)
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

static struct bytes quoted_head(const struct dsn_request *request)
{
    struct bytes head = bytes_first(request->original_head, DSN_HEAD_MAX);
    /* Cut short by the bound, its last line would be a lie. */
    if (head.len < request->original_head.len)
        while (head.len && head.at[head.len - 1] != '\n')
            head.len--;
    return head;
}

static bool head_is_ascii(struct bytes head)
{
    for (size_t i = 0; i < head.len; i++)
        if (head.at[i] >= 0x80)
            return false;
    return true;
}

static void put_head_part(struct composer *c)
{
    struct bytes rest = quoted_head(c->request), line;
    begin_part(c, "Undelivered message headers",
               c->global ? "message/global-headers" : "text/rfc822-headers",
               head_is_ascii(rest) && !c->global ? "7bit" : "8bit");
    while (next_line(&rest, &line) && line.len)
        put_head_line(c, line);
}

/* Our own lines never begin with two dashes, so only the quoted head could hold a boundary. The
 * number depends on the whole head, so nobody can write it into one. */
static bool choose_boundary(struct composer *c)
{
    struct bytes head = c->request->original_head;
    uint64_t number = bytes_hash(head) ^ c->request->id;
    for (unsigned i = 0; i < BOUNDARY_TRIES_MAX; i++) {
        snprintf(c->boundary, sizeof c->boundary, "=_%s.%u.%016llx", c->id, c->request->event,
                 (unsigned long long)number + i);
        if (head.len == 0 || !memmem(head.at, head.len, c->boundary, strlen(c->boundary)))
            return true;
    }
    return false;
}

static bool is_envelope_safe(const char *mailbox)
{
    size_t len = strlen(mailbox);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)mailbox[i] < ' ' || mailbox[i] == 127)
            return false;
    return len > 0 && len <= FIELD_TEXT_MAX;
}

bool dsn_compose(const struct dsn_request *request, struct buffer *out)
{
    struct composer c = {.request = request, .out = out};
    c.global = request->needs_utf8 || !is_ascii(request->sender);
    for (size_t i = 0; i < request->num_recipients; i++)
        c.global |= !is_ascii(request->recipients[i].mailbox);
    queue_id_format(request->id, c.id);
    if (!is_envelope_safe(request->sender) || !choose_boundary(&c))
        return false;
    put_header(&c);
    put_human_part(&c);
    put_status_part(&c);
    put_head_part(&c);
    buffer_printf(out, "\n--%s--\n", c.boundary);
    return !out->overflow;
}
