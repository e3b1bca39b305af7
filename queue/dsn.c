/* Delivery status notices: RFC 3464 multipart/report, RFC 6533 forms for internationalised mail.
 * It decides nothing about who gets one and when; it reads no clock and writes no file. */
#include "queue/dsn.h"

#include "queue/dsn_composer.h"
#include "queue/header_field.h"
#include "queue/utf8.h"

#include <stdio.h>

enum {
    FIELD_TEXT_MAX = 800,     /* of one field's value: with its name well below a line */
    BOUNDARY_TRIES_MAX = 1000 /* each is a new 64-bit number: more than one is a wonder */
};

void dsn_name(uint64_t id, unsigned event, char out[DSN_NAME_MAX])
{
    char text[QUEUE_ID_LEN + 1];
    queue_id_format(id, text);
    snprintf(out, DSN_NAME_MAX, "dsn-%s-%u", text, event);
}

bool dsn_name_parse(const char *name, uint64_t *out_id, unsigned *out_event)
{
    struct bytes text = bytes_of(name);
    uint64_t event;
    char again[DSN_NAME_MAX];
    if (text.len < 4 + QUEUE_ID_LEN + 2 ||
        !queue_id_parse(bytes_first(bytes_from(text, 4), QUEUE_ID_LEN), out_id) ||
        !bytes_to_u64(bytes_from(text, 4 + QUEUE_ID_LEN + 1), UINT32_MAX, &event))
        return false;
    *out_event = (unsigned)event;
    dsn_name(*out_id, *out_event, again);
    return strcmp(name, again) == 0;
}

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text >= 0x80)
            return false;
    return true;
}

void dsn_put_text(struct composer *c, const char *text)
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
    buffer_printf(c->out, "%s: ", name);
    header_date_append(c->out, wall_ms);
    buffer_append_byte(c->out, '\n');
}

void dsn_put_reply(struct composer *c, const struct outcome *outcome)
{
    const uint8_t *e = outcome->enhanced;
    if (outcome->code)
        buffer_printf(c->out, "%u ", outcome->code);
    if (e[0])
        buffer_printf(c->out, "%u.%u.%u ", e[0], e[1], e[2]);
    dsn_put_text(c, outcome->text[0] ? outcome->text : "(no text)");
}

static void put_field(struct composer *c, const char *name, const char *value)
{
    buffer_append_str(c->out, name);
    dsn_put_text(c, value);
    buffer_append_byte(c->out, '\n');
}

static void put_header(struct composer *c)
{
    const struct dsn_request *r = c->request;
    buffer_append_str(c->out, "X-Sender: <>\nX-Receiver: <");
    dsn_put_text(c, r->sender);
    buffer_append_str(c->out, r->require_tls ? ">\nX-Sluice-RequireTLS: true" : ">");
    buffer_append_str(c->out, "\nFrom: \"Mail Delivery System\" <MAILER-DAEMON@");
    dsn_put_text(c, r->reporting_mta);
    buffer_append_str(c->out, ">\nTo: <");
    dsn_put_text(c, r->sender);
    buffer_printf(c->out, ">\nSubject: %s\n", dsn_subject(c));
    put_date(c, "Date", r->now_wall_ms);
    buffer_printf(c->out, "Message-ID: <dsn-%s-%u@", c->id, r->event);
    dsn_put_text(c, r->reporting_mta);
    buffer_printf(c->out,
                  ">\nAuto-Submitted: auto-replied\nMIME-Version: 1.0\n"
                  "Content-Type: multipart/report; report-type=delivery-status;\n"
                  "\tboundary=\"%s\"\n%s\n"
                  "This is a MIME-encapsulated message.\n",
                  c->boundary, c->is_8bit ? "Content-Transfer-Encoding: 8bit\n" : "");
}

void dsn_begin_part(struct composer *c, const char *description, const char *type,
                    const char *encoding)
{
    buffer_printf(c->out,
                  "\n--%s\nContent-Description: %s\nContent-Type: %s\n"
                  "Content-Transfer-Encoding: %s\n\n",
                  c->boundary, description, type, encoding);
}

/* RFC 6533 3: an address in UTF-8 has an address type of its own. */
static void put_mailbox(struct composer *c, const char *name, const char *mailbox)
{
    buffer_printf(c->out, "%s: %s", name, is_ascii(mailbox) ? "rfc822; " : "utf-8; ");
    put_field(c, "", mailbox);
}

/* "rfc822;kim@example.net", with the space behind the semicolon that the other addresses have. */
static void put_original_recipient(struct composer *c, const struct dsn_recipient *r)
{
    const char *semicolon = r->orcpt ? strchr(r->orcpt, ';') : NULL;
    if (!semicolon) {
        put_mailbox(c, "Original-Recipient", r->mailbox);
        return;
    }
    buffer_append_str(c->out, "Original-Recipient: ");
    buffer_append(c->out, r->orcpt, (size_t)(semicolon - r->orcpt));
    put_field(c, "; ", semicolon + 1);
}

/* RFC 3464 2.3.4 requires a status: without one from the peer, "other". A failure may have the
 * 4.x.x of what stood in its way (RFC 3463 2). */
static void put_status(struct composer *c, const struct dsn_recipient *r)
{
    const uint8_t *e = r->outcome->enhanced;
    unsigned class = r->action == DSN_FAILED ? 5 : r->action == DSN_DELAYED ? 4 : 2;
    if (e[0] == class || (class == 5 && e[0] == 4))
        buffer_printf(c->out, "Status: %u.%u.%u\n", e[0], e[1], e[2]);
    else
        buffer_printf(c->out, "Status: %u.0.0\n", class);
}

static void put_recipient_status(struct composer *c, const struct dsn_recipient *r)
{
    static const char *const actions[] = {"failed", "delayed", "delivered", "relayed"};
    buffer_append_byte(c->out, '\n');
    put_original_recipient(c, r);
    put_mailbox(c, "Final-Recipient", r->mailbox);
    buffer_printf(c->out, "Action: %s\n", actions[r->action]);
    put_status(c, r);
    if (r->remote_mta[0])
        put_field(c, "Remote-MTA: dns; ", r->remote_mta);
    if (r->outcome->text[0] || r->outcome->code) {
        /* RFC 3464 2.3.6: a reply of SMTP, or words of our own under a name of our own. */
        buffer_append_str(c->out, r->outcome->code ? "Diagnostic-Code: smtp; "
                                                   : "Diagnostic-Code: x-sluice; ");
        dsn_put_reply(c, r->outcome);
        buffer_append_byte(c->out, '\n');
    }
    if (r->attempted_wall_ms)
        put_date(c, "Last-Attempt-Date", r->attempted_wall_ms);
    if (r->action == DSN_DELAYED)
        put_date(c, "Will-Retry-Until", r->retry_until_wall_ms);
}

static void put_status_part(struct composer *c)
{
    dsn_begin_part(c, "Delivery report",
                   c->global ? "message/global-delivery-status" : "message/delivery-status",
                   c->global ? "8bit" : "7bit");
    put_field(c, "Reporting-MTA: dns; ", c->request->reporting_mta);
    if (c->request->envid)
        put_field(c, "Original-Envelope-Id: ", c->request->envid);
    put_date(c, "Arrival-Date", c->request->arrived_wall_ms);
    for (size_t i = 0; i < c->request->num_recipients; i++)
        put_recipient_status(c, &c->request->recipients[i]);
}

/* Our own lines never begin with two dashes, so only the quoted original could hold a boundary. The
 * number depends on all of it, so nobody can write it into one. */
static bool choose_boundary(struct composer *c)
{
    struct bytes original = c->request->original;
    uint64_t number = bytes_hash(original) ^ c->request->id;
    for (unsigned i = 0; i < BOUNDARY_TRIES_MAX; i++) {
        snprintf(c->boundary, sizeof c->boundary, "=_%s.%u.%016llx", c->id, c->request->event,
                 (unsigned long long)number + i);
        if (original.len == 0 ||
            !memmem(original.at, original.len, c->boundary, strlen(c->boundary)))
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
    for (size_t i = 0; i < request->num_recipients; i++) {
        c.global |= !is_ascii(request->recipients[i].mailbox);
        c.num_of[request->recipients[i].action]++;
    }
    c.is_8bit = c.global || utf8_has_high_bit(request->original);
    queue_id_format(request->id, c.id);
    if (!is_envelope_safe(request->sender) || !choose_boundary(&c))
        return false;
    put_header(&c);
    dsn_put_human_part(&c);
    put_status_part(&c);
    if (request->original.len)
        dsn_put_original_part(&c);
    buffer_printf(out, "\n--%s--\n", c.boundary);
    return !out->overflow;
}
