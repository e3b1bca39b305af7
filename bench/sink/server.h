/* One thread of the sink: a loop, its listening sockets (SO_REUSEPORT, so each thread has its own)
 * and the connections it accepted. */
#ifndef SLUICE_BENCH_SINK_SERVER_H
#define SLUICE_BENCH_SINK_SERVER_H

#include "base/loop.h"
#include "base/mailbox.h"
#include "bench/sink/sink.h"

#include <pthread.h>

enum {
    SERVER_RECV_MAX = 64 * 1024,            /* octets taken from a socket in one go */
    SERVER_PLAIN_MAX = SERVER_RECV_MAX * 2, /* what they and an earlier part decrypt to */
    SERVER_OUT_MAX = 8 * 1024 * 1024,       /* replies to all that one go may hold */
    SERVER_BACKLOG = 4096,
    SERVER_ACCEPTS_PER_TURN = 64,
    SERVER_ACCEPT_PAUSE_MS = 50 /* when no descriptor is left */
};

struct server;
struct connection;

struct server_port {
    struct loop_fd watch;
    struct server *server;     /* borrowed */
    struct listener *listener; /* borrowed */
    struct counters *counters; /* borrowed: of this thread and listener */
};

struct server {
    struct loop loop;
    struct sink *sink;             /* borrowed */
    struct server_port *ports;     /* owned, one per listener */
    struct counters *counters;     /* owned, one per listener */
    struct connection *first;      /* all open ones */
    struct timer resume_accepting; /* after a shortage of descriptors */
    struct mailbox mailbox;
    struct mailbox_item stop; /* posted to end the thread */
    pthread_t thread;
    /* Scratch of the turn at hand, shared by all connections. */
    uint8_t *plain;       /* owned, SERVER_PLAIN_MAX */
    uint8_t *cipher;      /* owned, SERVER_RECV_MAX */
    struct buffer out;    /* replies */
    struct buffer sealed; /* what TLS made of them */
};

/* fds: one listening socket per listener, owned from now on. false with errno set. */
bool server_init(struct server *server, struct sink *sink, const int *fds)
    __attribute__((warn_unused_result));
/* After the thread has ended. */
void server_fini(struct server *server);
bool server_start(struct server *server) __attribute__((warn_unused_result));
/* Any thread: ends its connections and waits for it. */
void server_stop(struct server *server);

#endif
