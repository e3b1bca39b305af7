/* The control thread: accepts, reads lines, hands them to the command table, writes answers.
 * It knows no command; see control_command.c. */
#include "router/control.h"

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"
#include "router/control_command.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CONTROL_ANSWERED = 80, CONTROL_STOP };
enum { LISTEN_BACKLOG = 16, STOP_WAIT_MS = 1000, READ_STEP = 4096, ACCEPT_PAUSE_MS = 1000 };

static const char socket_name[] = "control";

struct client {
    struct loop_fd watch;
    struct loop_garbage garbage;
    struct control *control;
    struct client *prev, *next;
    struct timer timer; /* CONTROL_WAIT_MS for the peer to do the next thing */
    struct buffer in, out;
    struct control_call call;
    bool busy;    /* the call is out: not to be freed */
    bool at_end;  /* it will ask nothing more; what it asked is answered */
    bool is_gone; /* it will not read an answer either */
};

struct control {
    const struct control_services *services;
    pthread_t thread;
    bool started;
    struct loop loop;
    struct mailbox mailbox;
    struct mailbox_item stop_item;
    struct loop_fd listener;
    struct timer accept_timer; /* out of descriptors: accept again later */
    struct timer stop_timer;
    struct client *clients;
    unsigned num_clients;
    int root_fd;    /* borrowed from the spool */
    int reserve_fd; /* closed to let one client in when descriptors are used up; -1: it is in use */
    bool stopping;
};

void control_answer(struct control_call *call, json_t *answer)
{
    CHECK(!call->answer);
    call->answer = answer;
    call->item.kind = CONTROL_ANSWERED;
    mailbox_post(call->home, &call->item);
}

void control_refuse(struct control_call *call, const char *code, const char *text)
{
    control_answer(call, json_pack("{s:b, s:s, s:s}", "ok", 0, "code", code, "error", text));
}

static void unlink_client(struct client *client)
{
    struct control *control = client->control;
    if (client->prev)
        client->prev->next = client->next;
    else
        control->clients = client->next;
    if (client->next)
        client->next->prev = client->prev;
    control->num_clients--;
}

static void free_client(struct loop_garbage *garbage)
{
    struct client *client = container_of(garbage, struct client, garbage);
    buffer_fini(&client->in);
    buffer_fini(&client->out);
    json_decref(client->call.request);
    json_decref(client->call.answer);
    free(client);
}

static void refill_reserve(struct control *control)
{
    if (control->reserve_fd < 0)
        control->reserve_fd = fcntl(control->root_fd, F_DUPFD_CLOEXEC, 0);
}

/* Whose call is out goes when it is back. */
static void drop_client(struct client *client)
{
    struct control *control = client->control;
    int fd = client->watch.fd;
    client->is_gone = true;
    loop_cancel(&control->loop, &client->timer);
    loop_unwatch(&control->loop, &client->watch);
    if (fd >= 0)
        close(fd);
    refill_reserve(control);
    buffer_clear(&client->in);
    buffer_clear(&client->out);
    if (client->busy)
        return;
    unlink_client(client);
    loop_free_later(&control->loop, &client->garbage, free_client);
    if (control->stopping && control->num_clients == 0)
        loop_stop(&control->loop);
}

static void on_patience_over(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    drop_client(container_of(timer, struct client, timer));
}

/* False: the peer is gone. */
static bool flush(struct client *client)
{
    while (client->out.len) {
        ssize_t n = send(client->watch.fd, client->out.at, client->out.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        buffer_consume(&client->out, (size_t)n);
    }
    return true;
}

static void put_answer(struct client *client, const json_t *answer)
{
    char *text = json_dumps(answer, JSON_COMPACT | JSON_REAL_PRECISION(14));
    bool fits =
        text && buffer_append_str(&client->out, text) && buffer_append_byte(&client->out, '\n');
    free(text);
    if (fits)
        return;
    buffer_clear(&client->out);
    buffer_append_str(
        &client->out,
        "{\"ok\":false,\"code\":\"software\",\"error\":\"the answer is too long\"}\n");
}

static void put_refusal(struct client *client, const char *code, const char *text)
{
    json_t *answer = json_pack("{s:b, s:s, s:s}", "ok", 0, "code", code, "error", text);
    put_answer(client, answer);
    json_decref(answer);
}

static void begin_call(struct client *client, const char *line, size_t len)
{
    json_error_t error;
    json_t *request = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
    if (!json_is_object(request)) {
        json_decref(request);
        put_refusal(client, "usage", "a request is one JSON object on a line");
        return;
    }
    client->call = (struct control_call){
        .services = client->control->services,
        .request = request,
        .home = &client->control->mailbox,
    };
    client->busy = true;
    loop_cancel(&client->control->loop, &client->timer);
    control_command_run(&client->call);
}

/* One request at a time: the next line is looked at when the answer is written. */
static void take_requests(struct client *client)
{
    while (!client->busy && client->out.len == 0) {
        size_t len = bytes_find(buffer_bytes(&client->in), '\n');
        if (len == client->in.len)
            break;
        if (len > 0)
            begin_call(client, (const char *)client->in.at, len);
        buffer_consume(&client->in, len + 1);
    }
    if (!client->busy && client->out.len == 0 && client->in.len >= CONTROL_REQUEST_MAX) {
        put_refusal(client, "usage", "the request is too long");
        client->at_end = true;
        buffer_clear(&client->in);
    }
}

/* What is waited for next, and how long. */
static void go_on(struct client *client)
{
    struct control *control = client->control;
    do {
        take_requests(client);
        if (!flush(client)) {
            drop_client(client);
            return;
        }
    } while (!client->busy && client->out.len == 0 &&
             bytes_find(buffer_bytes(&client->in), '\n') < client->in.len);
    if (!client->busy && client->out.len == 0 && (client->at_end || control->stopping)) {
        drop_client(client);
        return;
    }
    unsigned events = client->out.len ? LOOP_WRITE : 0;
    if (!client->busy && !client->out.len)
        events |= LOOP_READ;
    loop_set_events(&control->loop, &client->watch, events);
    /* Not armed anew by each octet: it is the time for a whole answer and a whole request. */
    if (!client->busy && !timer_is_armed(&client->timer))
        loop_arm(&control->loop, &client->timer, CONTROL_WAIT_MS);
}

/* False: the peer is gone. */
static bool read_more(struct client *client)
{
    for (;;) {
        size_t room = CONTROL_REQUEST_MAX - client->in.len;
        room = room < READ_STEP ? room : READ_STEP;
        uint8_t *at = room ? buffer_reserve(&client->in, room) : NULL;
        if (!at)
            return true;
        ssize_t n = recv(client->watch.fd, at, room, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0) {
            client->at_end = true;
            return true;
        }
        client->in.len += (size_t)n;
    }
}

static void on_ready(struct loop_fd *watch, unsigned events)
{
    struct client *client = container_of(watch, struct client, watch);
    bool ok = true;
    if (events & LOOP_READ)
        ok = read_more(client);
    else if (events & LOOP_HANGUP)
        ok = false;
    if (ok)
        go_on(client);
    else
        drop_client(client);
}

static void add_client(struct control *control, int fd)
{
    struct client *client = mem_zalloc(1, sizeof *client);
    client->control = control;
    client->watch = (struct loop_fd){.fd = -1, .on_ready = on_ready};
    timer_init(&client->timer, on_patience_over);
    buffer_init(&client->in, CONTROL_REQUEST_MAX);
    buffer_init(&client->out, CONTROL_ANSWER_MAX);
    if (!loop_watch(&control->loop, &client->watch, fd, LOOP_READ)) {
        close(fd);
        free_client(&client->garbage);
        return;
    }
    client->next = control->clients;
    if (control->clients)
        control->clients->prev = client;
    control->clients = client;
    control->num_clients++;
    loop_arm(&control->loop, &client->timer, CONTROL_WAIT_MS);
}

/* The trouble must be visible just when no descriptor is left: one client after the other is let in
 * at the reserve's place. */
static int accept_client(struct control *control)
{
    int listener = control->listener.fd;
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0 || (errno != EMFILE && errno != ENFILE) || control->reserve_fd < 0)
        return fd;
    close(control->reserve_fd);
    control->reserve_fd = -1;
    return accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
}

static void on_connection(struct loop_fd *watch, unsigned events)
{
    (void)events;
    static const char busy[] =
        "{\"ok\":false,\"code\":\"tempfail\",\"error\":\"too many clients at once\"}\n";
    struct control *control = container_of(watch, struct control, listener);
    int fd;
    while ((fd = accept_client(control)) >= 0) {
        if (control->num_clients < CONTROL_CLIENTS_MAX) {
            add_client(control, fd);
            continue;
        }
        (void)!send(fd, busy, sizeof busy - 1, MSG_NOSIGNAL);
        close(fd);
    }
    if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
        return;
    log_warning("control socket: %s", strerror(errno));
    loop_set_events(&control->loop, watch, 0);
    loop_arm(&control->loop, &control->accept_timer, ACCEPT_PAUSE_MS);
}

static void accept_again(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    struct control *control = container_of(timer, struct control, accept_timer);
    refill_reserve(control);
    loop_set_events(&control->loop, &control->listener, LOOP_READ);
}

static void remove_socket(struct control *control)
{
    int fd = control->listener.fd;
    if (fd < 0)
        return;
    loop_cancel(&control->loop, &control->accept_timer);
    loop_unwatch(&control->loop, &control->listener);
    close(fd);
    (void)unlinkat(control->root_fd, socket_name, 0);
}

static void on_stop_over(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    loop_stop(&container_of(timer, struct control, stop_timer)->loop);
}

static void stop(struct control *control)
{
    control->stopping = true;
    remove_socket(control);
    loop_arm(&control->loop, &control->stop_timer, STOP_WAIT_MS);
    if (control->num_clients == 0)
        loop_stop(&control->loop);
    for (struct client *client = control->clients, *next; client; client = next) {
        next = client->next;
        if (!client->is_gone)
            go_on(client);
    }
}

static void on_answered(struct client *client)
{
    json_t *answer = client->call.answer;
    client->busy = false;
    if (client->is_gone) {
        drop_client(client);
        return;
    }
    put_answer(client, answer);
    json_decref(client->call.request);
    json_decref(answer);
    client->call.request = client->call.answer = NULL;
    go_on(client);
}

static void on_item(void *ctx, struct mailbox_item *item)
{
    struct control *control = ctx;
    if (item->kind == CONTROL_STOP) {
        stop(control);
        return;
    }
    CHECK(item->kind == CONTROL_ANSWERED);
    on_answered(container_of(item, struct client, call.item));
}

struct sockaddr_un control_address(int root_fd)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s", root_fd,
             socket_name);
    return address;
}

/* We hold the lock, so a socket that is there belongs to nobody. Anything else of that name is left
 * alone, and bind() fails. */
static void remove_stale(int root_fd)
{
    struct stat st;
    if (fstatat(root_fd, socket_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISSOCK(st.st_mode))
        (void)unlinkat(root_fd, socket_name, 0);
}

/* The mode is that of the socket before it has a name: nobody can connect in between. */
static int open_listener(int root_fd)
{
    struct sockaddr_un address = control_address(root_fd);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && fchmod(fd, 0600) == 0 &&
        bind(fd, (const struct sockaddr *)&address, sizeof address) == 0 &&
        listen(fd, LISTEN_BACKLOG) == 0)
        return fd;
    int error = errno;
    if (fd >= 0)
        close(fd);
    return -error;
}

static int set_up(struct control *control)
{
    if (!loop_init(&control->loop))
        return -errno;
    if (!mailbox_init(&control->mailbox, &control->loop, on_item, control)) {
        int error = errno;
        loop_fini(&control->loop);
        return -error;
    }
    timer_init(&control->accept_timer, accept_again);
    timer_init(&control->stop_timer, on_stop_over);
    control->listener = (struct loop_fd){.fd = -1, .on_ready = on_connection};
    remove_stale(control->root_fd);
    int fd = open_listener(control->root_fd);
    if (fd >= 0 && loop_watch(&control->loop, &control->listener, fd, LOOP_READ)) {
        refill_reserve(control);
        return 0;
    }
    int error = fd < 0 ? -fd : errno;
    if (fd >= 0)
        close(fd);
    mailbox_fini(&control->mailbox);
    loop_fini(&control->loop);
    return -error;
}

struct control *control_new(const struct spool *spool, const struct control_services *services,
                            char why[SPOOL_WHY_MAX])
{
    struct control *control = mem_zalloc(1, sizeof *control);
    control->services = services;
    control->root_fd = spool->root_fd;
    control->reserve_fd = -1;
    int result = set_up(control);
    if (result == 0)
        return control;
    snprintf(why, SPOOL_WHY_MAX, "%.150s/%s: %s", spool->path, socket_name, strerror(-result));
    free(control);
    return NULL;
}

static void *control_main(void *ctx)
{
    struct control *control = ctx;
    loop_run(&control->loop);
    return NULL;
}

bool control_start(struct control *control)
{
    int rc = pthread_create(&control->thread, NULL, control_main, control);
    if (rc != 0) {
        errno = rc;
        return false;
    }
    pthread_setname_np(control->thread, "control");
    control->started = true;
    return true;
}

void control_stop(struct control *control)
{
    control->stop_item.kind = CONTROL_STOP;
    mailbox_post(&control->mailbox, &control->stop_item);
    pthread_join(control->thread, NULL);
    control->started = false;
}

void control_free(struct control *control)
{
    if (!control)
        return;
    CHECK(!control->started);
    control->stopping = true;
    mailbox_drain(&control->mailbox);
    while (control->clients) {
        control->clients->busy = false; /* nobody is left who would answer */
        drop_client(control->clients);
    }
    remove_socket(control);
    if (control->reserve_fd >= 0)
        close(control->reserve_fd);
    mailbox_fini(&control->mailbox);
    loop_fini(&control->loop);
    free(control);
}
