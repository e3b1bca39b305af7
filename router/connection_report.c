/* From a connection's state to a line of a TLS report. It counts nothing: tls_report.c does.
 *
 * Only what DNS led to is reported: about a configured next hop its owner knows. */
#include "router/connection_report.h"

#include "router/policy_text.h"
#include "router/tls_reporter.h"

#include <stdio.h>
#include <sys/socket.h>

enum { POLICY_TEXT_MAX = 16 * 1024 };

static bool is_reported(const struct connection *connection)
{
    return connection->worker->services->tls_reporter && !connection->settings->next_hop &&
           connection->route->transport == TRANSPORT_SMTP;
}

static void put_records(struct buffer *out, const struct tlsa_set *set)
{
    for (size_t i = 0; i < set->num; i++) {
        buffer_append_str(out, i ? "\n" : "");
        policy_text_tlsa(out, &set->records[i]);
    }
}

static void local_address(int fd, char out[46])
{
    struct sockaddr_storage from;
    socklen_t len = sizeof from;
    struct host_address address;
    out[0] = '\0';
    if (fd >= 0 && getsockname(fd, (struct sockaddr *)&from, &len) == 0 &&
        host_address_from_sockaddr((struct sockaddr *)&from, &address))
        host_address_format(&address, out);
}

static enum tls_report_policy policy_of(const struct route_host *host,
                                        const struct tls_requirement *requirement)
{
    if (host->tlsa.state == TLSA_FOUND || host->tlsa.state == TLSA_FAILED)
        return TLS_REPORT_TLSA;
    return requirement->sts ? TLS_REPORT_STS : TLS_REPORT_NO_POLICY;
}

/* address: NULL: the host was not dialed. result: NULL: success. */
static void note(const struct connection *connection, const struct route_host *host,
                 const struct host_address *address, const struct tls_requirement *requirement,
                 struct tls_report_session *session)
{
    struct buffer text, patterns;
    char address_text[46] = "", local_text[46] = "";
    buffer_init(&text, POLICY_TEXT_MAX);
    buffer_init(&patterns, POLICY_TEXT_MAX);
    session->policy = policy_of(host, requirement);
    if (session->policy == TLS_REPORT_TLSA)
        put_records(&text, &host->tlsa);
    else if (session->policy == TLS_REPORT_STS)
        policy_text_sts(&text, &patterns, requirement->sts);
    if (address)
        host_address_format(address, address_text);
    if (session->result)
        local_address(connection->fd, local_text);
    session->domain = connection->delivery->domain;
    session->policy_text = policy_text_string(&text);
    session->mx_patterns = policy_text_string(&patterns);
    session->mx = host->name;
    session->address = address_text;
    session->local = local_text;
    tls_reporter_note(connection->worker->services->tls_reporter, session);
    buffer_fini(&text);
    buffer_fini(&patterns);
}

static void note_session(const struct connection *connection, const char *result,
                         const char *reason)
{
    struct tls_report_session session = {.result = result, .reason = reason};
    if (!is_reported(connection) || !connection->delivery)
        return;
    note(connection, dialed_host(connection->route, connection->at),
         dialed_address(connection->route, connection->at), &connection->requirement, &session);
}

void connection_report_ready(const struct connection *connection)
{
    const struct tls_verdict *verdict = &connection->tls.verdict;
    if (connection->requirement.level == TLS_LEVEL_NONE)
        return;
    if (connection->has_tls && verdict->wish == TLS_FAULT_NONE)
        note_session(connection, NULL, "");
    else if (connection->has_tls)
        note_session(connection, tls_fault_name(verdict->wish), verdict->why);
    else if (!connection->plaintext_forced) /* else the failed handshake was reported */
        note_session(connection, "starttls-not-supported", "");
}

void connection_report_no_starttls(const struct connection *connection, const char *why)
{
    note_session(connection, "starttls-not-supported", why);
}

void connection_report_handshake_failed(const struct connection *connection, const char *why)
{
    note_session(connection, delivery_tls_failure(connection->channel.verdict.fault), why);
}

void connection_report_unusable(const struct connection *connection, const struct route_host *host,
                                const struct tls_requirement *requirement)
{
    struct tls_report_session session = {.reason = requirement->unusable};
    if (!is_reported(connection))
        return;
    session.result = host->tlsa.state == TLSA_FAILED ? "dnssec-invalid" : "validation-failure";
    note(connection, host, NULL, requirement, &session);
}
