/* Moves octets between a socket, TLS and a session, on scratch memory that the thread's connections
 * share: an idle connection keeps no buffer. It does not know SMTP. */
#include "bench/sink/connection.h"

#include "base/memory.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

static struct loop *loop_of(struct connection *c)
{
    return &c->port->server->loop;
}

enum {
    READS_PER_S = 10,          /* of a connection with a read-rate */
    SLOW_RECEIVE_BUFFER = 4096 /* so that the kernel does not read ahead for it */
};

static size_t share_of(const struct connection *c)
{
    unsigned rate = c->port->listener->personality->read_rate;
    if (rate == 0 || rate / READS_PER_S >= SERVER_RECV_MAX)
        return SERVER_RECV_MAX;
    return rate < READS_PER_S ? 1 : rate / READS_PER_S;
}

/* TLS over the scratch: one recv gives many records, one send takes them. */
static int bio_read(BIO *bio, char *out, int cap)
{
    struct connection *c = BIO_get_data(bio);
    struct server *server = c->port->server;
    BIO_clear_retry_flags(bio);
    if (c->cipher_pos == c->cipher_len) {
        if (c->recv_done) {
            BIO_set_retry_read(bio);
            return -1;
        }
        ssize_t len = recv(c->watch.fd, server->cipher, share_of(c), 0);
        if (len < 0 && (errno == EAGAIN || errno == EINTR))
            BIO_set_retry_read(bio);
        if (len <= 0)
            return (int)len;
        c->recv_done = true;
        c->cipher_pos = 0;
        c->cipher_len = (size_t)len;
    }
    size_t len = c->cipher_len - c->cipher_pos;
    if (len > (size_t)cap)
        len = (size_t)cap;
    memcpy(out, server->cipher + c->cipher_pos, len);
    c->cipher_pos += len;
    return (int)len;
}

static int bio_write(BIO *bio, const char *at, int len)
{
    struct connection *c = BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    return buffer_append(&c->port->server->sealed, at, (size_t)len) ? len : -1;
}

static long bio_ctrl(BIO *bio, int command, long number, void *at)
{
    (void)bio;
    (void)number;
    (void)at;
    return command == BIO_CTRL_FLUSH;
}

static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "sink connection");
    BIO_meth_set_read(method, bio_read);
    BIO_meth_set_write(method, bio_write);
    BIO_meth_set_ctrl(method, bio_ctrl);
}

static void start_tls(struct connection *c)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_method);
    BIO *bio = BIO_new(method);
    BIO_set_data(bio, c);
    BIO_set_init(bio, 1);
    c->ssl = tls_server_accept(c->port->listener->tls, c->port->counters);
    SSL_set_bio(c->ssl, bio, bio);
    c->handshaking = true;
}

/* This and what calls it: false when the connection was closed. */
static bool send_bytes(struct connection *c, struct bytes bytes)
{
    while (bytes.len && !c->unsent.len) {
        ssize_t num = send(c->watch.fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (num < 0 && errno == EINTR)
            continue;
        if (num < 0 && errno == EAGAIN)
            break;
        if (num < 0) {
            connection_close(c);
            return false;
        }
        bytes = bytes_from(bytes, (size_t)num);
    }
    buffer_append_bytes(&c->unsent, bytes);
    if (!c->unsent.len && !c->delaying)
        session_replies_sent(&c->session);
    return true;
}

static bool send_sealed(struct connection *c)
{
    struct buffer *sealed = &c->port->server->sealed;
    bool overflow = sealed->overflow;
    bool open = send_bytes(c, buffer_bytes(sealed));
    buffer_clear(sealed);
    if (open && overflow) {
        connection_close(c);
        return false;
    }
    return open;
}

static bool send_replies(struct connection *c, struct bytes replies)
{
    if (!c->ssl)
        return send_bytes(c, replies);
    while (replies.len) {
        int num = SSL_write(c->ssl, replies.at, (int)replies.len);
        if (num <= 0) {
            tls_error();
            buffer_clear(&c->port->server->sealed);
            connection_close(c);
            return false;
        }
        replies = bytes_from(replies, (size_t)num);
    }
    return send_sealed(c);
}

/* Sends, or holds back as long as the personality wants, what the session said. */
static bool answer(struct connection *c)
{
    struct buffer *out = &c->port->server->out;
    unsigned pause_ms = c->session.hold_ms;
    unsigned delay_ms = c->port->listener->personality->delay_ms + pause_ms;
    bool open = true;
    c->split_ms = c->session.split_ms;
    c->session.hold_ms = c->session.split_ms = 0;
    if (delay_ms < c->split_ms)
        delay_ms = c->split_ms;
    if (out->overflow) {
        connection_close(c);
        open = false;
    } else if (pause_ms || (delay_ms && out->len)) {
        buffer_append_bytes(&c->held, buffer_bytes(out));
        c->delaying = true;
        loop_arm(loop_of(c), &c->timer, delay_ms);
        open = send_sealed(c); /* the scratch must be empty for the next connection */
    } else {
        open = send_replies(c, buffer_bytes(out));
    }
    buffer_clear(out);
    return open;
}

enum fill { FILL_MORE, FILL_DRAINED, FILL_END };

static enum fill fill_tls(struct connection *c, uint8_t *to, size_t cap, size_t *out_len)
{
    *out_len = 0;
    while (*out_len < cap) {
        int num = SSL_read(c->ssl, to + *out_len, (int)(cap - *out_len));
        if (num <= 0) {
            int error = SSL_get_error(c->ssl, num);
            tls_error();
            return error == SSL_ERROR_WANT_READ ? FILL_DRAINED : FILL_END;
        }
        *out_len += (size_t)num;
    }
    return FILL_MORE;
}

static enum fill fill_plain(struct connection *c, uint8_t *to, size_t *out_len)
{
    ssize_t num = recv(c->watch.fd, to, share_of(c), 0);
    *out_len = num > 0 ? (size_t)num : 0;
    if (num > 0 || (num < 0 && (errno == EAGAIN || errno == EINTR)))
        return FILL_DRAINED; /* the rest, if any, makes the fd ready again */
    return FILL_END;
}

/* Feeds the session what was left over and what the socket has. False: closed. */
static bool read_more(struct connection *c, enum fill *out_fill)
{
    struct server *server = c->port->server;
    size_t left = c->leftover.len;
    size_t len;
    if (left)
        memcpy(server->plain, c->leftover.at, left);
    buffer_clear(&c->leftover);
    if (c->ssl)
        *out_fill = fill_tls(c, server->plain + left, SERVER_PLAIN_MAX - left, &len);
    else
        *out_fill = fill_plain(c, server->plain + left, &len);
    if (len)
        c->last_input_ms = server->loop.now_ms;
    struct bytes in = bytes_make(server->plain, left + len);
    size_t used = session_input(&c->session, in, &server->out);
    buffer_append_bytes(&c->leftover, bytes_from(in, used));
    if (len && share_of(c) < SERVER_RECV_MAX && c->session.hold_ms == 0)
        c->session.hold_ms = 1000 / READS_PER_S;
    if (c->session.want == SESSION_DROP) {
        buffer_clear(&server->out);
        connection_close(c);
        return false;
    }
    return answer(c);
}

static bool shake_hands(struct connection *c)
{
    struct counters *counters = c->port->counters;
    int done = SSL_do_handshake(c->ssl);
    int error = SSL_get_error(c->ssl, done);
    if (!send_sealed(c)) /* also an alert that says why it failed */
        return false;
    if (done == 1) {
        bool resumed = SSL_session_reused(c->ssl);
        c->handshaking = false;
        counters_add(counters, resumed ? COUNT_HANDSHAKES_RESUMED : COUNT_HANDSHAKES_FULL, 1);
        tls_server_count_handshake(c->port->listener->tls);
        session_tls_started(&c->session, resumed, SSL_get_version(c->ssl),
                            SSL_CIPHER_standard_name(SSL_get_current_cipher(c->ssl)));
        if (!c->port->listener->personality->wrapper)
            return true;
        session_greet(&c->session, &c->port->server->out);
        return answer(c);
    }
    tls_error();
    if (error == SSL_ERROR_WANT_READ)
        return true;
    counters_add(counters, COUNT_HANDSHAKES_FAILED, 1);
    connection_close(c);
    return false;
}

/* What the state asks of the loop, or the end. */
static void settle(struct connection *c)
{
    if (c->unsent.len || c->delaying) {
        loop_set_events(loop_of(c), &c->watch, c->unsent.len ? LOOP_WRITE : 0);
        return;
    }
    if (c->session.want == SESSION_STALL)
        loop_set_events(loop_of(c), &c->watch, 0);
    else if (c->closing || c->peer_closed)
        connection_close(c);
    else
        loop_set_events(loop_of(c), &c->watch, LOOP_READ);
}

static bool may_read(const struct connection *c)
{
    return !c->unsent.len && !c->delaying && !c->closing && !c->peer_closed &&
           c->session.want != SESSION_STALL;
}

/* One turn of input. The scratch must be empty behind it, so it goes on until the share that was
 * received is used up. */
static void take_input(struct connection *c)
{
    c->recv_done = false;
    for (;;) {
        enum fill fill = FILL_DRAINED;
        if (c->handshaking) {
            if (!shake_hands(c))
                return;
            if (c->handshaking)
                break;
        }
        if (!read_more(c, &fill))
            return;
        c->peer_closed = fill == FILL_END;
        if (c->session.want == SESSION_CLOSE || c->session.want == SESSION_RESET)
            c->closing = true;
        if (c->session.want == SESSION_TLS) {
            if (!c->delaying)
                start_tls(c);
            break; /* the client speaks next, after our 220 */
        }
        if (fill != FILL_MORE || c->closing || c->session.want == SESSION_STALL)
            break;
    }
    settle(c);
}

static void on_ready(struct loop_fd *watch, unsigned events)
{
    struct connection *c = container_of(watch, struct connection, watch);
    if (c->unsent.len) {
        struct buffer unsent = c->unsent;
        buffer_init(&c->unsent, SERVER_OUT_MAX * 2);
        bool open = send_bytes(c, buffer_bytes(&unsent));
        buffer_fini(&unsent);
        if (!open)
            return;
        settle(c);
        return;
    }
    if (may_read(c))
        take_input(c);
    else if (events & LOOP_HANGUP)
        connection_close(c);
}

/* What was held back, or of a reply that is split its next octet. */
static void release(struct connection *c, int64_t now_ms)
{
    if (c->split_ms && c->held.len > 1) {
        uint8_t octet = *c->held.at;
        buffer_consume(&c->held, 1);
        timer_arm(&loop_of(c)->timers, &c->timer, now_ms + c->split_ms);
        if (send_replies(c, bytes_make(&octet, 1)))
            settle(c);
        return;
    }
    struct buffer held = c->held;
    buffer_init(&c->held, SERVER_OUT_MAX);
    c->delaying = false;
    timer_arm(&loop_of(c)->timers, &c->timer, now_ms + c->port->server->sink->timeout_ms);
    bool open = send_replies(c, buffer_bytes(&held));
    buffer_fini(&held);
    if (open && c->session.want == SESSION_TLS)
        start_tls(c);
    if (open)
        settle(c);
}

static void on_timer(struct timer *timer, int64_t now_ms)
{
    struct connection *c = container_of(timer, struct connection, timer);
    int64_t timeout_ms = c->port->server->sink->timeout_ms;
    if (c->delaying) {
        release(c, now_ms);
        return;
    }
    /* Input does not move the timer, which would cost at each read; it looks back instead. */
    if (now_ms - c->last_input_ms >= timeout_ms)
        connection_close(c);
    else
        timer_arm(&loop_of(c)->timers, timer, c->last_input_ms + timeout_ms);
}

static void set_up_socket(const struct connection *c, int fd)
{
    const struct personality *p = c->port->listener->personality;
    int on = 1, size = SLOW_RECEIVE_BUFFER;
    if (p->faults.num) /* split replies must not be joined again */
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (p->read_rate)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
}

/* A banner may be the end of it already. */
static void greet(struct connection *c)
{
    session_greet(&c->session, &c->port->server->out);
    c->closing = c->session.want == SESSION_CLOSE || c->session.want == SESSION_RESET;
    if (answer(c))
        settle(c);
}

void connection_open(struct server_port *port, int fd, const struct sockaddr_storage *peer)
{
    struct server *server = port->server;
    struct connection *c = mem_zalloc(1, sizeof *c);
    c->watch.on_ready = on_ready;
    c->port = port;
    c->peer = *peer;
    c->last_input_ms = server->loop.now_ms;
    buffer_init(&c->leftover, SESSION_LINE_MAX);
    buffer_init(&c->held, SERVER_OUT_MAX);
    buffer_init(&c->unsent, SERVER_OUT_MAX * 2);
    session_init(&c->session, server->sink, port->listener, port->counters,
                 (const struct sockaddr *)&c->peer);
    timer_init(&c->timer, on_timer);
    loop_arm(&server->loop, &c->timer, server->sink->timeout_ms);
    c->next = server->first;
    if (c->next)
        c->next->prev = c;
    server->first = c;
    counters_add(port->counters, COUNT_CONNECTIONS, 1);
    atomic_fetch_add(&port->listener->open_connections, 1);
    set_up_socket(c, fd);
    if (!loop_watch(&server->loop, &c->watch, fd, LOOP_READ)) {
        c->watch.fd = -1;
        close(fd);
        connection_close(c);
        return;
    }
    if (port->listener->personality->wrapper) {
        start_tls(c);
        return;
    }
    greet(c);
}

static void free_connection(struct loop_garbage *garbage)
{
    struct connection *c = container_of(garbage, struct connection, garbage);
    SSL_free(c->ssl);
    session_fini(&c->session);
    buffer_fini(&c->leftover);
    buffer_fini(&c->held);
    buffer_fini(&c->unsent);
    free(c);
}

/* Best effort: whether the peer gets our close_notify changes nothing for us. */
static void say_goodbye(struct connection *c)
{
    struct buffer *sealed = &c->port->server->sealed;
    if (c->ssl && !c->handshaking && c->closing && !c->unsent.len &&
        c->session.want != SESSION_RESET) {
        SSL_shutdown(c->ssl);
        tls_error();
        if (sealed->len)
            send(c->watch.fd, sealed->at, sealed->len, MSG_NOSIGNAL);
    }
    buffer_clear(sealed);
}

void connection_close(struct connection *c)
{
    struct server *server = c->port->server;
    int fd = c->watch.fd;
    atomic_fetch_sub(&c->port->listener->open_connections, 1);
    if (fd >= 0) {
        const struct linger at_once = {.l_onoff = 1};
        if (c->session.want == SESSION_RESET)
            setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        say_goodbye(c);
        loop_unwatch(&server->loop, &c->watch);
        close(fd);
    }
    loop_cancel(&server->loop, &c->timer);
    if (c->prev)
        c->prev->next = c->next;
    else
        server->first = c->next;
    if (c->next)
        c->next->prev = c->prev;
    loop_free_later(&server->loop, &c->garbage, free_connection);
}
