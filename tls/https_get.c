/* Connect, handshake, request, response: one after the other, on one timer for it all.
 * What the response is worth is for the caller to say. */
#include "tls/https_get.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HTTPS_PORT = 443, READ_LEN = 16 * 1024 };

enum get_state { GET_CONNECTING, GET_HANDSHAKE, GET_TALKING, GET_DONE };

struct https_get {
    struct https_get_params params;
    enum get_state state;
    int fd; /* owned; -1 */
    struct loop_fd watch;
    struct timer timer;         /* of it all */
    struct timer address_timer; /* before the next address; also the first turn */
    struct loop_garbage garbage;
    struct channel channel; /* initialised while fd >= 0 */
    struct tls_requirement requirement;
    struct http_response response;
    char request[HTTPS_REQUEST_MAX];
    size_t num_addresses, next_address;
    struct host_address addresses[HTTPS_ADDRESSES_MAX];
    char why[TLS_WHY_MAX]; /* of the last address that failed */
};

static void advance(struct https_get *get);

static void close_socket(struct https_get *get)
{
    if (get->fd < 0)
        return;
    loop_unwatch(get->params.loop, &get->watch);
    channel_fini(&get->channel);
    close(get->fd);
    get->fd = -1;
}

static void finish(struct https_get *get, enum https_outcome outcome, const char *why)
{
    get->state = GET_DONE;
    loop_cancel(get->params.loop, &get->timer);
    loop_cancel(get->params.loop, &get->address_timer);
    close_socket(get);
    get->params.on_done(get->params.ctx, outcome, outcome == HTTPS_OK ? &get->response : NULL, why);
}

static bool open_socket(struct https_get *get, const struct host_address *address)
{
    struct sockaddr_storage to;
    socklen_t to_len;
    host_address_to_sockaddr(address, get->params.port, &to, &to_len);
    get->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (get->fd < 0)
        return false;
    channel_init(&get->channel, get->fd);
    if (loop_watch(get->params.loop, &get->watch, get->fd, LOOP_WRITE) &&
        (connect(get->fd, (struct sockaddr *)&to, to_len) == 0 || errno == EINPROGRESS))
        return true;
    int error = errno;
    close_socket(get);
    errno = error;
    return false;
}

static void note_address(struct https_get *get, const struct host_address *address,
                         const char *problem)
{
    char text[46];
    host_address_format(address, text);
    snprintf(get->why, sizeof get->why, "cannot connect to %s port %u: %s", text, get->params.port,
             problem);
}

/* Each address gets its share of the time, the last one all that is left. */
static void try_addresses(struct https_get *get)
{
    while (get->next_address < get->num_addresses) {
        const struct host_address *address = &get->addresses[get->next_address++];
        if (!open_socket(get, address)) {
            note_address(get, address, strerror(errno));
            continue;
        }
        get->state = GET_CONNECTING;
        if (get->next_address < get->num_addresses)
            loop_arm(get->params.loop, &get->address_timer,
                     get->params.timeout_ms / (int64_t)(get->num_addresses + 1));
        return;
    }
    finish(get, HTTPS_FAILED, get->why);
}

static void leave_address(struct https_get *get, const char *problem)
{
    note_address(get, &get->addresses[get->next_address - 1], problem);
    loop_cancel(get->params.loop, &get->address_timer);
    close_socket(get);
    try_addresses(get);
}

static void on_address_timer(struct timer *timer, int64_t now_ms)
{
    struct https_get *get = container_of(timer, struct https_get, address_timer);
    (void)now_ms;
    if (get->fd < 0)
        try_addresses(get);
    else
        leave_address(get, "no answer in time");
}

static void on_timer(struct timer *timer, int64_t now_ms)
{
    static const char *const words[] = {[GET_CONNECTING] = "the connection",
                                        [GET_HANDSHAKE] = "the TLS handshake",
                                        [GET_TALKING] = "the response",
                                        [GET_DONE] = "nothing"};
    struct https_get *get = container_of(timer, struct https_get, timer);
    char why[TLS_WHY_MAX];
    (void)now_ms;
    snprintf(why, sizeof why, "%s took too long", words[get->state]);
    finish(get, HTTPS_FAILED, why);
}

static void connected(struct https_get *get)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(get->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error) {
        leave_address(get, strerror(error ? error : errno));
        return;
    }
    const struct channel_tls_params tls = {.context = get->params.context,
                                           .sni = get->params.host,
                                           .requirement = &get->requirement,
                                           .now_wall_s = get->params.now_wall_s};
    loop_cancel(get->params.loop, &get->address_timer);
    get->state = GET_HANDSHAKE;
    channel_start_tls(&get->channel, &tls, get->params.loop->now_ms);
    advance(get);
}

static void want(struct https_get *get, enum channel_status status)
{
    loop_set_events(get->params.loop, &get->watch,
                    status == CHANNEL_WANT_WRITE ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void shake_hands(struct https_get *get)
{
    struct channel_tls_info info;
    enum channel_status status = channel_handshake(&get->channel, get->params.loop->now_ms, &info);
    if (status == CHANNEL_WANT_READ || status == CHANNEL_WANT_WRITE) {
        want(get, status);
        return;
    }
    if (status != CHANNEL_OK) {
        char why[TLS_WHY_MAX];
        bool bad = get->channel.verdict.fault != TLS_FAULT_NONE;
        snprintf(why, sizeof why, "%s",
                 *channel_error(&get->channel) ? channel_error(&get->channel)
                                               : "the connection ended in the TLS handshake");
        finish(get, bad ? HTTPS_BAD_CERTIFICATE : HTTPS_FAILED, why);
        return;
    }
    size_t len;
    status = channel_write(&get->channel, bytes_of(get->request), &len);
    CHECK(status == CHANNEL_OK && len == strlen(get->request)); /* the cork is empty */
    get->state = GET_TALKING;
    advance(get);
}

static void end_of_stream(struct https_get *get)
{
    bool is_orderly = *channel_error(&get->channel) == '\0';
    if (http_response_end(&get->response, is_orderly))
        finish(get, HTTPS_OK, "");
    else
        finish(get, HTTPS_FAILED, get->response.problem);
}

static void talk(struct https_get *get)
{
    static uint8_t octets[READ_LEN];
    size_t len;
    enum channel_status flushed = channel_flush(&get->channel);
    for (;;) {
        enum channel_status status =
            channel_read(&get->channel, octets, sizeof octets, get->params.loop->now_ms, &len);
        if (status == CHANNEL_WANT_READ || status == CHANNEL_WANT_WRITE) {
            want(get, flushed == CHANNEL_WANT_WRITE ? flushed : status);
            return;
        }
        if (status == CHANNEL_CLOSED) {
            end_of_stream(get);
            return;
        }
        if (status == CHANNEL_FAILED) {
            char why[TLS_WHY_MAX];
            snprintf(why, sizeof why, "%s", channel_error(&get->channel));
            finish(get, HTTPS_FAILED, why);
            return;
        }
        if (!http_response_feed(&get->response, bytes_make(octets, len))) {
            finish(get, HTTPS_FAILED, get->response.problem);
            return;
        }
        if (get->response.is_complete) {
            finish(get, HTTPS_OK, "");
            return;
        }
    }
}

static void advance(struct https_get *get)
{
    switch (get->state) {
    case GET_CONNECTING:
        connected(get);
        return;
    case GET_HANDSHAKE:
        shake_hands(get);
        return;
    case GET_TALKING:
        talk(get);
        return;
    case GET_DONE:
        return;
    }
}

static void on_ready(struct loop_fd *watch, unsigned events)
{
    (void)events;
    advance(container_of(watch, struct https_get, watch));
}

static void write_request(struct https_get *get, const char *path)
{
    char port[8] = "";
    if (get->params.port != HTTPS_PORT)
        snprintf(port, sizeof port, ":%u", get->params.port);
    int len = snprintf(get->request, sizeof get->request,
                       "GET %s HTTP/1.1\r\nHost: %s%s\r\nUser-Agent: sluice\r\n"
                       "Accept: text/plain\r\nConnection: close\r\n\r\n",
                       path, get->params.host, port);
    CHECK(len > 0 && (size_t)len < sizeof get->request);
}

struct https_get *https_get_start(const struct https_get_params *params)
{
    struct https_get *get = mem_zalloc(1, sizeof *get);
    get->params = *params;
    get->fd = -1;
    get->watch = (struct loop_fd){.fd = -1, .on_ready = on_ready};
    get->requirement = (struct tls_requirement){.level = TLS_LEVEL_VERIFY,
                                                .mandatory = true,
                                                .checks = TLS_CHECK_PKIX,
                                                .names_host = true,
                                                .host = params->host};
    http_response_init(&get->response, params->body_max);
    write_request(get, params->path);
    get->num_addresses =
        params->num_addresses < HTTPS_ADDRESSES_MAX ? params->num_addresses : HTTPS_ADDRESSES_MAX;
    memcpy(get->addresses, params->addresses, get->num_addresses * sizeof *get->addresses);
    snprintf(get->why, sizeof get->why, "no address");
    timer_init(&get->timer, on_timer);
    timer_init(&get->address_timer, on_address_timer);
    loop_arm(params->loop, &get->timer, params->timeout_ms);
    loop_arm(params->loop, &get->address_timer, 0);
    return get;
}

static void free_later(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct https_get, garbage));
}

void https_get_free(struct https_get *get)
{
    if (!get)
        return;
    loop_cancel(get->params.loop, &get->timer);
    loop_cancel(get->params.loop, &get->address_timer);
    close_socket(get);
    http_response_fini(&get->response);
    loop_free_later(get->params.loop, &get->garbage, free_later);
}
