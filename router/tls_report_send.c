/* Record, endpoints, POST. When a report is sent, and what is kept of it, is not decided here. */
#include "router/tls_report_send.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "router/gzip.h"
#include "tls/txt_record.h"

#include <stdio.h>

static void try_endpoint(struct tls_report_send *send);

static void look_up(struct tls_report_send *send, struct record_query *query, const char *name,
                    enum answer_type type)
{
    answer_unref(query->answer);
    *query = (struct record_query){.reply_to = send->services->mailbox, .name = name, .type = type};
    send->num_pending++;
    resolver_ask_records(send->services->resolver, query);
}

struct tls_report_send *tls_report_send_start(const struct tls_report_send_services *services,
                                              struct tls_report_entry *entry)
{
    struct tls_report_send *send = mem_zalloc(1, sizeof *send);
    send->services = services;
    send->entry = entry;
    buffer_init(&send->packed, TLS_REPORT_PACKED_MAX);
    snprintf(send->name, sizeof send->name, "_smtp._tls.%s", entry->domain);
    look_up(send, &send->txt, send->name, TYPE_TXT);
    return send;
}

void tls_report_send_stop(struct tls_report_send *send)
{
    https_request_free(send->request);
    send->request = NULL;
}

void tls_report_send_free(struct tls_report_send *send)
{
    CHECK(send->num_pending == 0);
    tls_report_send_stop(send);
    answer_unref(send->txt.answer);
    answer_unref(send->a.answer);
    answer_unref(send->aaaa.answer);
    buffer_fini(&send->packed);
    free(send);
}

static void finish(struct tls_report_send *send, enum tls_report_result result)
{
    send->services->on_done(send->services->ctx, send, result);
}

/* RFC 8460 3: records that claim to be one; exactly one, and that one valid. */
static bool read_record(struct tls_report_send *send)
{
    unsigned num;
    const struct answer_record *only =
        txt_record_only(send->txt.answer, tlsrpt_record_is_one, &num);
    if (only && tlsrpt_record_parse(only->data, &send->record))
        return true;
    if (num)
        snprintf(send->why, sizeof send->why,
                 only ? "its TLSRPT record is not valid"
                      : "it has several TLSRPT records, and none of them counts");
    return false;
}

static void failed(struct tls_report_send *send, const char *why)
{
    snprintf(send->why, sizeof send->why, "%s", why);
    send->was_tried = true;
    try_endpoint(send);
}

/* RFC 8460 5.4: "typically 200 or 201". A redirection is not followed: it would name another host
 * than the one that the domain has named. */
static void on_response(void *ctx, enum https_outcome outcome, const struct http_response *response,
                        const char *why)
{
    struct tls_report_send *send = ctx;
    char status[40];
    unsigned code = outcome == HTTPS_OK ? http_response_status(response) : 0;
    if (code >= 200 && code < 300) {
        finish(send, TLS_REPORT_TAKEN);
        return;
    }
    snprintf(status, sizeof status, "HTTP status %u", code);
    tls_report_send_stop(send);
    failed(send, code ? status : why);
}

static void post(struct tls_report_send *send)
{
    const struct tls_report_send_services *services = send->services;
    const struct tlsrpt_endpoint *endpoint = &send->record.endpoints[send->num_tried - 1];
    struct host_address addresses[HTTPS_ADDRESSES_MAX];
    size_t num =
        https_addresses(send->aaaa.answer, send->a.answer, services->allow_local, addresses);
    if (num == 0) {
        failed(send, "the host has no address that could be used");
        return;
    }
    char *target = mem_strndup(endpoint->target.at, endpoint->target.len);
    /* RFC 8460 3: submitters may ignore what is wrong with the certificate; a domain whose TLS is
     * broken is the one that needs its report. */
    const struct https_request_params params = {.loop = services->loop,
                                                .context = services->context,
                                                .host = endpoint->host,
                                                .port = endpoint->port,
                                                .any_certificate = true,
                                                .target = target,
                                                .accept = "*/*",
                                                .content_type = "application/tlsrpt+gzip",
                                                .content = buffer_bytes(&send->packed),
                                                .addresses = addresses,
                                                .num_addresses = num,
                                                .timeout_ms = TLS_REPORT_POST_MS,
                                                .body_max = TLS_REPORT_RESPONSE_MAX,
                                                .now_wall_s = clock_wall_ms() / 1000,
                                                .on_done = on_response,
                                                .ctx = send};
    send->request = https_request_start(&params);
    free(target);
}

static void try_mail(struct tls_report_send *send, const struct tlsrpt_endpoint *endpoint)
{
    switch (send->services->mail(send->services->ctx, send, endpoint->mailbox, send->why)) {
    case TLS_REPORT_MAIL_READY:
        send->is_mail = true;
        finish(send, TLS_REPORT_TAKEN);
        return;
    case TLS_REPORT_MAIL_FAILED:
        send->was_tried = true;
        break;
    case TLS_REPORT_MAIL_CLOSED:
        break;
    }
    try_endpoint(send);
}

/* At most TLSRPT_ENDPOINTS_MAX deep: each call takes the next one. */
static void try_endpoint(struct tls_report_send *send)
{
    if (send->num_tried == send->record.num) {
        finish(send, send->was_tried ? TLS_REPORT_REFUSED : TLS_REPORT_UNASKED);
        return;
    }
    const struct tlsrpt_endpoint *endpoint = &send->record.endpoints[send->num_tried++];
    snprintf(send->endpoint, sizeof send->endpoint, "%.*s", (int)endpoint->uri.len,
             (const char *)endpoint->uri.at);
    if (endpoint->scheme == TLSRPT_MAILTO) {
        try_mail(send, endpoint);
        return;
    }
    if (send->services->ipv4)
        look_up(send, &send->a, endpoint->host, TYPE_A);
    if (send->services->ipv6)
        look_up(send, &send->aaaa, endpoint->host, TYPE_AAAA);
}

static void record_answered(struct tls_report_send *send)
{
    send->knows_record = true;
    if (send->txt.answer->status == ANSWER_FAILED) {
        snprintf(send->why, sizeof send->why, "the look-up of its TLSRPT record failed");
        finish(send, TLS_REPORT_REFUSED);
    } else if (!read_record(send)) {
        finish(send, TLS_REPORT_UNASKED);
    } else if (!gzip_pack(bytes_of(send->entry->report), &send->packed)) {
        snprintf(send->why, sizeof send->why, "the report is too large");
        finish(send, TLS_REPORT_HOPELESS);
    } else {
        try_endpoint(send);
    }
}

struct tls_report_send *tls_report_send_of(struct record_query *query)
{
    return query->type == TYPE_TXT ? container_of(query, struct tls_report_send, txt)
           : query->type == TYPE_A ? container_of(query, struct tls_report_send, a)
                                   : container_of(query, struct tls_report_send, aaaa);
}

void tls_report_send_answered(struct tls_report_send *send)
{
    if (--send->num_pending)
        return;
    if (send->knows_record)
        post(send);
    else
        record_answered(send);
}
