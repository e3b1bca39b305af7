/* Connecting to SPOOL/control, one line out, one line in.
 * It knows no command. */
#include "router/control_client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sysexits.h>
#include <unistd.h>

enum { READ_STEP = 16 * 1024 };

static int exit_code_of(int error)
{
    switch (error) {
    case ENOENT:
    case ECONNREFUSED:
        return EX_UNAVAILABLE;
    case EACCES:
    case EPERM:
        return EX_NOPERM;
    default:
        return EX_OSERR;
    }
}

static int connect_to(int root_fd, int *out_fd)
{
    struct sockaddr_un address = control_address(root_fd);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
        *out_fd = fd;
        return 0;
    }
    int error = errno;
    close(fd);
    return error;
}

int control_client_open(struct control_client *client, const char *spool_path)
{
    *client = (struct control_client){.fd = -1};
    buffer_init(&client->in, CONTROL_ANSWER_MAX);
    int root_fd = open(spool_path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (root_fd < 0) {
        snprintf(client->why, sizeof client->why, "%.150s: %s", spool_path, strerror(errno));
        return errno == EACCES ? EX_NOPERM : EX_NOINPUT;
    }
    int error = connect_to(root_fd, &client->fd);
    close(root_fd);
    if (error == ENOENT || error == ECONNREFUSED)
        snprintf(client->why, sizeof client->why, "no router is running on %.150s", spool_path);
    else if (error)
        snprintf(client->why, sizeof client->why, "%.150s/control: %s", spool_path,
                 strerror(error));
    return error ? exit_code_of(error) : EX_OK;
}

void control_client_close(struct control_client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    buffer_fini(&client->in);
}

static bool send_request(struct control_client *client, const json_t *request)
{
    char *text = json_dumps(request, JSON_COMPACT);
    struct buffer out;
    buffer_init(&out, CONTROL_REQUEST_MAX);
    bool ok = text && buffer_append_str(&out, text) && buffer_append_byte(&out, '\n');
    if (!ok)
        errno = EMSGSIZE;
    while (ok && out.len) {
        ssize_t n = send(client->fd, out.at, out.len, MSG_NOSIGNAL);
        ok = n > 0 || (n < 0 && errno == EINTR);
        buffer_consume(&out, n > 0 ? (size_t)n : 0);
    }
    int error = errno;
    free(text);
    buffer_fini(&out);
    errno = error;
    return ok;
}

/* The length of the next line, which ends at that position; 0 with errno set (0: closed). */
static size_t read_line(struct control_client *client)
{
    for (;;) {
        size_t len = bytes_find(buffer_bytes(&client->in), '\n');
        if (len < client->in.len)
            return len;
        uint8_t *at = buffer_reserve(&client->in, READ_STEP);
        errno = EMSGSIZE;
        ssize_t n = at ? recv(client->fd, at, READ_STEP, 0) : -1;
        if (n < 0 && errno == EINTR)
            continue;
        if (n == 0)
            errno = 0;
        if (n <= 0)
            return 0;
        client->in.len += (size_t)n;
    }
}

static json_t *read_answer(struct control_client *client)
{
    json_error_t error;
    size_t len = read_line(client);
    if (!len)
        return NULL;
    json_t *answer = json_loadb((const char *)client->in.at, len, 0, &error);
    buffer_consume(&client->in, len + 1);
    if (json_is_object(answer))
        return answer;
    json_decref(answer);
    errno = EBADMSG;
    return NULL;
}

json_t *control_client_ask(struct control_client *client, const json_t *request, int patience_ms)
{
    struct timeval patience = {.tv_sec = patience_ms / 1000, .tv_usec = patience_ms % 1000 * 1000};
    (void)setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    /* A router that has no room for us answers and closes unasked: so reading is tried in any case.
     */
    bool sent = send_request(client, request);
    int send_errno = errno;
    json_t *answer = read_answer(client);
    if (!answer)
        snprintf(client->why, sizeof client->why, "no answer from the router: %s",
                 errno == EAGAIN ? "it takes too long"
                 : errno         ? strerror(errno)
                 : sent          ? "it has closed the connection"
                                 : strerror(send_errno));
    return answer;
}
