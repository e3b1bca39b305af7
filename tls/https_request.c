/* Connect, handshake, request, response: one after the other, on one timer for it all.
 * What the response is worth is for the caller to say. */
#include "tls/https_request.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

enum { HTTPS_PORT = 443, READ_LEN = 16 * 1024 };

enum request_state { REQUEST_CONNECTING, REQUEST_HANDSHAKE, REQUEST_TALKING, REQUEST_DONE };

struct https_request {
    struct https_request_params params;
    enum request_state state;
    int fd; /* owned; -1 */
    struct loop_fd watch;
    struct timer timer;         /* of it all */
    struct timer address_timer; /* before the next address; also the first turn */
    struct loop_garbage garbage;
    struct channel channel; /* initialised while fd >= 0 */
    struct tls_requirement requirement;
    struct http_response response;
    char head[HTTPS_HEAD_MAX];
    struct bytes unsent[2]; /* of head and body; the body is borrowed */
    size_t num_addresses, next_address;
    struct host_address addresses[HTTPS_ADDRESSES_MAX];
    char why[TLS_WHY_MAX]; /* of the last address that failed */
};

static void advance(struct https_request *request);

static void close_socket(struct https_request *request)
{
    if (request->fd < 0)
        return;
    loop_unwatch(request->params.loop, &request->watch);
    channel_fini(&request->channel);
    close(request->fd);
    request->fd = -1;
}

static void finish(struct https_request *request, enum https_outcome outcome, const char *why)
{
    request->state = REQUEST_DONE;
    loop_cancel(request->params.loop, &request->timer);
    loop_cancel(request->params.loop, &request->address_timer);
    close_socket(request);
    request->params.on_done(request->params.ctx, outcome,
                            outcome == HTTPS_OK ? &request->response : NULL, why);
}

static bool open_socket(struct https_request *request, const struct host_address *address)
{
    struct sockaddr_storage to;
    socklen_t to_len;
    host_address_to_sockaddr(address, request->params.port, &to, &to_len);
    request->fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (request->fd < 0)
        return false;
    channel_init(&request->channel, request->fd);
    if (loop_watch(request->params.loop, &request->watch, request->fd, LOOP_WRITE) &&
        (connect(request->fd, (struct sockaddr *)&to, to_len) == 0 || errno == EINPROGRESS))
        return true;
    int error = errno;
    close_socket(request);
    errno = error;
    return false;
}

static void note_address(struct https_request *request, const struct host_address *address,
                         const char *problem)
{
    char text[46];
    host_address_format(address, text);
    snprintf(request->why, sizeof request->why, "cannot connect to %s port %u: %s", text,
             request->params.port, problem);
}

/* Each address gets its share of the time, the last one all that is left. */
static void try_addresses(struct https_request *request)
{
    while (request->next_address < request->num_addresses) {
        const struct host_address *address = &request->addresses[request->next_address++];
        if (!open_socket(request, address)) {
            note_address(request, address, strerror(errno));
            continue;
        }
        request->state = REQUEST_CONNECTING;
        if (request->next_address < request->num_addresses)
            loop_arm(request->params.loop, &request->address_timer,
                     request->params.timeout_ms / (int64_t)(request->num_addresses + 1));
        return;
    }
    finish(request, HTTPS_FAILED, request->why);
}

static void leave_address(struct https_request *request, const char *problem)
{
    note_address(request, &request->addresses[request->next_address - 1], problem);
    loop_cancel(request->params.loop, &request->address_timer);
    close_socket(request);
    try_addresses(request);
}

static void on_address_timer(struct timer *timer, int64_t now_ms)
{
    struct https_request *request = container_of(timer, struct https_request, address_timer);
    (void)now_ms;
    if (request->fd < 0)
        try_addresses(request);
    else
        leave_address(request, "no answer in time");
}

static void on_timer(struct timer *timer, int64_t now_ms)
{
    static const char *const words[] = {[REQUEST_CONNECTING] = "the connection",
                                        [REQUEST_HANDSHAKE] = "the TLS handshake",
                                        [REQUEST_TALKING] = "the response",
                                        [REQUEST_DONE] = "nothing"};
    struct https_request *request = container_of(timer, struct https_request, timer);
    char why[TLS_WHY_MAX];
    (void)now_ms;
    snprintf(why, sizeof why, "%s took too long", words[request->state]);
    finish(request, HTTPS_FAILED, why);
}

static void connected(struct https_request *request)
{
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(request->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0 || error) {
        leave_address(request, strerror(error ? error : errno));
        return;
    }
    const struct channel_tls_params tls = {.context = request->params.context,
                                           .sni = request->params.host,
                                           .requirement = &request->requirement,
                                           .now_wall_s = request->params.now_wall_s};
    loop_cancel(request->params.loop, &request->address_timer);
    request->state = REQUEST_HANDSHAKE;
    channel_start_tls(&request->channel, &tls, request->params.loop->now_ms);
    advance(request);
}

static void want(struct https_request *request, enum channel_status status)
{
    loop_set_events(request->params.loop, &request->watch,
                    status == CHANNEL_WANT_WRITE ? LOOP_READ | LOOP_WRITE : LOOP_READ);
}

static void shake_hands(struct https_request *request)
{
    struct channel_tls_info info;
    enum channel_status status =
        channel_handshake(&request->channel, request->params.loop->now_ms, &info);
    if (status == CHANNEL_WANT_READ || status == CHANNEL_WANT_WRITE) {
        want(request, status);
        return;
    }
    if (status != CHANNEL_OK) {
        char why[TLS_WHY_MAX];
        bool bad = request->channel.verdict.fault != TLS_FAULT_NONE;
        snprintf(why, sizeof why, "%s",
                 *channel_error(&request->channel) ? channel_error(&request->channel)
                                                   : "the connection ended in the TLS handshake");
        finish(request, bad ? HTTPS_BAD_CERTIFICATE : HTTPS_FAILED, why);
        return;
    }
    request->state = REQUEST_TALKING;
    advance(request);
}

static void end_of_stream(struct https_request *request)
{
    bool is_orderly = *channel_error(&request->channel) == '\0';
    if (http_response_end(&request->response, is_orderly))
        finish(request, HTTPS_OK, "");
    else
        finish(request, HTTPS_FAILED, request->response.problem);
}

/* WANT_WRITE: the socket is full, and the rest has its turn when it is not. */
static enum channel_status send_rest(struct https_request *request)
{
    for (size_t i = 0; i < sizeof request->unsent / sizeof *request->unsent; i++) {
        struct bytes *unsent = &request->unsent[i];
        while (unsent->len) {
            size_t len;
            enum channel_status status = channel_write(&request->channel, *unsent, &len);
            *unsent = bytes_from(*unsent, len);
            if (status == CHANNEL_WANT_WRITE)
                status = channel_flush(&request->channel);
            if (status != CHANNEL_OK)
                return status;
        }
    }
    return channel_flush(&request->channel);
}

/* Reads on while it sends: a server may answer before it has all, and then take no more. */
static void talk(struct https_request *request)
{
    uint8_t octets[READ_LEN];
    size_t len;
    enum channel_status flushed = send_rest(request);
    for (;;) {
        enum channel_status status = channel_read(&request->channel, octets, sizeof octets,
                                                  request->params.loop->now_ms, &len);
        if (status == CHANNEL_WANT_READ || status == CHANNEL_WANT_WRITE) {
            want(request, flushed == CHANNEL_WANT_WRITE ? flushed : status);
            return;
        }
        if (status == CHANNEL_CLOSED) {
            end_of_stream(request);
            return;
        }
        if (status == CHANNEL_FAILED) {
            char why[TLS_WHY_MAX];
            snprintf(why, sizeof why, "%s", channel_error(&request->channel));
            finish(request, HTTPS_FAILED, why);
            return;
        }
        if (!http_response_feed(&request->response, bytes_make(octets, len))) {
            finish(request, HTTPS_FAILED, request->response.problem);
            return;
        }
        if (request->response.is_complete) {
            finish(request, HTTPS_OK, "");
            return;
        }
    }
}

static void advance(struct https_request *request)
{
    switch (request->state) {
    case REQUEST_CONNECTING:
        connected(request);
        return;
    case REQUEST_HANDSHAKE:
        shake_hands(request);
        return;
    case REQUEST_TALKING:
        talk(request);
        return;
    case REQUEST_DONE:
        return;
    }
}

static void on_ready(struct loop_fd *watch, unsigned events)
{
    (void)events;
    advance(container_of(watch, struct https_request, watch));
}

static void write_head(struct https_request *request)
{
    const struct https_request_params *params = &request->params;
    char port[8] = "", content[160] = "";
    const char *slash = *params->target == '/' ? "" : "/";
    if (params->port != HTTPS_PORT)
        snprintf(port, sizeof port, ":%u", params->port);
    if (params->content_type)
        snprintf(content, sizeof content, "Content-Type: %s\r\nContent-Length: %zu\r\n",
                 params->content_type, params->content.len);
    int len = snprintf(request->head, sizeof request->head,
                       "%s %s%s HTTP/1.1\r\nHost: %s%s\r\nUser-Agent: sluice\r\n"
                       "Accept: %s\r\n%sConnection: close\r\n\r\n",
                       params->content_type ? "POST" : "GET", slash, params->target, params->host,
                       port, params->accept, content);
    CHECK(len > 0 && (size_t)len < sizeof request->head);
    request->unsent[0] = bytes_of(request->head);
    if (params->content_type)
        request->unsent[1] = params->content;
}

struct https_request *https_request_start(const struct https_request_params *params)
{
    struct https_request *request = mem_zalloc(1, sizeof *request);
    request->params = *params;
    request->fd = -1;
    request->watch = (struct loop_fd){.fd = -1, .on_ready = on_ready};
    request->requirement = (struct tls_requirement){
        .level = params->any_certificate ? TLS_LEVEL_ENCRYPT : TLS_LEVEL_VERIFY,
        .mandatory = true,
        .checks = params->any_certificate ? 0 : TLS_CHECK_PKIX,
        .names_host = true,
        .host = params->host};
    http_response_init(&request->response, params->body_max);
    write_head(request);
    request->num_addresses =
        params->num_addresses < HTTPS_ADDRESSES_MAX ? params->num_addresses : HTTPS_ADDRESSES_MAX;
    memcpy(request->addresses, params->addresses,
           request->num_addresses * sizeof *request->addresses);
    snprintf(request->why, sizeof request->why, "no address");
    timer_init(&request->timer, on_timer);
    timer_init(&request->address_timer, on_address_timer);
    loop_arm(params->loop, &request->timer, params->timeout_ms);
    loop_arm(params->loop, &request->address_timer, 0);
    return request;
}

static void free_later(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct https_request, garbage));
}

void https_request_free(struct https_request *request)
{
    if (!request)
        return;
    loop_cancel(request->params.loop, &request->timer);
    loop_cancel(request->params.loop, &request->address_timer);
    close_socket(request);
    http_response_fini(&request->response);
    loop_free_later(request->params.loop, &request->garbage, free_later);
}

static size_t take_addresses(const struct answer *answer, bool allow_local,
                             struct host_address out[HTTPS_ADDRESSES_MAX / 2])
{
    size_t num = 0;
    for (size_t i = 0; answer && answer->status == ANSWER_RECORDS && i < answer->num_records; i++) {
        const struct host_address *address = &answer->records[i].address;
        if (!allow_local && host_address_is_local(address))
            continue;
        if (num == HTTPS_ADDRESSES_MAX / 2)
            break;
        out[num++] = *address;
    }
    return num;
}

size_t https_addresses(const struct answer *aaaa, const struct answer *a, bool allow_local,
                       struct host_address out[HTTPS_ADDRESSES_MAX])
{
    struct host_address six[HTTPS_ADDRESSES_MAX / 2], four[HTTPS_ADDRESSES_MAX / 2];
    size_t num = 0;
    size_t num_six = take_addresses(aaaa, allow_local, six);
    size_t num_four = take_addresses(a, allow_local, four);
    for (size_t i = 0; i < HTTPS_ADDRESSES_MAX / 2; i++) {
        if (i < num_six)
            out[num++] = six[i];
        if (i < num_four)
            out[num++] = four[i];
    }
    return num;
}
