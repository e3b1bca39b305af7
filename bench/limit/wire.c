/* Socket and TLS of sluice-limit.
 * No time limits, no fallback, no certificate check: it measures, it does not deliver. */
#include "bench/limit/wire.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

enum { SEALED_MAX = 128 * 1024 * 1024 };

_Noreturn void wire_fail(const char *what, struct bytes detail)
{
    fprintf(stderr, "sluice-limit: %s: %.*s\n", what, (int)bytes_first(detail, 400).len,
            (const char *)detail.at);
    exit(EX_PROTOCOL);
}

static void send_all(int fd, struct bytes bytes)
{
    while (bytes.len) {
        ssize_t num = send(fd, bytes.at, bytes.len, MSG_NOSIGNAL);
        if (num < 0 && errno != EINTR)
            wire_fail("send", bytes_of(strerror(errno)));
        if (num > 0)
            bytes = bytes_from(bytes, (size_t)num);
    }
}

static size_t receive(int fd, uint8_t *to, size_t cap)
{
    ssize_t num;
    do
        num = recv(fd, to, cap, 0);
    while (num < 0 && errno == EINTR);
    if (num < 0)
        wire_fail("recv", bytes_of(strerror(errno)));
    return (size_t)num;
}

/* BoringSSL asks for a record in two reads; this one recv serves both. */
static int bio_read(BIO *bio, char *out, int cap)
{
    struct wire *wire = BIO_get_data(bio);
    if (wire->cipher_pos == wire->cipher_len) {
        wire->cipher_pos = 0;
        wire->cipher_len = receive(wire->fd, wire->cipher, sizeof wire->cipher);
    }
    size_t len = wire->cipher_len - wire->cipher_pos;
    if (len > (size_t)cap)
        len = (size_t)cap;
    memcpy(out, wire->cipher + wire->cipher_pos, len);
    wire->cipher_pos += len;
    return (int)len;
}

static int bio_write(BIO *bio, const char *at, int len)
{
    struct wire *wire = BIO_get_data(bio);
    return buffer_append(&wire->sealed, at, (size_t)len) ? len : -1;
}

static void send_sealed(struct wire *wire)
{
    send_all(wire->fd, buffer_bytes(&wire->sealed));
    buffer_clear(&wire->sealed);
}

/* The handshake ends its flights with a flush; its last one waits for the EHLO behind it. */
static long bio_ctrl(BIO *bio, int command, long number, void *at)
{
    struct wire *wire = BIO_get_data(bio);
    (void)number;
    (void)at;
    if (command == BIO_CTRL_FLUSH && SSL_in_init(wire->ssl))
        send_sealed(wire);
    return command == BIO_CTRL_FLUSH;
}

static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct wire *wire = SSL_get_app_data(ssl);
    SSL_SESSION_free(wire->session);
    wire->session = session;
    return 1; /* the reference is ours now */
}

static enum ssl_verify_result_t accept_any(SSL *ssl, uint8_t *alert)
{
    (void)ssl;
    (void)alert;
    return ssl_verify_ok;
}

void wire_init(struct wire *wire, const struct wire_options *options)
{
    *wire = (struct wire){.fd = -1, .no_resume = options->no_resume};
    buffer_init(&wire->sealed, SEALED_MAX);
    if (!options->tls)
        return;
    wire->context = SSL_CTX_new(TLS_with_buffers_method());
    CHECK(wire->context);
    SSL_CTX_set1_curves_list(wire->context, "X25519:P-256");
    SSL_CTX_set_session_cache_mode(wire->context,
                                   SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(wire->context, on_session);
    SSL_CTX_set_custom_verify(wire->context, SSL_VERIFY_PEER, accept_any);
}

void wire_fini(struct wire *wire)
{
    SSL_SESSION_free(wire->session);
    SSL_CTX_free(wire->context);
    buffer_fini(&wire->sealed);
}

static void fill(struct wire *wire)
{
    memmove(wire->in, wire->in + wire->in_pos, wire->in_len - wire->in_pos);
    wire->in_len -= wire->in_pos;
    wire->in_pos = 0;
    size_t room = sizeof wire->in - wire->in_len;
    size_t num;
    if (wire->ssl) {
        int got = SSL_read(wire->ssl, wire->in + wire->in_len, (int)room);
        num = got > 0 ? (size_t)got : 0;
    } else {
        num = receive(wire->fd, wire->in + wire->in_len, room);
    }
    if (num == 0)
        wire_fail("the receiver", bytes_of("closed the connection"));
    wire->in_len += num;
}

static struct bytes next_line(struct wire *wire)
{
    for (;;) {
        struct bytes in = bytes_make(wire->in + wire->in_pos, wire->in_len - wire->in_pos);
        size_t end = bytes_find(in, '\n');
        if (end < in.len) {
            wire->in_pos += end + 1;
            return bytes_first(in, end);
        }
        if (in.len > WIRE_LINE_MAX)
            wire_fail("reply line too long", in);
        fill(wire);
    }
}

void wire_expect(struct wire *wire, char digit, const char *to_what)
{
    struct bytes line;
    do
        line = next_line(wire);
    while (line.len > 3 && line.at[3] == '-');
    if (line.len < 3 || line.at[0] != (uint8_t)digit)
        wire_fail(to_what, line);
}

void wire_send(struct wire *wire, struct bytes bytes)
{
    if (!wire->ssl) {
        send_all(wire->fd, bytes);
        return;
    }
    while (bytes.len) {
        int num = SSL_write(wire->ssl, bytes.at, (int)bytes_first(bytes, 1 << 30).len);
        if (num <= 0)
            wire_fail("TLS write", bytes_of(ERR_reason_error_string(ERR_peek_error())));
        bytes = bytes_from(bytes, (size_t)num);
    }
    send_sealed(wire);
}

static BIO *make_bio(struct wire *wire)
{
    static BIO_METHOD *method;
    if (!method) {
        method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "limit");
        BIO_meth_set_read(method, bio_read);
        BIO_meth_set_write(method, bio_write);
        BIO_meth_set_ctrl(method, bio_ctrl);
    }
    BIO *bio = BIO_new(method);
    BIO_set_data(bio, wire);
    BIO_set_init(bio, 1);
    return bio;
}

static void start_tls(struct wire *wire)
{
    BIO *bio = make_bio(wire);
    wire->ssl = SSL_new(wire->context);
    SSL_set_connect_state(wire->ssl);
    SSL_set_shed_handshake_config(wire->ssl, 1);
    SSL_set_app_data(wire->ssl, wire);
    SSL_set_bio(wire->ssl, bio, bio);
    if (wire->session && !wire->no_resume)
        SSL_set_session(wire->ssl, wire->session);
    wire->cipher_pos = wire->cipher_len = 0;
    if (SSL_do_handshake(wire->ssl) != 1)
        wire_fail("TLS handshake", bytes_of(ERR_reason_error_string(ERR_peek_error())));
    if (SSL_session_reused(wire->ssl))
        wire->resumed_handshakes++;
    else
        wire->full_handshakes++;
}

void wire_open(struct wire *wire, const struct wire_options *options)
{
    static const char ehlo[] = "EHLO limit.sluice.test\r\n";
    int on = 1;
    wire->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (wire->fd < 0 ||
        connect(wire->fd, (const struct sockaddr *)&options->address, sizeof options->address) != 0)
        wire_fail("connect", bytes_of(strerror(errno)));
    setsockopt(wire->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    wire->in_pos = wire->in_len = 0;
    wire_expect(wire, '2', "banner");
    wire_send(wire, bytes_of(ehlo));
    wire_expect(wire, '2', "EHLO");
    if (!options->tls)
        return;
    wire_send(wire, bytes_of("STARTTLS\r\n"));
    wire_expect(wire, '2', "STARTTLS");
    start_tls(wire);
    wire_send(wire, bytes_of(ehlo));
    wire_expect(wire, '2', "EHLO after STARTTLS");
}

void wire_close(struct wire *wire)
{
    wire_send(wire, bytes_of("QUIT\r\n"));
    SSL_free(wire->ssl);
    wire->ssl = NULL;
    close(wire->fd);
    wire->fd = -1;
}
