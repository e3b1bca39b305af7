/* Races a route's addresses until one connects.
 * It speaks no protocol and judges nothing: the connection does. */
#include "router/dialer.h"

#include "base/check.h"
#include "base/memory.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

static void on_racer_ready(struct loop_fd *watch, unsigned events);
static void on_racer_timeout(struct timer *timer, int64_t now_ms);
static void on_next(struct timer *timer, int64_t now_ms);

void dialer_init(struct dialer *dialer, struct loop *loop, const struct config *config)
{
    *dialer = (struct dialer){.loop = loop, .config = config};
    timer_init(&dialer->next_timer, on_next);
    for (unsigned i = 0; i < DIALER_RACERS; i++) {
        struct racer *racer = &dialer->racers[i];
        *racer = (struct racer){.dialer = dialer, .fd = -1};
        racer->watch = (struct loop_fd){.fd = -1, .on_ready = on_racer_ready};
        timer_init(&racer->timer, on_racer_timeout);
    }
}

void dialer_reset(struct dialer *dialer, const struct route *route, uint8_t preferred_family)
{
    dialer_stop(dialer);
    dialer->route = route;
    dialer->preferred_family = preferred_family;
    dialer->num_sessions = 0;
    for (unsigned i = 0; i < ROUTE_HOSTS_MAX; i++)
        dialer->used[i] = 0;
}

void dialer_skip_host(struct dialer *dialer, size_t host)
{
    CHECK(host < ROUTE_HOSTS_MAX);
    dialer->used[host] = UINT16_MAX;
}

void dialer_skip_address(struct dialer *dialer, struct dialed at)
{
    CHECK(at.host < ROUTE_HOSTS_MAX);
    dialer->used[at.host] |= (uint16_t)(1u << at.address);
}

void dialer_use_route(struct dialer *dialer, const struct route *route)
{
    dialer->route = route;
}

static bool is_used(const struct dialer *dialer, struct dialed at)
{
    return dialer->used[at.host] >> at.address & 1;
}

/* The next address that has not had its turn: hosts in order, the family that worked last first. */
static bool find_next(const struct dialer *dialer, struct dialed *out)
{
    for (uint8_t h = 0; h < dialer->route->num_hosts; h++) {
        const struct route_host *host = &dialer->route->hosts[h];
        bool found = false;
        for (uint8_t a = 0; a < host->num_addresses; a++) {
            struct dialed at = {h, a};
            if (is_used(dialer, at))
                continue;
            if (!found || host->addresses[a].family == dialer->preferred_family)
                *out = at;
            found = true;
            if (host->addresses[a].family == dialer->preferred_family)
                return true;
        }
        if (found)
            return true;
    }
    return false;
}

static struct racer *free_racer(struct dialer *dialer)
{
    for (unsigned i = 0; i < DIALER_RACERS; i++)
        if (dialer->racers[i].fd < 0)
            return &dialer->racers[i];
    return NULL;
}

/* All are under way. */
static struct racer *longest_racer(struct dialer *dialer)
{
    struct racer *longest = &dialer->racers[0];
    for (unsigned i = 1; i < DIALER_RACERS; i++)
        if (dialer->racers[i].began_ms < longest->began_ms)
            longest = &dialer->racers[i];
    return longest;
}

static bool is_racing(const struct dialer *dialer)
{
    for (unsigned i = 0; i < DIALER_RACERS; i++)
        if (dialer->racers[i].fd >= 0)
            return true;
    return false;
}

static void stop_racer(struct racer *racer, bool close_fd)
{
    if (racer->fd < 0)
        return;
    loop_unwatch(racer->dialer->loop, &racer->watch);
    loop_cancel(racer->dialer->loop, &racer->timer);
    if (close_fd)
        close(racer->fd);
    racer->fd = -1;
}

void dialer_stop(struct dialer *dialer)
{
    loop_cancel(dialer->loop, &dialer->next_timer);
    for (unsigned i = 0; i < DIALER_RACERS; i++)
        stop_racer(&dialer->racers[i], true);
}

static void give_back(struct dialer *dialer, struct dialed at)
{
    dialer->used[at.host] &= (uint16_t) ~(1u << at.address);
}

/* The winner takes the race; those still running have not had their turn. */
static void win(struct racer *winner)
{
    struct dialer *dialer = winner->dialer;
    struct dialed at = winner->at;
    int fd = winner->fd;
    stop_racer(winner, false);
    for (unsigned i = 0; i < DIALER_RACERS; i++) {
        struct racer *racer = &dialer->racers[i];
        if (racer->fd < 0)
            continue;
        give_back(dialer, racer->at);
        stop_racer(racer, true);
    }
    loop_cancel(dialer->loop, &dialer->next_timer);
    dialer->num_sessions++;
    dialer->on_connected(dialer, fd, at);
}

static int open_socket(struct racer *racer, const struct host_address *address, uint16_t port)
{
    struct sockaddr_storage to;
    socklen_t to_len;
    host_address_to_sockaddr(address, port, &to, &to_len);
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&to, to_len) != 0 && errno != EINPROGRESS) {
        int error = errno;
        close(fd);
        return -error;
    }
    if (!loop_watch(racer->dialer->loop, &racer->watch, fd, LOOP_WRITE)) {
        int error = errno;
        close(fd);
        return -error;
    }
    return fd;
}

static bool start(struct racer *racer, struct dialed at)
{
    struct dialer *dialer = racer->dialer;
    dialer_skip_address(dialer, at);
    int fd = open_socket(racer, dialed_address(dialer->route, at), dialer->route->port);
    if (fd < 0) {
        dialer->on_failed(dialer, at, -fd);
        return false;
    }
    racer->fd = fd;
    racer->at = at;
    racer->began_ms = dialer->loop->now_ms;
    loop_arm(dialer->loop, &racer->timer, dialer->config->smtp.connect_timeout_ms);
    return true;
}

void dialer_redial(struct dialer *dialer, struct dialed at)
{
    CHECK(!is_racing(dialer));
    if (dialer->num_sessions >= DIALER_SESSIONS_MAX || !start(&dialer->racers[0], at))
        dialer_go(dialer);
}

/* Starts one more address. 1: it runs; 0: it failed at once; -1: none is left, or no slot is free.
 */
static int start_next(struct dialer *dialer)
{
    struct dialed at;
    struct racer *racer = free_racer(dialer);
    if (dialer->num_sessions >= DIALER_SESSIONS_MAX || !find_next(dialer, &at))
        return -1;
    if (!racer) {
        int64_t waited_ms = dialer->loop->now_ms - longest_racer(dialer)->began_ms;
        loop_arm(dialer->loop, &dialer->next_timer,
                 waited_ms < DIALER_PATIENCE_MS ? DIALER_PATIENCE_MS - waited_ms : 0);
        return -1;
    }
    if (!start(racer, at))
        return 0;
    struct dialed next;
    if (find_next(dialer, &next)) {
        int64_t delay_ms = dialer->config->smtp.race_delay_ms;
        if (next.host != at.host)
            delay_ms *= DIALER_HOST_PATIENCE;
        loop_arm(dialer->loop, &dialer->next_timer, delay_ms);
    }
    return 1;
}

void dialer_go(struct dialer *dialer)
{
    int started;
    do
        started = start_next(dialer);
    while (started == 0);
    if (started < 0 && !is_racing(dialer))
        dialer->on_exhausted(dialer);
}

static void fail(struct racer *racer, int error)
{
    struct dialer *dialer = racer->dialer;
    stop_racer(racer, true);
    dialer->on_failed(dialer, racer->at, error);
    dialer_go(dialer);
}

static void on_next(struct timer *timer, int64_t now_ms)
{
    struct dialer *dialer = container_of(timer, struct dialer, next_timer);
    struct racer *longest = free_racer(dialer) ? NULL : longest_racer(dialer);
    if (longest && now_ms - longest->began_ms >= DIALER_PATIENCE_MS)
        fail(longest, ETIMEDOUT);
    else
        dialer_go(dialer);
}

static void on_racer_timeout(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    fail(container_of(timer, struct racer, timer), ETIMEDOUT);
}

static void on_racer_ready(struct loop_fd *watch, unsigned events)
{
    (void)events;
    struct racer *racer = container_of(watch, struct racer, watch);
    int error = 0;
    socklen_t len = sizeof error;
    if (getsockopt(racer->fd, SOL_SOCKET, SO_ERROR, &error, &len) != 0)
        error = errno;
    if (error)
        fail(racer, error);
    else
        win(racer);
}
