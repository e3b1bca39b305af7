/* The connection's life: credit, dialing, socket, session, idle time, end; and the pump between
 * channel and session. What happens to deliveries stands in connection_delivery.c, STARTTLS in
 * connection_tls.c. */
#include "router/connection.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* Commands of one portion of a pipelined transaction, with long addresses. */
enum { OUT_MAX = 256 * 1024, READ_CHUNK = 16 * 1024 };

static void on_dialed(struct dialer *dialer, int fd, struct dialed at);
static void on_exhausted(struct dialer *dialer);
static void on_address_failed(struct dialer *dialer, struct dialed at, int error);
static void on_ready(struct loop_fd *watch, unsigned events);
static void on_timer(struct timer *timer, int64_t now_ms);

static struct loop *loop_of(struct connection *connection)
{
    return &connection->worker->loop;
}

static void link_to_worker(struct connection *connection)
{
    struct worker *worker = connection->worker;
    connection->next = worker->connections;
    if (connection->next)
        connection->next->prev = connection;
    worker->connections = connection;
    worker->num_connections++;
}

static void unlink_from_worker(struct connection *connection)
{
    struct worker *worker = connection->worker;
    if (connection->prev)
        connection->prev->next = connection->next;
    else
        worker->connections = connection->next;
    if (connection->next)
        connection->next->prev = connection->prev;
    worker->num_connections--;
}

void connection_open(struct worker *worker, struct site *site)
{
    struct delivery *delivery = site_pool_take(worker->services->site_pool, site, SITE_TAKER_NEW);
    if (!delivery || !worker_may_begin(worker, delivery)) {
        site_pool_close_connection(worker->services->site_pool, site, false, worker->loop.now_ms);
        return;
    }
    struct connection *connection = mem_zalloc(1, sizeof *connection);
    connection->worker = worker;
    connection->site = site;
    connection->fd = connection->content_fd = -1;
    connection->watch = (struct loop_fd){.fd = -1, .on_ready = on_ready};
    timer_init(&connection->timer, on_timer);
    buffer_init(&connection->out, OUT_MAX);
    connection->snapshot = config_snapshot_ref(delivery->snapshot);
    connection->settings = delivery->settings;
    dialer_init(&connection->dialer, &worker->loop, connection->snapshot->config);
    connection->dialer.on_connected = on_dialed;
    connection->dialer.on_exhausted = on_exhausted;
    connection->dialer.on_failed = on_address_failed;
    link_to_worker(connection);
    connection->delivery = delivery;
    delivery->trace.stamps.taken_us = worker->loop.now_us;
    connection_begin_attempt(connection);
}

static void forget_wait(struct connection *connection)
{
    if (connection->wait)
        connection->wait->connection = NULL; /* it is freed when it comes back */
    connection->wait = NULL;
}

/* Everything that belongs to one socket, so that the connection may go on to another host. */
void connection_drop_session(struct connection *connection)
{
    loop_cancel(loop_of(connection), &connection->timer);
    if (connection->ready)
        site_pool_session_lost(connection->site);
    connection->ready = false;
    if (connection->session_open) {
        smtp_session_fini(&connection->session);
        channel_fini(&connection->channel);
        if (connection->transcribes)
            transcript_finish(&connection->transcript, connection->worker->services->transcript);
    }
    connection->session_open = false;
    loop_unwatch(loop_of(connection), &connection->watch);
    if (connection->fd >= 0)
        close(connection->fd);
    connection->fd = -1;
    connection->has_tls = false;
    connection->num_deliveries = 0;
    forget_wait(connection);
    connection->intent = INTENT_NONE;
    connection->body = bytes_make(NULL, 0);
    buffer_fini(&connection->out);
}

static void free_connection(struct loop_garbage *garbage)
{
    struct connection *connection = container_of(garbage, struct connection, garbage);
    config_snapshot_unref(connection->snapshot);
    free(connection);
}

static void leave_idle_list(struct connection *connection)
{
    struct connection **link = &connection->site->wakes[connection->worker->index].idle_first;
    while (*link != connection)
        link = &(*link)->idle_next;
    *link = connection->idle_next;
}

void connection_close(struct connection *connection)
{
    struct worker *worker = connection->worker;
    CHECK(connection->state != CONNECTION_CLOSED && !connection->delivery);
    if (connection->state == CONNECTION_IDLE) {
        leave_idle_list(connection);
        /* When a delivery was promised to it already, the wake-up under way finds nobody and says
         * so. */
        (void)site_pool_leave_idle(connection->site, worker->index);
    }
    connection->state = CONNECTION_CLOSED;
    dialer_stop(&connection->dialer);
    connection_drop_session(connection);
    if (connection->content_fd >= 0)
        close(connection->content_fd);
    route_unref(connection->route);
    connection->route = NULL;
    site_pool_close_connection(worker->services->site_pool, connection->site, false,
                               worker->loop.now_ms);
    unlink_from_worker(connection);
    loop_free_later(&worker->loop, &connection->garbage, free_connection);
    worker_connection_gone(worker);
}

static void on_address_failed(struct dialer *dialer, struct dialed at, int error)
{
    struct connection *connection = container_of(dialer, struct connection, dialer);
    char address[46];
    char detail[OUTCOME_TEXT_MAX];
    host_address_format(dialed_address(connection->route, at), address);
    snprintf(detail, sizeof detail, "%s[%s]:%u: %s", dialed_host(connection->route, at)->name,
             address, connection->route->port, strerror(error));
    struct outcome failure = outcome_from_trouble(PHASE_CONNECT, trouble_of_connect(error), detail);
    if (pause_error_is_a_limit(error))
        connection->limit_error = error;
    connection_note_failure(connection, at, &failure);
}

static void on_exhausted(struct dialer *dialer)
{
    connection_no_host_left(container_of(dialer, struct connection, dialer));
}

static void on_dialed(struct dialer *dialer, int fd, struct dialed at)
{
    struct connection *connection = container_of(dialer, struct connection, dialer);
    bool again = at.host == connection->at.host && at.address == connection->at.address;
    if (!again)
        connection->plaintext_forced = connection->full_handshake_forced = false;
    connection->at = at;
    connection_use_socket(connection, fd);
}

static void on_line(void *ctx, char direction, struct bytes line)
{
    struct connection *connection = ctx;
    transcript_line(&connection->transcript, connection->worker->loop.now_us, direction, line);
}

static void name_session(struct connection *connection)
{
    char address[46];
    host_address_format(dialed_address(connection->route, connection->at), address);
    snprintf(connection->label, sizeof connection->label, "%s [%s]:%u",
             dialed_host(connection->route, connection->at)->name, address,
             connection->route->port);
}

void connection_use_socket(struct connection *connection, int fd)
{
    const struct worker_services *services = connection->worker->services;
    struct loop *loop = loop_of(connection);
    connection->fd = fd;
    connection->state = CONNECTION_TALKING;
    name_session(connection);
    channel_init(&connection->channel, fd);
    buffer_init(&connection->out, OUT_MAX);
    bool transcribes = services->transcript && connection->settings->transcript;
    connection->transcribes = transcribes;
    if (transcribes)
        transcript_init(&connection->transcript, connection->label, clock_wall_us(), loop->now_us);
    const struct auth_settings *auth = &connection->settings->auth;
    struct smtp_session_params params = {
        .helo_name = services->config->hostname,
        .transport = connection->route->transport,
        .want_tls = connection_wants_tls(connection),
        .require_tls = connection->requirement.mandatory,
        .is_wrapped = connection->requirement.wrapper,
        .requiretls = connection->requirement.require_tls,
        .auth = auth_is_wanted(auth) ? auth : NULL,
        .auth_verified = connection->requirement.checks != 0,
        .config = connection->snapshot->config,
        .on_line = transcribes ? on_line : NULL,
        .on_line_ctx = connection,
    };
    smtp_session_init(&connection->session, &params, loop->now_ms);
    connection->session_open = true;
    if (!loop_watch(loop, &connection->watch, fd, LOOP_READ)) {
        struct outcome failure =
            outcome_from_trouble(PHASE_CONNECT, TROUBLE_CONNECT_FAILED, strerror(errno));
        connection_note_failure(connection, connection->at, &failure);
        connection_leave_host(connection);
        return;
    }
    if (connection->requirement.wrapper) {
        connection_start_tls(connection);
        return;
    }
    connection->want = smtp_session_step(&connection->session, bytes_make(NULL, 0),
                                         &connection->out, loop->now_ms);
    connection_pump(connection);
}

/* TLS that was demanded by the recipient domain or by the message says nothing of the site's other
 * mail, so the site must not be suspended by it. */
static bool is_of_delivery_alone(const struct connection *connection, const struct outcome *failure)
{
    enum tls_source source = connection->requirement.source;
    return (failure->phase == PHASE_STARTTLS || failure->phase == PHASE_TLS) &&
           (source == TLS_SOURCE_STS || source == TLS_SOURCE_MESSAGE ||
            connection->requirement.require_tls);
}

void connection_note_unsuitable(struct connection *connection, struct dialed at,
                                const struct outcome *unsuitable)
{
    bool may_pass = connection->num_unsuitable && connection->unsuitable.kind == OUTCOME_DEFERRED;
    if (!may_pass || unsuitable->kind == OUTCOME_DEFERRED) {
        connection->unsuitable = *unsuitable;
        connection->unsuitable_at = at;
    }
    connection->num_unsuitable++;
}

void connection_note_failure(struct connection *connection, struct dialed at,
                             const struct outcome *failure)
{
    if (is_of_delivery_alone(connection, failure)) {
        connection_note_unsuitable(connection, at, failure);
        return;
    }
    connection->failure = *failure;
    connection->failed_at = at;
    connection->num_failures++;
}

void connection_leave_host(struct connection *connection)
{
    connection_drop_session(connection);
    connection->plaintext_forced = connection->full_handshake_forced = false;
    connection->state = CONNECTION_DIALING;
    dialer_go(&connection->dialer);
}

static void wait_for(struct connection *connection, unsigned events)
{
    loop_set_events(loop_of(connection), &connection->watch, events);
    timer_arm(&loop_of(connection)->timers, &connection->timer, connection->session.deadline_ms);
}

void connection_lose(struct connection *connection, enum trouble trouble, const char *detail)
{
    smtp_session_trouble(&connection->session, trouble, detail);
    connection->want = SMTP_WANT_CLOSE;
    if (connection->intent == INTENT_STORED)
        return;
    /* MAIL to BDAT may stand there, whose intent is not durable and whose content will not follow.
     */
    forget_wait(connection);
    connection->intent = INTENT_NONE;
    buffer_clear(&connection->out);
}

/* Moves commands into the channel, which sends only what it has no room for. */
static enum channel_status put_out(struct connection *connection)
{
    struct channel *channel = &connection->channel;
    size_t taken = 0;
    while (connection->out.len) {
        enum channel_status status = channel_write(channel, buffer_bytes(&connection->out), &taken);
        if (status == CHANNEL_OK)
            buffer_consume(&connection->out, taken);
        else if (status != CHANNEL_WANT_WRITE)
            return status;
        else if ((status = channel_flush(channel)) != CHANNEL_OK)
            return status;
    }
    return CHANNEL_OK;
}

/* OK: nothing is left unsent. */
static enum channel_status send_out(struct connection *connection)
{
    struct channel *channel = &connection->channel;
    enum channel_status status = put_out(connection);
    return status == CHANNEL_OK && channel_has_unsent(channel) ? channel_flush(channel) : status;
}

/* True when the session was fed. */
static bool read_some(struct connection *connection)
{
    uint8_t chunk[READ_CHUNK];
    size_t len = 0;
    struct loop *loop = loop_of(connection);
    enum channel_status status =
        channel_read(&connection->channel, chunk, sizeof chunk, loop->now_ms, &len);
    switch (status) {
    case CHANNEL_OK:
        connection->want = smtp_session_step(&connection->session, bytes_make(chunk, len),
                                             &connection->out, loop->now_ms);
        return true;
    case CHANNEL_WANT_READ:
    case CHANNEL_WANT_WRITE:
        return false;
    case CHANNEL_CLOSED:
        connection_lose(connection, TROUBLE_LOST, "the peer closed the connection");
        return true;
    case CHANNEL_FAILED:
        connection_lose(connection, TROUBLE_LOST, channel_error(&connection->channel));
        return true;
    }
    return false;
}

/* Commands out, replies in. True when the session's want may have changed. Reading goes on while
 * writing waits, so that two full buffers cannot wait for each other (RFC 2920 3.1). */
static bool pump_commands(struct connection *connection)
{
    enum channel_status sent = send_out(connection);
    if (sent == CHANNEL_FAILED || sent == CHANNEL_CLOSED) {
        /* What the peer said before it closed is worth more than our EPIPE. */
        if (!read_some(connection))
            connection_lose(connection, TROUBLE_LOST, channel_error(&connection->channel));
        return true;
    }
    if (read_some(connection))
        return true;
    wait_for(connection, LOOP_READ | (sent == CHANNEL_WANT_WRITE ? LOOP_WRITE : 0u));
    return false;
}

static bool next_body(struct connection *connection)
{
    if (connection->want_after_body != SMTP_WANT_BODY)
        return false;
    connection->body = smtp_session_next_body(&connection->session, &connection->want_after_body);
    return true;
}

static enum channel_status flush_body(struct connection *connection)
{
    size_t before = channel_unsent_len(&connection->channel);
    enum channel_status status = channel_flush(&connection->channel);
    if (channel_unsent_len(&connection->channel) < before)
        smtp_session_body_progress(&connection->session, loop_of(connection)->now_ms);
    return status;
}

/* Moves content into the channel, as much as it holds. OK: all of it is there, or no more is to be
 * sent. */
static enum channel_status fill_channel(struct connection *connection)
{
    enum channel_status status = CHANNEL_OK;
    size_t taken = 0;
    while (status == CHANNEL_OK && (connection->body.len > 0 || next_body(connection))) {
        status = channel_write(&connection->channel, connection->body, &taken);
        connection->body = bytes_from(connection->body, taken);
    }
    return status;
}

/* Content out, one channelful a turn of the loop: a socket that takes all at once must keep neither
 * the peer's words nor other connections waiting. OK: all of it has left, or no more is to. */
static enum channel_status send_body(struct connection *connection)
{
    enum channel_status filled = fill_channel(connection);
    if (filled == CHANNEL_FAILED || connection->want_after_body == SMTP_WANT_CLOSE)
        return filled;
    enum channel_status sent = flush_body(connection);
    return sent == CHANNEL_OK ? filled : sent;
}

/* Hears what the peer has to say about content that it has not got yet. True when that ends the
 * session. */
static bool hear_early_end(struct connection *connection)
{
    bool more = true;
    while (more && connection->want == SMTP_WANT_BODY)
        more = read_some(connection);
    return connection->want != SMTP_WANT_BODY;
}

/* Content out, behind the commands of the same flight; early replies in (as pump_commands()). True
 * when the session's want has changed. */
static bool pump_body(struct connection *connection)
{
    if (connection->out.len && !connection->session.one_flight) {
        connection_lose(connection, TROUBLE_BROKEN_REPLY, "354 before DATA has left");
        return true;
    }
    enum channel_status sent = put_out(connection);
    if (sent == CHANNEL_OK)
        sent = send_body(connection);
    if (sent == CHANNEL_OK) {
        connection->delivery->trace.stamps.content_us = loop_of(connection)->now_us;
        connection->want = connection->want_after_body;
        if (connection->want == SMTP_WANT_READ)
            connection->want =
                smtp_session_body_sent(&connection->session, loop_of(connection)->now_ms);
        return true;
    }
    if (hear_early_end(connection))
        return true;
    if (sent == CHANNEL_FAILED || sent == CHANNEL_CLOSED) {
        connection_lose(connection, TROUBLE_LOST, channel_error(&connection->channel));
        return true;
    }
    wait_for(connection, LOOP_READ | LOOP_WRITE);
    return false;
}

void connection_say_goodbye(struct connection *connection)
{
    if (connection->want == SMTP_WANT_IDLE)
        connection->want = smtp_session_quit(&connection->session, &connection->out);
    /* QUIT is not waited for: it leaves if the socket takes it now. */
    if (connection->out.len)
        (void)send_out(connection);
}

/* True when the session's want may have changed. */
static bool may_send_content(struct connection *connection)
{
    switch (connection_begins_content(connection)) {
    case INTENT_STORED:
        return pump_body(connection);
    case INTENT_WAITS:
        /* Deaf meanwhile: what the peer says now is heard in connection_committed(). */
        wait_for(connection, 0);
        return false;
    case INTENT_NONE:
        break;
    }
    return true;
}

void connection_committed(struct connection *connection, int error)
{
    CHECK(connection->intent == INTENT_WAITS);
    connection->wait = NULL;
    if (error)
        connection_lose(connection, TROUBLE_NOT_RECORDED, strerror(error));
    else if (!hear_early_end(connection))
        connection->intent = INTENT_STORED;
    else
        buffer_clear(&connection->out); /* as connection_lose() */
    connection_pump(connection);
}

/* Drives the session until it waits for the network or the connection is done with. */
void connection_pump(struct connection *connection)
{
    bool goes_on = true;
    while (goes_on && connection->session_open) {
        switch (connection->want) {
        case SMTP_WANT_READ:
            goes_on = pump_commands(connection);
            break;
        case SMTP_WANT_BODY:
            goes_on = may_send_content(connection);
            break;
        case SMTP_WANT_TLS:
            connection_start_tls(connection);
            return;
        case SMTP_WANT_IDLE:
        case SMTP_WANT_CLOSE:
            goes_on = connection_transaction_ended(connection);
            break;
        }
    }
}

static void on_ready(struct loop_fd *watch, unsigned events)
{
    (void)events;
    struct connection *connection = container_of(watch, struct connection, watch);
    if (connection->state == CONNECTION_HANDSHAKE)
        connection_continue_tls(connection);
    else if (connection->intent == INTENT_WAITS) {
        /* Asked for nothing, so this is an error or a hang-up, and nothing was sent. */
        connection_lose(connection, TROUBLE_LOST, "the peer closed the connection");
        connection_pump(connection);
    } else if (connection->state == CONNECTION_IDLE) {
        /* Nothing is expected: a ticket is read and forgotten, 421 or EOF ends it without
         * consequence. */
        if (read_some(connection) && connection->want != SMTP_WANT_IDLE)
            connection_close(connection);
    } else {
        connection_pump(connection);
    }
}

static void on_timer(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    struct connection *connection = container_of(timer, struct connection, timer);
    if (connection->state == CONNECTION_HANDSHAKE) {
        connection_tls_failed(connection, "the handshake took too long");
        return;
    }
    if (connection->state == CONNECTION_IDLE) {
        connection_say_goodbye(connection);
        connection_close(connection);
        return;
    }
    connection_lose(connection, TROUBLE_TIMEOUT, NULL);
    connection_pump(connection);
}

void connection_serve(struct connection *connection)
{
    CHECK(connection->state == CONNECTION_IDLE);
    leave_idle_list(connection);
    connection->state = CONNECTION_TALKING;
    if (connection_take_next(connection, SITE_TAKER_PROMISED))
        connection_pump(connection);
}

void connection_stop(struct connection *connection, bool now)
{
    bool in_transaction = connection->session_open && connection->session.delivery;
    if (in_transaction && !now)
        return;
    if (in_transaction) {
        connection_lose(connection, TROUBLE_SHUTDOWN, NULL);
        connection_pump(connection);
        return;
    }
    if (connection->delivery) {
        struct outcome why = outcome_from_trouble(PHASE_QUEUE, TROUBLE_SHUTDOWN, NULL);
        worker_return_delivery(connection->worker, connection->delivery, &why);
        connection->delivery = NULL;
    }
    if (connection->state == CONNECTION_IDLE) {
        connection_say_goodbye(connection);
    }
    connection_close(connection);
}
