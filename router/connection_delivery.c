/* A connection and its deliveries: taking one, beginning its transaction, what its end leads to.
 * It moves no octets: connection.c does. Outcomes come from the session and the table, never from
 * here. */
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "router/connection_report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* How often a delivery may lose a reused connection before content without an attempt being
 * counted. */
enum { RESTARTS_MAX = 3 };

/* All that was known of hosts was of another attempt, perhaps in another route. */
static void prepare_attempt(struct connection *connection)
{
    struct delivery *delivery = connection->delivery;
    route_unref(connection->route);
    connection->route = route_ref(delivery->route);
    connection->at = (struct dialed){0};
    connection->failure = connection->unsuitable = (struct outcome){0};
    connection->failed_at = connection->unsuitable_at = (struct dialed){0};
    connection->num_failures = connection->num_unsuitable = 0;
    connection->limit_error = 0;
    connection->tls_fault = TLS_FAULT_NONE;
    connection->plaintext_forced = connection->full_handshake_forced = false;
    connection->state = CONNECTION_DIALING;
    dialer_reset(&connection->dialer, connection->route, site_pool_family(connection->site));
    connection_skip_hosts(connection);
}

void connection_begin_attempt(struct connection *connection)
{
    prepare_attempt(connection);
    dialer_go(&connection->dialer);
}

static bool delivery_has_outcome(const struct delivery *delivery)
{
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        if (delivery->recipients[i].outcome.kind != OUTCOME_NONE)
            return true;
    return false;
}

static void fill_outcomes(struct delivery *delivery, const struct outcome *outcome)
{
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        if (delivery->recipients[i].outcome.kind == OUTCOME_NONE)
            delivery->recipients[i].outcome = *outcome;
}

static void trace_sts(const struct connection *connection,
                      const struct tls_requirement *requirement, struct delivery_trace *trace)
{
    const struct outcome *failure = connection->unsuitable.kind != OUTCOME_NONE
                                        ? &connection->unsuitable
                                        : &connection->failure;
    const struct delivery_tls_state state = {
        .has_session = connection->session_open,
        .has_tls = connection->has_tls,
        .fault = connection->tls_fault,
        .wish = connection->has_tls ? connection->tls.verdict.wish : TLS_FAULT_NONE,
        .failed_in = failure->phase,
    };
    trace->sts_mode = NULL;
    if (!requirement->sts)
        return;
    trace->sts_mode = sts_mode_name(requirement->sts->mode);
    trace->sts_result = delivery_sts_result(requirement, &state);
    memcpy(trace->sts_id, requirement->sts->id, sizeof trace->sts_id);
}

/* Where the attempt ended: the outcome's text speaks of the same host. */
static struct dialed place_of(const struct connection *connection)
{
    if (connection->session_open)
        return connection->at;
    return connection->num_failures ? connection->failed_at : connection->unsuitable_at;
}

/* Where it took place, for the log. */
static void fill_trace(struct connection *connection, struct delivery *delivery)
{
    struct delivery_trace *trace = &delivery->trace;
    trace->stamps.done_us = connection->worker->loop.now_us;
    trace->attempts_on_hosts = connection->dialer.num_sessions;
    if (connection->num_failures + connection->num_unsuitable == 0 && !connection->session_open)
        return;
    struct dialed at = place_of(connection);
    const struct route_host *host = dialed_host(connection->route, at);
    snprintf(trace->mx, sizeof trace->mx, "%s", host->name);
    /* A host that policy rules out is named, but nobody went to its address. */
    if (connection->session_open || connection->num_failures || connection->dialer.num_sessions) {
        trace->address = *dialed_address(connection->route, at);
        trace->port = connection->route->port;
    }
    struct tls_requirement requirement;
    delivery_tls_requirement(delivery, host, &requirement);
    trace->tls_level = tls_level_name(requirement.level);
    trace->tls_source = tls_source_name(requirement.source);
    trace_sts(connection, &requirement, trace);
    if (!connection->session_open)
        return;
    trace->tls_version = connection->has_tls ? connection->tls.version : NULL;
    trace->tls_cipher = connection->has_tls ? connection->tls.cipher : NULL;
    trace->tls_resumed = connection->has_tls && connection->tls.resumed;
    trace->tls_verified = connection->has_tls && requirement.checks != 0;
    trace->reused = connection->num_deliveries > 0;
    trace->sent_len = connection->in_transaction ? connection->session.body_len : 0;
}

static void close_content(struct connection *connection)
{
    if (connection->content_fd >= 0)
        close(connection->content_fd);
    connection->content_fd = -1;
}

/* Feedback for the site: a receiver that answered works, whatever it said of the recipients; one
 * that hung up, stalled or said 421 wants less. */
static void tell_site(struct connection *connection, const struct delivery *delivery)
{
    struct site_pool *pool = connection->worker->services->site_pool;
    bool answered = false;
    bool troubled = connection->session_open && connection->session.said_421;
    for (uint32_t i = 0; i < delivery->num_recipients; i++) {
        const struct outcome *outcome = &delivery->recipients[i].outcome;
        answered |= outcome->code != 0 && outcome->code != 421;
        troubled |= outcome->code == 0 && outcome->phase >= PHASE_MAIL;
    }
    if (troubled)
        site_pool_slow_down(connection->site);
    else if (answered)
        site_pool_succeeded(pool, connection->site, connection->worker->loop.now_ms);
}

static void finish_delivery(struct connection *connection)
{
    struct delivery *delivery = connection->delivery;
    fill_trace(connection, delivery);
    close_content(connection);
    connection->delivery = NULL;
    connection->in_transaction = false;
    connection->num_deliveries++;
    worker_finish_delivery(connection->worker, delivery);
}

/* No socket could be had: that says nothing of any host, and the attempt has not begun. */
static void give_back_untried(struct connection *connection)
{
    struct worker *worker = connection->worker;
    struct outcome why = connection->failure;
    pauses_begin(worker->services->pauses, PAUSE_LIMITS, connection->limit_error, clock_wall_ms());
    worker_return_delivery(worker, connection->delivery, &why);
    connection->delivery = NULL;
    connection_close(connection);
}

/* RFC 8689 5: nobody would hear of a report that is lost for want of REQUIRETLS. */
static bool waives_requiretls(struct delivery *delivery, const struct outcome *outcome)
{
    bool is_report = delivery->message->envelope.sender.mailbox[0] == '\0';
    if (!is_report || !delivery_requires_tls(delivery) || !outcome_is_for_requiretls(outcome))
        return false;
    delivery->requiretls_waived = true;
    return true;
}

void connection_no_host_left(struct connection *connection)
{
    struct worker *worker = connection->worker;
    struct delivery *delivery = connection->delivery;
    if (connection->limit_error && !delivery_has_outcome(delivery)) {
        give_back_untried(connection);
        return;
    }
    bool unsuitable = connection->num_failures == 0 && connection->num_unsuitable > 0;
    struct outcome failure = unsuitable ? connection->unsuitable : connection->failure;
    if (unsuitable && waives_requiretls(delivery, &failure)) {
        connection_begin_attempt(connection);
        return;
    }
    /* A host's refusal to talk to us at all says nothing final about a recipient. */
    if (!unsuitable)
        failure.kind = OUTCOME_DEFERRED;
    fill_outcomes(delivery, &failure);
    struct delivery *backlog = NULL;
    if (!unsuitable)
        backlog = site_pool_failed(worker->services->site_pool, connection->site, &failure,
                                   worker->loop.now_ms);
    while (backlog) {
        struct delivery *untried = backlog;
        backlog = untried->next;
        worker_return_delivery(worker, untried, &failure);
    }
    finish_delivery(connection);
    connection_close(connection);
}

/* Opens a file whose content did not fit the memory budget. False: outcomes are set. */
static bool open_content(struct connection *connection, struct delivery *delivery)
{
    const struct message *message = delivery->message;
    if (message->content.file.at)
        return true;
    struct spool_file file;
    int error =
        -spool_open_message(connection->worker->services->spool, message->path, false, &file);
    if (error == 0 && file_identity_equal(&file.identity, &message->identity)) {
        connection->content_fd = file.fd;
        return true;
    }
    if (error == 0)
        close(file.fd);
    enum trouble trouble = error == ENOENT ? TROUBLE_FILE_GONE
                           : error         ? TROUBLE_FILE_READ
                                           : TROUBLE_FILE_CHANGED;
    struct outcome outcome =
        outcome_from_trouble(PHASE_QUEUE, trouble, error ? strerror(error) : NULL);
    if (pause_error_is_a_limit(error)) {
        pauses_begin(connection->worker->services->pauses, PAUSE_LIMITS, error, clock_wall_ms());
        outcome.kind = OUTCOME_RETURNED;
    }
    fill_outcomes(delivery, &outcome);
    return false;
}

/* The place of the session's host and address in a route. */
static bool find_in_route(const struct route *route, const struct route_host *host,
                          const struct host_address *address, struct dialed *out)
{
    for (uint8_t h = 0; h < route->num_hosts; h++) {
        const struct route_host *candidate = &route->hosts[h];
        if (strcmp(candidate->name, host->name) != 0)
            continue;
        for (uint8_t a = 0; a < candidate->num_addresses; a++) {
            if (!host_address_equal(&candidate->addresses[a], address))
                continue;
            *out = (struct dialed){h, a};
            return true;
        }
    }
    return false;
}

/* Domains of a site share hosts, and not what DNS vouches for on the way to them: signed MX and
 * TLSA records hold for the domain that has them. So the session goes on in the route of the
 * delivery that it is to carry, never in that of the one which opened it. False: that route does
 * not lead here. */
static bool join_route(struct connection *connection)
{
    struct route *route = connection->delivery->route;
    struct dialed at;
    if (connection->route == route)
        return true;
    if (!find_in_route(route, dialed_host(connection->route, connection->at),
                       dialed_address(connection->route, connection->at), &at))
        return false;
    route_unref(connection->route);
    connection->route = route_ref(route);
    connection->at = at;
    dialer_use_route(&connection->dialer, route);
    return true;
}

/* The session is ready for MAIL. True when there is something to pump. */
static bool begin_transaction(struct connection *connection)
{
    struct delivery *delivery = connection->delivery;
    struct loop *loop = &connection->worker->loop;
    bool leads_here = join_route(connection);
    struct outcome misfit = connection_tls_fits(connection);
    if (misfit.kind == OUTCOME_NONE)
        misfit = smtp_session_fits(&connection->session, delivery);
    bool misfits = (!leads_here || misfit.kind != OUTCOME_NONE) && connection->num_deliveries > 0;
    if (misfits || smtp_session_is_spent(&connection->session, delivery)) {
        /* This session was made for others: the delivery gets one of its own. */
        connection_say_goodbye(connection);
        connection_drop_session(connection);
        connection_begin_attempt(connection);
        return false;
    }
    if (misfit.kind != OUTCOME_NONE) {
        connection_note_unsuitable(connection, connection->at, &misfit);
        connection_say_goodbye(connection);
        connection_leave_host(connection);
        return false;
    }
    if (connection->content_fd < 0 && !open_content(connection, delivery)) {
        finish_delivery(connection);
        return connection_take_next(connection, SITE_TAKER_BUSY);
    }
    if (!delivery->trace.stamps.ready_us)
        delivery->trace.stamps.ready_us = loop->now_us;
    connection->in_transaction = true;
    connection->intent = INTENT_NONE;
    connection->want = smtp_session_begin(&connection->session, delivery, connection->content_fd,
                                          &connection->out, loop->now_ms);
    return true;
}

enum intent_state connection_begins_content(struct connection *connection)
{
    struct worker *worker = connection->worker;
    struct delivery *delivery = connection->delivery;
    const struct message *message = delivery->message;
    if (connection->intent != INTENT_NONE)
        return connection->intent;
    uint32_t num = 0;
    uint32_t *indexes = worker_indexes(worker, delivery->num_recipients);
    for (uint32_t i = 0; i < delivery->num_recipients; i++)
        if (smtp_session_awaits(&connection->session, i))
            indexes[num++] = delivery->recipients[i].index;
    connection->want_after_body = SMTP_WANT_BODY;
    if (!journal_append_intent(worker->services->journal, message->id, message->path,
                               &message->identity, delivery->attempt, indexes, num)) {
        connection_lose(connection, TROUBLE_NOT_RECORDED, strerror(errno));
        return INTENT_NONE;
    }
    connection->intent = INTENT_STORED;
    if (commit_gate_is_closed(worker->services->commit_gate, worker->loop.now_ms)) {
        connection->intent = INTENT_WAITS;
        connection->wait = worker_wait_for_commit(worker, connection);
    }
    return connection->intent;
}

static bool may_carry_more(const struct connection *connection)
{
    const struct destination_settings *settings = connection->settings;
    int64_t age_ms = connection->worker->loop.now_ms - connection->opened_ms;
    uint32_t mail_max = connection->session.capabilities.mail_max;
    return !connection->worker->stopping && !connection->session.said_421 &&
           (!mail_max || connection->session.num_mails < mail_max) &&
           connection->num_deliveries < settings->max_deliveries &&
           age_ms < settings->connection_lifetime_ms;
}

static void go_idle(struct connection *connection)
{
    struct worker *worker = connection->worker;
    struct site_wake *wake = &connection->site->wakes[worker->index];
    connection->state = CONNECTION_IDLE;
    connection->idle_next = wake->idle_first;
    wake->idle_first = connection;
    loop_set_events(&worker->loop, &connection->watch, LOOP_READ);
    loop_arm(&worker->loop, &connection->timer, connection->settings->idle_ms);
}

bool connection_take_next(struct connection *connection, enum site_taker taker)
{
    struct worker *worker = connection->worker;
    if (!may_carry_more(connection)) {
        /* It grew old while it waited. */
        if (taker == SITE_TAKER_PROMISED)
            site_pool_break_promise(worker->services->site_pool, connection->site,
                                    worker->loop.now_ms);
        connection_say_goodbye(connection);
        connection_close(connection);
        return false;
    }
    for (;;) {
        connection->delivery = site_pool_take(worker->services->site_pool, connection->site, taker);
        if (connection->delivery)
            break;
        if (site_pool_idle(connection->site, worker->index)) {
            go_idle(connection);
            return false;
        }
        taker = SITE_TAKER_BUSY;
    }
    if (!worker_may_begin(worker, connection->delivery)) {
        connection->delivery = NULL;
        connection_say_goodbye(connection);
        connection_close(connection);
        return false;
    }
    connection->delivery->trace.stamps.taken_us = worker->loop.now_us;
    return begin_transaction(connection);
}

static void mark_ready(struct connection *connection)
{
    struct site_session session = {
        .tls = connection->has_tls,
        .resumed = connection->has_tls && connection->tls.resumed,
        .family = dialed_address(connection->route, connection->at)->family,
    };
    connection->ready = true;
    connection->opened_ms = connection->worker->loop.now_ms;
    site_pool_session_ready(connection->site, &session);
    if (connection->has_tls)
        connection_tls_works(connection);
    connection_report_ready(connection);
}

/* The session is gone while recipients have no outcome yet. */
static void go_on_elsewhere(struct connection *connection)
{
    struct delivery *delivery = connection->delivery;
    bool routine = connection->session.used && delivery->restarts < RESTARTS_MAX;
    connection->in_transaction = false;
    if (routine) {
        delivery->restarts++;
        site_pool_restarted(connection->site);
        connection_drop_session(connection);
        connection_begin_attempt(connection);
        return;
    }
    struct outcome failure = connection->session.failure;
    if (failure.kind == OUTCOME_NONE)
        failure = outcome_from_trouble(PHASE_MAIL, TROUBLE_LOST, NULL);
    if (failure.phase == PHASE_STARTTLS)
        connection_report_no_starttls(connection, failure.text);
    struct dialed at = connection->at;
    if (connection->num_deliveries > 0) {
        /* The dialer knows the turns of the delivery for which this session was made. */
        connection_drop_session(connection);
        prepare_attempt(connection);
        dialer_skip_address(&connection->dialer, at);
    }
    connection_note_failure(connection, at, &failure);
    connection_leave_host(connection);
}

bool connection_transaction_ended(struct connection *connection)
{
    struct delivery *delivery = connection->delivery;
    bool closes = connection->want == SMTP_WANT_CLOSE;
    if (!closes && !connection->ready)
        mark_ready(connection);
    bool more = !connection->in_transaction || smtp_delivery_wants_more(delivery);
    if (more && !closes)
        return begin_transaction(connection);
    if (closes)
        connection_say_goodbye(connection);
    if (more) {
        go_on_elsewhere(connection);
        return false;
    }
    tell_site(connection, delivery);
    finish_delivery(connection);
    if (!closes)
        return connection_take_next(connection, SITE_TAKER_BUSY);
    connection_close(connection);
    return false;
}
