/* TLS on a connection: what the policy demands of the host, the key into the session cache, the
 * handshake, what its failure leads to. What is needed and where plaintext may go is
 * tls/policy.c's to say. */
#include "base/clock.h"
#include "router/connection_report.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { BROKEN_KEY_MAX = sizeof((struct connection *)0)->label + 2 * 8 + 1 };

static struct tls_context *context_of(const struct connection *connection)
{
    return connection->snapshot->tls_contexts[connection->settings->tls.identity];
}

/* The memory of broken TLS knows a host by address and by the settings of the handshake: what
 * fails with those of one destination (a version that the host lacks) may work with all others. */
static void broken_key(const struct connection *connection, char out[BROKEN_KEY_MAX])
{
    uint64_t settings;
    memcpy(&settings, context_of(connection)->settings_digest, sizeof settings);
    snprintf(out, BROKEN_KEY_MAX, "%s %016" PRIx64, connection->label, settings);
}

static struct tls_fallback fallback_of(struct connection *connection)
{
    const struct worker_services *services = connection->worker->services;
    char key[BROKEN_KEY_MAX];
    broken_key(connection, key);
    return (struct tls_fallback){
        .on_failure = connection->settings->tls.on_failure,
        .broken_since_ms =
            tls_broken_hosts_since(services->broken_hosts, key, connection->worker->loop.now_ms),
        .plaintext_after_ms = connection->snapshot->config->retry.minimum_ms,
    };
}

void connection_skip_hosts(struct connection *connection)
{
    for (size_t i = 0; i < connection->route->num_hosts; i++) {
        struct tls_requirement requirement;
        delivery_tls_requirement(connection->delivery, &connection->route->hosts[i], &requirement);
        if (!requirement.unusable)
            continue;
        dialer_skip_host(&connection->dialer, i);
        connection_report_unusable(connection, &connection->route->hosts[i], &requirement);
        struct outcome unusable = delivery_tls_unusable(&requirement);
        connection_note_unsuitable(connection, (struct dialed){.host = (uint8_t)i}, &unusable);
    }
}

bool connection_wants_tls(struct connection *connection)
{
    delivery_tls_requirement(connection->delivery, dialed_host(connection->route, connection->at),
                             &connection->requirement);
    struct tls_fallback fallback = fallback_of(connection);
    return !connection->plaintext_forced &&
           tls_policy_wants_tls(&connection->requirement, &fallback,
                                connection->worker->loop.now_ms);
}

struct outcome connection_tls_fits(struct connection *connection)
{
    struct tls_requirement requirement;
    delivery_tls_requirement(connection->delivery, dialed_host(connection->route, connection->at),
                             &requirement);
    return delivery_tls_fits(&requirement, connection->has_tls, connection->tls.proof);
}

/* Hosts of a site share sessions only where nothing is checked about any one of them. */
static enum session_scope scope_of(const struct connection *connection)
{
    enum session_scope scope = connection->settings->tls.session.scope;
    bool checks = connection->requirement.checks || connection->requirement.wishes;
    return scope == SESSION_SCOPE_SITE && checks ? SESSION_SCOPE_HOST : scope;
}

static struct session_key make_key(const struct connection *connection,
                                   const struct tls_context *context, enum session_scope scope,
                                   const char *sni)
{
    const struct route_host *host = dialed_host(connection->route, connection->at);
    const struct host_address *address = dialed_address(connection->route, connection->at);
    uint8_t proof[TLS_PROOF_LEN];
    tls_proof_make(&connection->requirement, false, proof);
    struct session_key_parts parts = {
        .scope = scope,
        .port = connection->route->port,
        .mandatory = connection->requirement.mandatory,
        .proof = bytes_make(proof, sizeof proof),
        .sni = bytes_of(sni),
        .settings_digest = bytes_make(context->settings_digest, sizeof context->settings_digest),
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
    const struct tls_settings *settings = &connection->settings->tls;
    struct loop *loop = &connection->worker->loop;
    if (channel_has_unread(&connection->channel)) {
        connection_lose(connection, TROUBLE_INJECTION, NULL);
        connection_pump(connection);
        return;
    }
    enum session_scope scope = scope_of(connection);
    const char *sni = scope == SESSION_SCOPE_SITE
                          ? NULL
                          : delivery_tls_sni(&connection->requirement,
                                             dialed_host(connection->route, connection->at));
    struct tls_context *context = context_of(connection);
    struct channel_tls_params params = {
        .context = context,
        .cache = settings->session.enabled ? services->session_cache : NULL,
        .destination = {.key = make_key(connection, context, scope, sni),
                        .label = connection->label,
                        .limits = settings->session.limits},
        .requirement = &connection->requirement,
        .now_wall_s = clock_wall_ms() / 1000,
        .sni = sni,
        .offer_session = !connection->full_handshake_forced,
    };
    connection->state = CONNECTION_HANDSHAKE;
    loop_arm(loop, &connection->timer, connection->snapshot->config->smtp.starttls_timeout_ms);
    channel_start_tls(&connection->channel, &params, loop->now_ms);
    connection->offered_session = connection->channel.offered != NULL;
    connection_continue_tls(connection);
}

static void handshake_done(struct connection *connection)
{
    struct loop *loop = &connection->worker->loop;
    connection->has_tls = true;
    if (connection->transcribes)
        transcript_note(&connection->transcript, loop->now_us, "%s, %s%s, %s (%s)",
                        connection->tls.version, connection->tls.cipher,
                        connection->tls.resumed ? ", resumed" : "",
                        tls_level_name(connection->requirement.level),
                        tls_source_name(connection->requirement.source));
    connection->state = CONNECTION_TALKING;
    connection->want =
        connection->requirement.wrapper
            ? smtp_session_step(&connection->session, bytes_make(NULL, 0), &connection->out,
                                loop->now_ms)
            : smtp_session_tls_done(&connection->session, &connection->out, loop->now_ms);
    connection_pump(connection);
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
        handshake_done(connection);
        return;
    case CHANNEL_CLOSED:
        connection_tls_failed(connection, "the peer closed the connection in the handshake");
        return;
    case CHANNEL_FAILED:
        connection_tls_failed(connection, channel_error(channel));
        return;
    }
}

static void dial_again(struct connection *connection)
{
    connection_drop_session(connection);
    connection->state = CONNECTION_DIALING;
    dialer_redial(&connection->dialer, connection->at);
}

static void remember_failure(const struct connection *connection)
{
    char key[BROKEN_KEY_MAX];
    broken_key(connection, key);
    tls_broken_hosts_failed(connection->worker->services->broken_hosts, key,
                            connection->worker->loop.now_ms);
}

void connection_tls_works(const struct connection *connection)
{
    char key[BROKEN_KEY_MAX];
    broken_key(connection, key);
    tls_broken_hosts_succeeded(connection->worker->services->broken_hosts, key);
}

void connection_tls_failed(struct connection *connection, const char *why)
{
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
    connection_report_handshake_failed(connection, why);
    bool refuses_certificate = connection->channel.verdict.fault != TLS_FAULT_NONE;
    bool bounces = refuses_certificate && connection->requirement.require_tls;
    struct outcome failure = outcome_from_trouble(
        PHASE_TLS, bounces ? TROUBLE_REQUIRETLS_FAILED : TROUBLE_TLS_FAILED, why);
    connection->tls_fault = connection->channel.verdict.fault;
    /* A certificate that one delivery cannot accept does not make the host's TLS broken. */
    if (!refuses_certificate)
        remember_failure(connection);
    struct tls_fallback fallback = fallback_of(connection);
    if (tls_policy_decide(&connection->requirement, TLS_HANDSHAKE_FAILED, &fallback, now_ms) ==
        TLS_ACTION_PLAINTEXT) {
        connection->plaintext_forced = true;
        dial_again(connection);
        return;
    }
    connection_note_failure(connection, connection->at, &failure);
    connection_leave_host(connection);
}
