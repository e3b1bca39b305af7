/* Envelope, header and the two parts. That someone signs it on its way is the next hop's. */
#include "router/tls_report_mail.h"

#include "queue/header_field.h"

#include <openssl/base64.h>
#include <stdio.h>

/* No line of base64 begins with "--". */
#define BOUNDARY "=_tlsrpt"

enum { BASE64_LINE = 57 /* octets that make a line of 76 characters */ };

void tls_report_mail_name(const char *day, const char *domain, char out[TLS_REPORT_MAIL_NAME_MAX])
{
    /* A domain may be as long as a file's name may be at most. */
    snprintf(out, TLS_REPORT_MAIL_NAME_MAX, "tlsrpt-%s-%016llx", day,
             (unsigned long long)bytes_hash(bytes_of(domain)));
}

static void put_envelope(const struct tls_report_mail *mail, struct buffer *out)
{
    buffer_printf(out, "X-Sender: <%s>\nX-Receiver: <%s>\n", mail->from, mail->to);
    if (*mail->via)
        buffer_printf(out, "X-Sluice-Via: %s\n", mail->via);
    buffer_append_str(out, "X-Sluice-Notify: NEVER\nX-Sluice-Deadline: 1d\n");
}

static void put_header(const struct tls_report_mail *mail, struct buffer *out)
{
    buffer_printf(out, "From: <%s>\nTo: <%s>\n", mail->from, mail->to);
    buffer_printf(out, "Subject: Report Domain: %s\n\tSubmitter: %s\n\tReport-ID: <%s>\n",
                  mail->domain, mail->submitter, mail->report_id);
    buffer_append_str(out, "Date: ");
    header_date_append(out, mail->now_wall_s * 1000);
    buffer_printf(out, "\nMessage-ID: <tlsrpt.%s>\n", mail->report_id);
    buffer_printf(out, "TLS-Report-Domain: %s\nTLS-Report-Submitter: %s\nTLS-Required: No\n",
                  mail->domain, mail->submitter);
    buffer_append_str(out, "Auto-Submitted: auto-generated\nMIME-Version: 1.0\n"
                           "Content-Type: multipart/report; report-type=\"tlsrpt\";\n"
                           "\tboundary=\"" BOUNDARY "\"\n\n");
}

static void put_text_part(const struct tls_report_mail *mail, struct buffer *out)
{
    buffer_append_str(out, "--" BOUNDARY "\nContent-Type: text/plain; charset=us-ascii\n"
                           "Content-Transfer-Encoding: 7bit\n\n");
    buffer_printf(out,
                  "This is a report by RFC 8460 on the TLS sessions that %s\n"
                  "opened on %s (UTC) to deliver mail for\n%s.\n\n",
                  mail->hostname, mail->day, mail->domain);
}

static void put_base64(struct bytes octets, struct buffer *out)
{
    uint8_t line[(BASE64_LINE + 2) / 3 * 4 + 1];
    for (; octets.len; octets = bytes_from(octets, BASE64_LINE)) {
        struct bytes part = bytes_first(octets, BASE64_LINE);
        buffer_append(out, line, EVP_EncodeBlock(line, part.at, part.len));
        buffer_append_byte(out, '\n');
    }
}

/* RFC 8460 5.1 has the form of its name. */
static void put_report_part(const struct tls_report_mail *mail, struct buffer *out)
{
    int64_t begin_s = tls_report_day_begin_s(mail->day);
    buffer_printf(out,
                  "--" BOUNDARY "\nContent-Type: application/tlsrpt+gzip\n"
                  "Content-Transfer-Encoding: base64\nContent-Disposition: attachment;\n"
                  "\tfilename=\"%s!%s!%lld!%lld.json.gz\"\n\n",
                  mail->submitter, mail->domain, (long long)begin_s,
                  (long long)begin_s + TLS_REPORT_DAY_S - 1);
    put_base64(mail->gzip, out);
    buffer_append_str(out, "--" BOUNDARY "--\n");
}

bool tls_report_mail_compose(const struct tls_report_mail *mail, struct buffer *out)
{
    put_envelope(mail, out);
    put_header(mail, out);
    put_text_part(mail, out);
    put_report_part(mail, out);
    return !out->overflow;
}
