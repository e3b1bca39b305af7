/* Binds every listener once per thread, on ports that the first ones found free.
 * It accepts nothing. */
#include "bench/sink/ports.h"

#include "bench/sink/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <unistd.h>

enum { PORT_ATTEMPTS = 32 };

static in_port_t *port_of(struct personality *p)
{
    return p->address.ss_family == AF_INET6 ? &((struct sockaddr_in6 *)&p->address)->sin6_port
                                            : &((struct sockaddr_in *)&p->address)->sin_port;
}

static int open_one(struct personality *p, bool shared)
{
    int on = 1;
    int fd = socket(p->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    /* Not for a single thread: two sinks by mistake on one port would share the mail. */
    if (shared)
        setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* accepted sockets inherit it */
    socklen_t len = sizeof p->address;
    if (bind(fd, (struct sockaddr *)&p->address, p->address_len) != 0 ||
        listen(fd, SERVER_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&p->address, &len) != 0) {
        int error = errno;
        close(fd);
        errno = error;
        return -1;
    }
    return fd;
}

static bool open_all(struct options *options, int *out_fds, size_t *out_num)
{
    *out_num = 0;
    for (unsigned thread = 0; thread < options->threads; thread++) {
        for (size_t i = 0; i < options->num_personalities; i++) {
            struct personality *p = &options->personalities[i];
            if (p->same_port)
                *port_of(p) = *port_of(&options->personalities[0]);
            int fd = open_one(p, options->threads > 1);
            if (fd < 0)
                return false;
            out_fds[(*out_num)++] = fd;
        }
    }
    return true;
}

bool ports_open(struct options *options, int *out_fds)
{
    in_port_t first = *port_of(&options->personalities[0]);
    size_t num;
    /* A port that was free on the first address may be taken on another that wants the same. */
    for (unsigned attempt = 1;; attempt++) {
        if (open_all(options, out_fds, &num))
            return true;
        int error = errno;
        while (num > 0)
            close(out_fds[--num]);
        errno = error;
        if (error != EADDRINUSE || first != 0 || attempt == PORT_ATTEMPTS)
            return false;
        *port_of(&options->personalities[0]) = 0;
    }
}

void ports_address(const struct personality *p, char out[PORTS_ADDRESS_MAX])
{
    char host[INET6_ADDRSTRLEN] = "";
    if (p->address.ss_family == AF_INET6) {
        const struct sockaddr_in6 *six = (const struct sockaddr_in6 *)&p->address;
        inet_ntop(AF_INET6, &six->sin6_addr, host, sizeof host);
        snprintf(out, PORTS_ADDRESS_MAX, "[%s]:%u", host, ntohs(six->sin6_port));
    } else {
        const struct sockaddr_in *four = (const struct sockaddr_in *)&p->address;
        inet_ntop(AF_INET, &four->sin_addr, host, sizeof host);
        snprintf(out, PORTS_ADDRESS_MAX, "%s:%u", host, ntohs(four->sin_port));
    }
}
