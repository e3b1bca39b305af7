/* One accepted connection: socket, TLS, session. Belongs to one server thread for life. */
#ifndef SLUICE_BENCH_SINK_CONNECTION_H
#define SLUICE_BENCH_SINK_CONNECTION_H

#include "bench/sink/server.h"
#include "bench/sink/session.h"

struct connection {
    struct loop_fd watch;
    struct loop_garbage garbage;
    struct timer timer; /* idle limit; while `held` is in use: the personality's delay */
    struct connection *next, *prev;
    struct server_port *port; /* borrowed */
    struct sockaddr_storage peer;
    int64_t last_input_ms;
    SSL *ssl; /* owned; NULL: plaintext */
    bool handshaking;
    bool closing;                  /* when all is sent */
    bool peer_closed;              /* no more input */
    bool recv_done;                /* this turn's share was taken from the socket */
    bool delaying;                 /* `held` waits for the timer */
    unsigned split_ms;             /* `held` leaves octet by octet; 0: at once */
    size_t cipher_pos, cipher_len; /* of server->cipher; empty between turns */
    struct buffer leftover;        /* input that is not a whole line yet */
    struct buffer held;            /* replies that the personality delays */
    struct buffer unsent;          /* what the socket did not take; reading rests until it does */
    struct session session;
};

/* Takes the fd. */
void connection_open(struct server_port *port, int fd, const struct sockaddr_storage *peer);
/* At once; the memory lives until the end of the tick. */
void connection_close(struct connection *connection);

#endif
