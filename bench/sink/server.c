/* Accepts connections and runs a loop until told to stop.
 * What is said on a connection is not its concern; see connection.c. */
#include "bench/sink/server.h"

#include "base/log.h"
#include "base/memory.h"
#include "bench/sink/connection.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static void set_accepting(struct server *server, unsigned events)
{
    for (size_t i = 0; i < server->sink->num_listeners; i++)
        loop_set_events(&server->loop, &server->ports[i].watch, events);
}

static void on_resume(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    set_accepting(container_of(timer, struct server, resume_accepting), LOOP_READ);
}

/* EMFILE and the like: the connection stays in the backlog, and a level-triggered loop would spin
 * on it. */
static void pause_accepting(struct server *server)
{
    log_warning("cannot accept: %s; pausing", strerror(errno));
    set_accepting(server, 0);
    loop_arm(&server->loop, &server->resume_accepting, SERVER_ACCEPT_PAUSE_MS);
}

static bool is_of_one_connection(int error)
{
    return error == ECONNABORTED || error == EINTR || error == EPROTO || error == EPERM;
}

static void on_accept(struct loop_fd *watch, unsigned events)
{
    struct server_port *port = container_of(watch, struct server_port, watch);
    (void)events;
    for (unsigned i = 0; i < SERVER_ACCEPTS_PER_TURN; i++) {
        struct sockaddr_storage peer;
        socklen_t len = sizeof peer;
        int fd = accept4(watch->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            connection_open(port, fd, &peer);
        } else if (errno == EAGAIN) {
            return;
        } else if (!is_of_one_connection(errno)) {
            pause_accepting(port->server);
            return;
        }
    }
}

static void on_stop(void *ctx, struct mailbox_item *item)
{
    struct server *server = ctx;
    (void)item;
    while (server->first)
        connection_close(server->first);
    loop_stop(&server->loop);
}

bool server_init(struct server *server, struct sink *sink, const int *fds)
{
    *server = (struct server){.sink = sink};
    if (!loop_init(&server->loop) ||
        !mailbox_init(&server->mailbox, &server->loop, on_stop, server))
        return false;
    timer_init(&server->resume_accepting, on_resume);
    server->ports = mem_zalloc(sink->num_listeners, sizeof *server->ports);
    server->counters = mem_zalloc(sink->num_listeners, sizeof *server->counters);
    server->plain = mem_alloc(SERVER_PLAIN_MAX);
    server->cipher = mem_alloc(SERVER_RECV_MAX);
    buffer_init(&server->out, SERVER_OUT_MAX);
    buffer_init(&server->sealed, SERVER_OUT_MAX * 2);
    for (size_t i = 0; i < sink->num_listeners; i++) {
        struct server_port *port = &server->ports[i];
        *port = (struct server_port){.watch = {.fd = -1, .on_ready = on_accept},
                                     .server = server,
                                     .listener = &sink->listeners[i],
                                     .counters = &server->counters[i]};
        if (!loop_watch(&server->loop, &port->watch, fds[i], LOOP_READ))
            return false;
    }
    return true;
}

void server_fini(struct server *server)
{
    for (size_t i = 0; i < server->sink->num_listeners; i++) {
        int fd = server->ports[i].watch.fd;
        loop_unwatch(&server->loop, &server->ports[i].watch);
        close(fd);
    }
    mailbox_fini(&server->mailbox);
    loop_fini(&server->loop);
    buffer_fini(&server->sealed);
    buffer_fini(&server->out);
    free(server->cipher);
    free(server->plain);
    free(server->counters);
    free(server->ports);
}

static void *run(void *ctx)
{
    struct server *server = ctx;
    loop_run(&server->loop);
    return NULL;
}

bool server_start(struct server *server)
{
    int error = pthread_create(&server->thread, NULL, run, server);
    errno = error;
    return error == 0;
}

void server_stop(struct server *server)
{
    mailbox_post(&server->mailbox, &server->stop);
    pthread_join(server->thread, NULL);
}
