/* The DSN extension (RFC 3461): what MAIL and RCPT say of it, and who owes the report of success.
 * Mail whose sender asked for nothing goes out without a word of it. */
#include "router/smtp_machine.h"

#include <stdio.h>

static bool is_ascii(const char *text)
{
    for (; *text; text++)
        if ((uint8_t)*text >= 0x80)
            return false;
    return true;
}

/* " KEY=PREFIX" and the value as xtext, unless that is longer than max octets behind the "=". */
static void append_xtext(struct buffer *out, const char *key, struct bytes prefix,
                         const char *value, size_t max)
{
    struct buffer xtext;
    buffer_init(&xtext, max);
    buffer_append_bytes(&xtext, prefix);
    xtext_encode(bytes_of(value), &xtext);
    if (!xtext.overflow) {
        buffer_printf(out, " %s=", key);
        buffer_append_bytes(out, buffer_bytes(&xtext));
    }
    buffer_fini(&xtext);
}

static void finish_text(struct buffer *text, char *out, size_t cap)
{
    size_t len = text->len < cap ? text->len : cap - 1;
    if (len)
        memcpy(out, text->at, len);
    out[len] = '\0';
    buffer_fini(text);
}

void smtp_dsn_mail(const struct smtp_session *session, char out[SMTP_DSN_MAIL_MAX])
{
    const struct envelope *envelope = &session->delivery->message->envelope;
    struct buffer text;
    out[0] = '\0';
    if (!session->capabilities.dsn || (envelope->ret == RET_UNSAID && !envelope->envid))
        return;
    buffer_init(&text, SMTP_DSN_MAIL_MAX - 1);
    /* RFC 8689 5: with REQUIRETLS a report carries no more than the header section. */
    bool says_full = envelope->ret == RET_FULL && !envelope->require_tls;
    if (envelope->ret != RET_UNSAID)
        buffer_append_str(&text, says_full ? " RET=FULL" : " RET=HDRS");
    if (envelope->envid)
        append_xtext(&text, "ENVID", (struct bytes){0}, envelope->envid, DSN_ENVID_MAX);
    finish_text(&text, out, SMTP_DSN_MAIL_MAX);
}

/* The type goes as it is, the address as xtext. What a receiver does with NOTIFY may name another
 * address than ours, so with it goes the one that we know (RFC 3461 5.2.1). */
static void append_orcpt(struct buffer *out, const struct address *address)
{
    const char *semicolon = address->orcpt ? strchr(address->orcpt, ';') : NULL;
    if (semicolon)
        append_xtext(out, "ORCPT",
                     bytes_make(address->orcpt, (size_t)(semicolon + 1 - address->orcpt)),
                     semicolon + 1, DSN_ORCPT_MAX);
    else if (address->notify && is_ascii(address->mailbox))
        append_xtext(out, "ORCPT", bytes_of("rfc822;"), address->mailbox, DSN_ORCPT_MAX);
}

void smtp_dsn_rcpt(const struct smtp_session *session, const struct address *address,
                   char out[SMTP_DSN_RCPT_MAX])
{
    bool null_sender = session->delivery->message->envelope.sender.mailbox[0] == '\0';
    struct buffer text;
    char notify[DSN_NOTIFY_TEXT];
    out[0] = '\0';
    if (!session->capabilities.dsn || (!address->notify && !address->orcpt))
        return;
    buffer_init(&text, SMTP_DSN_RCPT_MAX - 1);
    dsn_notify_print(address->notify, notify);
    /* Nobody could be notified (RFC 3461 5.2.7). */
    if (notify[0] && (!null_sender || address->notify == NOTIFY_NEVER))
        buffer_printf(&text, " NOTIFY=%s", notify);
    append_orcpt(&text, address);
    finish_text(&text, out, SMTP_DSN_RCPT_MAX);
}

enum outcome_hop smtp_dsn_hop(const struct smtp_session *session)
{
    if (session->capabilities.dsn)
        return HOP_REPORTS;
    return session->params.transport == TRANSPORT_LMTP ? HOP_FINAL : HOP_RELAYED;
}
