/* A TLS report as a message (RFC 8460 5.3): a file for the spool. Pure. */
#ifndef SLUICE_ROUTER_TLS_REPORT_MAIL_H
#define SLUICE_ROUTER_TLS_REPORT_MAIL_H

#include "base/bytes.h"
#include "router/tls_report.h"

enum { TLS_REPORT_MAIL_NAME_MAX = 64 };

struct tls_report_mail {
    const char *from, *to; /* addresses, ASCII */
    const char *via;       /* X-Sluice-Via; "": none */
    const char *submitter; /* domain of the report's contact-info */
    const char *hostname;  /* ours */
    const char *domain;    /* that the report is about */
    const char *report_id; /* without brackets */
    const char *day;       /* that it is about */
    int64_t now_wall_s;
    struct bytes gzip; /* of the report */
};

/* Its name in the spool: the same for the same report, so that it is there once. */
void tls_report_mail_name(const char *day, const char *domain, char out[TLS_REPORT_MAIL_NAME_MAX]);
/* Appends the whole file. It asks for no DSN and for a day of tries (RFC 8460 5.5), and for
 * delivery whatever DANE and MTA-STS say (RFC 8460 5.3.1, by RFC 8689 3). false: it would exceed
 * out->max. */
bool tls_report_mail_compose(const struct tls_report_mail *mail, struct buffer *out)
    __attribute__((warn_unused_result));

#endif
