/* The session machine driven by poll(), for one session at a time.
 * It judges neither certificate nor policy, and sends no mail. */
#include "router/probe_session.h"

#include "base/clock.h"
#include "base/memory.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { GOODBYE_MS = 2000, CHUNK = 16384, TIMEOUT_MS = 3600 * 1000 };

struct driver {
    const struct probe_target *target;
    struct probe_session *result;
    struct channel channel;
    struct smtp_session session;
    struct buffer out;
    int fd;
    int64_t started_us;
    int64_t deadline_ms;
    bool expects_capabilities; /* what the peer says next answers EHLO */
};

static int64_t now_ms(void)
{
    return clock_mono_us() / 1000;
}

static int64_t since_start(const struct driver *driver)
{
    return clock_mono_us() - driver->started_us;
}

static void drop_lines(struct probe_lines *lines)
{
    for (size_t i = 0; i < lines->num; i++)
        free(lines->items[i]);
    lines->num = 0;
}

static void keep_line(struct probe_lines *lines, struct bytes line)
{
    if (lines->num == PROBE_LINES_MAX)
        return;
    char *copy = mem_alloc(line.len * 3 + 1);
    size_t len = 0;
    (void)smtp_text_append(copy, line.len * 3 + 1, &len, line);
    lines->items[lines->num++] = copy;
}

static void on_line(void *ctx, char direction, struct bytes line)
{
    struct driver *driver = ctx;
    struct probe_session *result = driver->result;
    if (driver->target->on_line)
        driver->target->on_line(driver->target->on_line_ctx, direction, line);
    if (direction == '>') {
        driver->expects_capabilities =
            bytes_starts_nocase(line, "EHLO") || bytes_starts_nocase(line, "LHLO");
        if (driver->expects_capabilities)
            drop_lines(&result->last);
        return;
    }
    if (!result->greeted_us)
        result->greeted_us = since_start(driver);
    if (driver->expects_capabilities && bytes_starts_nocase(line, "250"))
        keep_line(&result->last, smtp_reply_line_text(line));
}

static void fail(struct driver *driver, enum outcome_phase phase, enum trouble trouble,
                 const char *detail)
{
    if (driver->result->failure.kind == OUTCOME_NONE)
        driver->result->failure = outcome_from_trouble(phase, trouble, detail);
}

/* False when the time is up, with errno. */
static bool wait_for(struct driver *driver, short events, int64_t deadline_ms)
{
    struct pollfd watch = {.fd = driver->fd, .events = events};
    for (;;) {
        int64_t left = deadline_ms - now_ms();
        int rc = left > 0 ? poll(&watch, 1, (int)left) : 0;
        if (rc > 0)
            return true;
        if (rc == 0)
            errno = ETIMEDOUT;
        if (rc == 0 || errno != EINTR)
            return false;
    }
}

static bool connect_to(struct driver *driver)
{
    const struct probe_target *target = driver->target;
    struct sockaddr_storage to;
    socklen_t len;
    host_address_to_sockaddr(target->address, target->route->port, &to, &len);
    driver->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (driver->fd < 0)
        return false;
    if (connect(driver->fd, (struct sockaddr *)&to, len) == 0)
        return true;
    int64_t deadline_ms = now_ms() + target->config->smtp.connect_timeout_ms;
    if (deadline_ms > driver->deadline_ms)
        deadline_ms = driver->deadline_ms;
    if (errno != EINPROGRESS || !wait_for(driver, POLLOUT, deadline_ms))
        return false;
    int error = 0;
    socklen_t error_len = sizeof error;
    if (getsockopt(driver->fd, SOL_SOCKET, SO_ERROR, &error, &error_len) != 0)
        return false;
    errno = error;
    return error == 0;
}

static int64_t wait_end(const struct driver *driver)
{
    int64_t of_session = driver->session.deadline_ms;
    return of_session && of_session < driver->deadline_ms ? of_session : driver->deadline_ms;
}

static void note_handshake(struct driver *driver)
{
    struct probe_session *result = driver->result;
    SSL *ssl = driver->channel.ssl;
    result->has_tls = true;
    uint16_t group = SSL_get_curve_id(ssl);
    result->group = group ? SSL_get_curve_name(group) : NULL;
    const STACK_OF(CRYPTO_BUFFER) *chain = SSL_get0_peer_certificates(ssl);
    result->chain = sk_CRYPTO_BUFFER_new_null();
    for (size_t i = 0; chain && i < sk_CRYPTO_BUFFER_num(chain) && i < TLS_CHAIN_MAX; i++) {
        CRYPTO_BUFFER *certificate = sk_CRYPTO_BUFFER_value(chain, i);
        CRYPTO_BUFFER_up_ref(certificate);
        sk_CRYPTO_BUFFER_push(result->chain, certificate);
    }
}

/* False when it failed; result->failure says why. */
static bool shake_hands(struct driver *driver)
{
    static const struct tls_requirement nothing_checked = {.level = TLS_LEVEL_ENCRYPT};
    const struct probe_target *target = driver->target;
    struct channel_tls_params params = {
        .context = target->context,
        .cache = target->cache,
        .destination = {.label = "probe", /* the cache serves this address alone */
                        .limits = {.tickets = SESSION_TICKETS_MAX, .timeout_ms = TIMEOUT_MS}},
        .sni = target->sni,
        .offer_session = true,
        .requirement = &nothing_checked,
        .now_wall_s = clock_wall_ms() / 1000,
    };
    if (channel_has_unread(&driver->channel)) {
        fail(driver, PHASE_STARTTLS, TROUBLE_INJECTION, NULL);
        return false;
    }
    int64_t began_us = clock_mono_us();
    channel_start_tls(&driver->channel, &params, now_ms());
    for (;;) {
        enum channel_status status =
            channel_handshake(&driver->channel, now_ms(), &driver->result->tls);
        short events = status == CHANNEL_WANT_READ ? POLLIN : POLLOUT;
        if (status == CHANNEL_OK) {
            driver->result->handshake_us = clock_mono_us() - began_us;
            note_handshake(driver);
            return true;
        }
        if (status == CHANNEL_CLOSED || status == CHANNEL_FAILED)
            break;
        if (!wait_for(driver, events, driver->deadline_ms)) {
            driver->result->handshake_failed = true;
            fail(driver, PHASE_TLS, TROUBLE_TIMEOUT, NULL);
            return false;
        }
    }
    const char *why = channel_error(&driver->channel);
    driver->result->handshake_failed = true;
    fail(driver, PHASE_TLS, TROUBLE_TLS_FAILED,
         *why ? why : "the peer closed the connection in the handshake");
    return false;
}

static enum smtp_want begin_tls(struct driver *driver)
{
    driver->result->before_tls = driver->result->last;
    driver->result->last.num = 0;
    if (!shake_hands(driver))
        return SMTP_WANT_CLOSE;
    return smtp_session_tls_done(&driver->session, &driver->out, now_ms());
}

/* All of out leaves, or the session is in trouble. */
static bool send_all(struct driver *driver)
{
    struct channel *channel = &driver->channel;
    while (driver->out.len || channel_has_unsent(channel)) {
        size_t taken = 0;
        if (driver->out.len &&
            channel_write(channel, buffer_bytes(&driver->out), &taken) == CHANNEL_OK)
            buffer_consume(&driver->out, taken);
        enum channel_status status = channel_flush(channel);
        if (status == CHANNEL_CLOSED || status == CHANNEL_FAILED) {
            smtp_session_trouble(&driver->session, TROUBLE_LOST, channel_error(channel));
            return false;
        }
        if (status != CHANNEL_OK && !wait_for(driver, POLLOUT, wait_end(driver))) {
            smtp_session_trouble(&driver->session, TROUBLE_TIMEOUT, NULL);
            return false;
        }
    }
    return true;
}

static enum smtp_want read_some(struct driver *driver)
{
    uint8_t chunk[CHUNK];
    size_t len = 0;
    for (;;) {
        switch (channel_read(&driver->channel, chunk, sizeof chunk, now_ms(), &len)) {
        case CHANNEL_OK:
            return smtp_session_step(&driver->session, bytes_make(chunk, len), &driver->out,
                                     now_ms());
        case CHANNEL_WANT_READ:
        case CHANNEL_WANT_WRITE:
            if (wait_for(driver, POLLIN, wait_end(driver)))
                continue;
            smtp_session_trouble(&driver->session, TROUBLE_TIMEOUT, NULL);
            return SMTP_WANT_CLOSE;
        case CHANNEL_CLOSED:
            smtp_session_trouble(&driver->session, TROUBLE_LOST, "the peer closed the connection");
            return SMTP_WANT_CLOSE;
        case CHANNEL_FAILED:
            smtp_session_trouble(&driver->session, TROUBLE_LOST, channel_error(&driver->channel));
            return SMTP_WANT_CLOSE;
        }
    }
}

/* QUIT, and what the server still has to say: its tickets may come with the last reply. */
static void say_goodbye(struct driver *driver)
{
    uint8_t chunk[CHUNK];
    size_t len;
    (void)smtp_session_quit(&driver->session, &driver->out);
    if (!send_all(driver))
        return;
    int64_t deadline_ms = now_ms() + GOODBYE_MS;
    for (;;) {
        enum channel_status status =
            channel_read(&driver->channel, chunk, sizeof chunk, now_ms(), &len);
        bool waits = status == CHANNEL_WANT_READ || status == CHANNEL_WANT_WRITE;
        if ((waits && !wait_for(driver, POLLIN, deadline_ms)) || (!waits && status != CHANNEL_OK))
            return;
    }
}

static void talk(struct driver *driver, enum smtp_want want)
{
    struct probe_session *result = driver->result;
    for (;;) {
        switch (want) {
        case SMTP_WANT_READ:
            want = send_all(driver) ? read_some(driver) : SMTP_WANT_CLOSE;
            break;
        case SMTP_WANT_TLS:
            want = begin_tls(driver);
            break;
        case SMTP_WANT_IDLE:
            result->ready_us = since_start(driver);
            say_goodbye(driver);
            return;
        case SMTP_WANT_BODY:
        case SMTP_WANT_CLOSE:
            if (result->failure.kind == OUTCOME_NONE)
                result->failure = driver->session.failure;
            return;
        }
    }
}

static void run_session(struct driver *driver)
{
    const struct probe_target *target = driver->target;
    struct smtp_session_params params = {
        .helo_name = target->config->hostname,
        .transport = target->route->transport,
        .want_tls = true,
        .is_wrapped = target->wrapper,
        .config = target->config,
        .on_line = on_line,
        .on_line_ctx = driver,
    };
    struct session_cache_counters before, after;
    session_cache_read_counters(target->cache, &before);
    buffer_init(&driver->out, SMTP_OUT_MAX);
    channel_init(&driver->channel, driver->fd);
    smtp_session_init(&driver->session, &params, now_ms());
    if (!target->wrapper || shake_hands(driver))
        talk(driver,
             smtp_session_step(&driver->session, bytes_make(NULL, 0), &driver->out, now_ms()));
    driver->result->starttls_refused = driver->session.tls_refused;
    smtp_session_fini(&driver->session);
    channel_fini(&driver->channel);
    buffer_fini(&driver->out);
    session_cache_read_counters(target->cache, &after);
    driver->result->tickets = after.stored - before.stored;
}

void probe_session_run(const struct probe_target *target, struct probe_session *out)
{
    *out = (struct probe_session){.connected = false};
    struct driver driver = {
        .target = target, .result = out, .fd = -1, .started_us = clock_mono_us()};
    driver.deadline_ms = now_ms() + target->patience_ms;
    if (connect_to(&driver)) {
        out->connected = true;
        out->connected_us = since_start(&driver);
        run_session(&driver);
    } else {
        fail(&driver, PHASE_CONNECT, trouble_of_connect(errno), strerror(errno));
    }
    if (driver.fd >= 0)
        close(driver.fd);
}

void probe_session_fini(struct probe_session *session)
{
    drop_lines(&session->before_tls);
    drop_lines(&session->last);
    sk_CRYPTO_BUFFER_pop_free(session->chain, CRYPTO_BUFFER_free);
}
