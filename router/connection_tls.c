/* STARTTLS on a connection: the key into the session cache, the handshake, what its failure leads
 * to. Which level is needed and where plaintext may go is tls/policy.c's to say. */
#include "router/connection.h"

#include <string.h>

static struct session_key make_key(const struct connection *connection)
{
    const struct worker_services *services = connection->worker->services;
    const struct route_host *host = dialed_host(connection->route, connection->at);
    const struct host_address *address = dialed_address(connection->route, connection->at);
    enum session_scope scope = services->config->tls.scope;
    bool named = scope != SESSION_SCOPE_SITE && !host->is_literal;
    struct session_key_parts parts = {
        .scope = scope,
        .port = connection->route->port,
        .level = connection->delivery->tls_level,
        .sni = named ? bytes_of(host->name) : bytes_make(NULL, 0),
        .settings_digest = bytes_make(services->tls_context->settings_digest,
                                      sizeof services->tls_context->settings_digest),
    };
    if (scope != SESSION_SCOPE_SITE)
        parts.peer_name = bytes_of(connection->session.capabilities.peer_name);
    if (scope == SESSION_SCOPE_ADDRESS)
        parts.destination = bytes_make(address->octets, address->family == 4 ? 4 : 16);
    else
        parts.destination =
            bytes_of(scope == SESSION_SCOPE_HOST ? host->name : connection->site->key);
    return session_key_make(&parts);
}

void connection_start_tls(struct connection *connection)
{
    const struct worker_services *services = connection->worker->services;
    struct loop *loop = &connection->worker->loop;
    const struct route_host *host = dialed_host(connection->route, connection->at);
    bool named = services->config->tls.scope != SESSION_SCOPE_SITE && !host->is_literal;
    if (channel_has_unread(&connection->channel)) {
        connection_lose(connection, TROUBLE_INJECTION, NULL);
        connection_pump(connection);
        return;
    }
    struct channel_tls_params params = {
        .context = services->tls_context,
        .cache = services->session_cache,
        .key = make_key(connection),
        .level = connection->delivery->tls_level,
        .label = connection->label,
        .sni = named ? host->name : NULL,
        .offer_session = !connection->full_handshake_forced,
    };
    connection->state = CONNECTION_HANDSHAKE;
    loop_arm(loop, &connection->timer, services->config->smtp.starttls_timeout_ms);
    channel_start_tls(&connection->channel, &params, loop->now_ms);
    connection->offered_session = connection->channel.offered != NULL;
    connection_continue_tls(connection);
}

void connection_continue_tls(struct connection *connection)
{
    struct loop *loop = &connection->worker->loop;
    struct channel *channel = &connection->channel;
    switch (channel_handshake(channel, loop->now_ms, &connection->tls)) {
    case CHANNEL_WANT_READ:
        loop_set_events(loop, &connection->watch, LOOP_READ);
        return;
    case CHANNEL_WANT_WRITE:
        loop_set_events(loop, &connection->watch, LOOP_READ | LOOP_WRITE);
        return;
    case CHANNEL_OK:
        break;
    case CHANNEL_CLOSED:
        connection_tls_failed(connection, "the peer closed the connection in the handshake");
        return;
    case CHANNEL_FAILED:
        connection_tls_failed(connection, channel_error(channel));
        return;
    }
    connection->has_tls = true;
    if (connection->transcribes)
        transcript_note(&connection->transcript, loop->now_us, "%s, %s%s", connection->tls.version,
                        connection->tls.cipher, connection->tls.resumed ? ", resumed" : "");
    connection->state = CONNECTION_TALKING;
    connection->want = smtp_session_tls_done(&connection->session, &connection->out, loop->now_ms);
    connection_pump(connection);
}

static void dial_again(struct connection *connection)
{
    connection_drop_session(connection);
    connection->state = CONNECTION_DIALING;
    dialer_redial(&connection->dialer, connection->at);
}

void connection_tls_failed(struct connection *connection, const char *why)
{
    const struct worker_services *services = connection->worker->services;
    int64_t now_ms = connection->worker->loop.now_ms;
    if (connection->transcribes)
        transcript_note(&connection->transcript, connection->worker->loop.now_us,
                        "TLS handshake failed: %s", why);
    if (connection->offered_session && !connection->full_handshake_forced) {
        /* The ticket may be to blame: a full handshake decides, and no failure is counted yet. */
        connection->full_handshake_forced = true;
        dial_again(connection);
        return;
    }
    struct outcome failure = outcome_from_trouble(PHASE_TLS, TROUBLE_TLS_FAILED, why);
    tls_broken_hosts_failed(services->broken_hosts, connection->label, now_ms);
    int64_t since = tls_broken_hosts_since(services->broken_hosts, connection->label, now_ms);
    enum tls_action action =
        tls_policy_decide(connection->delivery->tls_level, TLS_HANDSHAKE_FAILED, since,
                          services->config->retry.minimum_ms, now_ms);
    if (action == TLS_ACTION_PLAINTEXT) {
        connection->plaintext_forced = true;
        dial_again(connection);
        return;
    }
    connection_note_failure(connection, &failure);
    connection_leave_host(connection);
}
