/* What a connection tells the TLS reporter (RFC 8460): each new session once, with what its policy
 * made of it. The worker's thread. */
#ifndef SLUICE_ROUTER_CONNECTION_REPORT_H
#define SLUICE_ROUTER_CONNECTION_REPORT_H

#include "router/connection.h"

/* The session is ready for its first transaction, with TLS or without. */
void connection_report_ready(const struct connection *connection);
/* STARTTLS was not offered, or refused, and the host left for that. */
void connection_report_no_starttls(const struct connection *connection, const char *why);
/* The handshake failed for good: not one that is tried again without its ticket. */
void connection_report_handshake_failed(const struct connection *connection, const char *why);
/* The policy rules the host out before it is dialed. */
void connection_report_unusable(const struct connection *connection, const struct route_host *host,
                                const struct tls_requirement *requirement);

#endif
