/* Datagrams, TCP connections and answers that wait for their delay.
 * It does not know what it says: reply.c does. */
#include "bench/dns/server.h"

#include "base/memory.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

enum {
    DATAGRAMS_PER_EVENT = 64,
    CONNECTIONS_MAX = 256,
    DELAYED_MAX = 10000,
    IDLE_MS = 30 * 1000,
    PORT_TRIES = 50
};

struct connection {
    struct loop_fd fd;
    struct loop_garbage garbage;
    struct timer idle;
    struct server *server;
    struct connection *next;
    struct buffer in, out;
};

struct delayed {
    struct timer timer;
    struct server *server;
    struct delayed *next, **at;
    struct sockaddr_storage to;
    socklen_t to_len;
    struct buffer wire; /* owned */
};

struct server {
    struct loop *loop; /* borrowed */
    struct zone *zone; /* borrowed */
    struct server_options options;
    uint16_t port;
    struct loop_fd udp, tcp;
    struct connection *connections;
    unsigned num_connections;
    struct delayed *delayed;
    unsigned num_delayed;
    uint64_t num_queries;
    struct reply reply;
    uint8_t datagram[REPLY_MAX];
};

static void log_query(const struct server *server, bool is_udp)
{
    if (!server->options.is_verbose)
        return;
    printf("%s %s %s\n", server->reply.name[0] ? server->reply.name : ".",
           zone_type_name(server->reply.type), is_udp ? "udp" : "tcp");
    fflush(stdout);
}

static void answer(struct server *server, struct bytes query, bool is_udp)
{
    server->num_queries++;
    reply_make(server->zone, &server->options.reply, query, is_udp, &server->reply);
    log_query(server, is_udp);
}

static void free_delayed(struct delayed *delayed)
{
    *delayed->at = delayed->next;
    if (delayed->next)
        delayed->next->at = delayed->at;
    delayed->server->num_delayed--;
    loop_cancel(delayed->server->loop, &delayed->timer);
    buffer_fini(&delayed->wire);
    free(delayed);
}

static void send_datagram(struct server *server, struct bytes wire,
                          const struct sockaddr_storage *to, socklen_t to_len)
{
    /* A full socket buffer loses the answer, as networks do. */
    ssize_t sent = sendto(server->udp.fd, wire.at, wire.len, MSG_DONTWAIT,
                          (const struct sockaddr *)to, to_len);
    (void)sent;
}

static void on_delay_over(struct timer *timer, int64_t now_ms)
{
    struct delayed *delayed = container_of(timer, struct delayed, timer);
    (void)now_ms;
    send_datagram(delayed->server, buffer_bytes(&delayed->wire), &delayed->to, delayed->to_len);
    free_delayed(delayed);
}

static void delay(struct server *server, const struct sockaddr_storage *to, socklen_t to_len)
{
    if (server->num_delayed == DELAYED_MAX)
        return;
    struct delayed *delayed = mem_zalloc(1, sizeof *delayed);
    delayed->server = server;
    delayed->to = *to;
    delayed->to_len = to_len;
    buffer_init(&delayed->wire, REPLY_MAX);
    buffer_append_bytes(&delayed->wire, buffer_bytes(&server->reply.wire));
    timer_init(&delayed->timer, on_delay_over);
    delayed->next = server->delayed;
    delayed->at = &server->delayed;
    if (delayed->next)
        delayed->next->at = &delayed->next;
    server->delayed = delayed;
    server->num_delayed++;
    loop_arm(server->loop, &delayed->timer, server->reply.delay_ms);
}

static void on_datagrams(struct loop_fd *fd, unsigned events)
{
    struct server *server = container_of(fd, struct server, udp);
    (void)events;
    for (unsigned i = 0; i < DATAGRAMS_PER_EVENT; i++) {
        struct sockaddr_storage from;
        socklen_t from_len = sizeof from;
        ssize_t len = recvfrom(fd->fd, server->datagram, sizeof server->datagram, MSG_DONTWAIT,
                               (struct sockaddr *)&from, &from_len);
        if (len < 0)
            return;
        answer(server, bytes_make(server->datagram, (size_t)len), true);
        if (server->reply.wire.len == 0)
            continue;
        if (server->reply.delay_ms)
            delay(server, &from, from_len);
        else
            send_datagram(server, buffer_bytes(&server->reply.wire), &from, from_len);
    }
}

static void free_connection(struct loop_garbage *garbage)
{
    struct connection *connection = container_of(garbage, struct connection, garbage);
    buffer_fini(&connection->in);
    buffer_fini(&connection->out);
    free(connection);
}

static void close_connection(struct connection *connection)
{
    struct server *server = connection->server;
    struct connection **at = &server->connections;
    while (*at != connection)
        at = &(*at)->next;
    *at = connection->next;
    server->num_connections--;
    loop_cancel(server->loop, &connection->idle);
    int fd = connection->fd.fd;
    loop_unwatch(server->loop, &connection->fd);
    close(fd);
    loop_free_later(server->loop, &connection->garbage, free_connection);
}

static void on_idle(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    close_connection(container_of(timer, struct connection, idle));
}

/* Whole questions in the buffer, two octets of length before each (RFC 1035 4.2.2). Delays apply
 * to datagrams only. */
static void answer_stream(struct connection *connection)
{
    struct server *server = connection->server;
    while (connection->in.len >= 2) {
        size_t len = (size_t)(connection->in.at[0] << 8 | connection->in.at[1]);
        if (connection->in.len < 2 + len)
            return;
        answer(server, bytes_make(connection->in.at + 2, len), false);
        buffer_consume(&connection->in, 2 + len);
        if (server->reply.wire.len == 0)
            continue;
        buffer_append_byte(&connection->out, (uint8_t)(server->reply.wire.len >> 8));
        buffer_append_byte(&connection->out, (uint8_t)server->reply.wire.len);
        buffer_append_bytes(&connection->out, buffer_bytes(&server->reply.wire));
    }
}

/* false: the peer is gone, or sends more than one question's worth without an end. */
static bool receive(struct connection *connection)
{
    uint8_t *to = buffer_reserve(&connection->in, 4096);
    if (!to)
        return false;
    ssize_t len = recv(connection->fd.fd, to, 4096, MSG_DONTWAIT);
    if (len < 0)
        return errno == EAGAIN || errno == EINTR;
    connection->in.len += (size_t)len;
    return len > 0;
}

static bool flush(struct connection *connection)
{
    struct bytes out = buffer_bytes(&connection->out);
    if (connection->out.overflow)
        return false;
    if (out.len) {
        ssize_t len = send(connection->fd.fd, out.at, out.len, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (len < 0 && errno != EAGAIN && errno != EINTR)
            return false;
        if (len > 0)
            buffer_consume(&connection->out, (size_t)len);
    }
    loop_set_events(connection->server->loop, &connection->fd,
                    connection->out.len ? LOOP_READ | LOOP_WRITE : LOOP_READ);
    return true;
}

static void on_connection(struct loop_fd *fd, unsigned events)
{
    struct connection *connection = container_of(fd, struct connection, fd);
    bool ok = !(events & (LOOP_READ | LOOP_HANGUP)) || receive(connection);
    answer_stream(connection);
    if (!flush(connection) || !ok) {
        close_connection(connection);
        return;
    }
    loop_arm(connection->server->loop, &connection->idle, IDLE_MS);
}

static void on_accept(struct loop_fd *fd, unsigned events)
{
    struct server *server = container_of(fd, struct server, tcp);
    (void)events;
    int accepted = accept4(fd->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (accepted < 0)
        return;
    struct connection *connection = mem_zalloc(1, sizeof *connection);
    connection->fd = (struct loop_fd){.fd = -1, .on_ready = on_connection};
    if (server->num_connections == CONNECTIONS_MAX ||
        !loop_watch(server->loop, &connection->fd, accepted, LOOP_READ)) {
        close(accepted);
        free(connection);
        return;
    }
    connection->server = server;
    connection->next = server->connections;
    server->connections = connection;
    server->num_connections++;
    buffer_init(&connection->in, REPLY_MAX + 4096);
    buffer_init(&connection->out, 4 * REPLY_MAX);
    timer_init(&connection->idle, on_idle);
    loop_arm(server->loop, &connection->idle, IDLE_MS);
}

static int open_socket(const struct server *server, int type, uint16_t port)
{
    struct sockaddr_storage address;
    socklen_t len;
    int on = 1;
    host_address_to_sockaddr(&server->options.address, port, &address, &len);
    int fd = socket(address.ss_family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if (type == SOCK_STREAM)
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int room = 4 * 1024 * 1024;
    if (type == SOCK_DGRAM)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if (bind(fd, (struct sockaddr *)&address, len) == 0 &&
        (type == SOCK_DGRAM || listen(fd, 64) == 0))
        return fd;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
}

static uint16_t port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t len = sizeof address;
    if (getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        return 0;
    /* The port is at the same place in both families. */
    return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

/* With port 0 the port that UDP was given may be taken for TCP: then another one. */
static bool open_both(struct server *server, int *out_udp, int *out_tcp)
{
    for (unsigned i = 0; i < PORT_TRIES; i++) {
        *out_udp = open_socket(server, SOCK_DGRAM, server->options.port);
        if (*out_udp < 0)
            return false;
        server->port = port_of(*out_udp);
        *out_tcp = open_socket(server, SOCK_STREAM, server->port);
        if (*out_tcp >= 0)
            return true;
        int error = errno;
        close(*out_udp);
        errno = error;
        if (server->options.port)
            return false;
    }
    return false;
}

struct server *server_new(struct loop *loop, const struct server_options *options,
                          struct zone *zone)
{
    struct server *server = mem_zalloc(1, sizeof *server);
    int udp;
    int tcp;
    server->loop = loop;
    server->zone = zone;
    server->options = *options;
    server->udp = (struct loop_fd){.fd = -1, .on_ready = on_datagrams};
    server->tcp = (struct loop_fd){.fd = -1, .on_ready = on_accept};
    reply_init(&server->reply);
    if (!open_both(server, &udp, &tcp)) {
        free(server);
        return NULL;
    }
    if (loop_watch(loop, &server->udp, udp, LOOP_READ) &&
        loop_watch(loop, &server->tcp, tcp, LOOP_READ))
        return server;
    int error = errno;
    loop_unwatch(loop, &server->udp);
    close(udp);
    close(tcp);
    free(server);
    errno = error;
    return NULL;
}

void server_free(struct server *server)
{
    int udp = server->udp.fd;
    int tcp = server->tcp.fd;
    while (server->connections)
        close_connection(server->connections);
    while (server->delayed)
        free_delayed(server->delayed);
    loop_unwatch(server->loop, &server->udp);
    loop_unwatch(server->loop, &server->tcp);
    close(udp);
    close(tcp);
    reply_fini(&server->reply);
    free(server);
}

uint16_t server_port(const struct server *server)
{
    return server->port;
}

uint64_t server_num_queries(const struct server *server)
{
    return server->num_queries;
}
