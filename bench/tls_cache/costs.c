/* Handshakes of both kinds in turns, so that what else the machine does hits both alike.
 * The certificate is not checked, as under tls.level "may" and "encrypt". */
#include "bench/tls_cache/costs.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "tls/channel.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/mem.h>
#include <poll.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum { WARM_UP = 10, REPLY_MAX = 16 * 1024, SESSION_LEN_MAX = 64 * 1024, WAIT_MS = 30 * 1000 };

static const char ehlo[] = "EHLO bench.sluice.test\r\n";

struct sample {
    double handshake_us, with_tickets_us;
};
struct samples {
    struct sample *of; /* owned */
    unsigned num;
};
struct meter {
    const struct sockaddr_in *server; /* borrowed */
    struct tls_context *context;      /* owned */
    struct session_cache *cache;      /* owned */
    struct samples full, resumed, refused;
    char *why; /* borrowed */
};
struct talk {
    struct channel channel;
    char reply[REPLY_MAX];
};

static double thread_cpu_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static bool fail(struct meter *meter, const char *what, const char *detail)
{
    snprintf(meter->why, COSTS_WHY_MAX, "%s: %.200s", what, detail);
    return false;
}

static bool wait_for(struct channel *channel, enum channel_status status)
{
    struct pollfd fd = {channel->fd, status == CHANNEL_WANT_WRITE ? POLLOUT : POLLIN, 0};
    return poll(&fd, 1, WAIT_MS) == 1;
}

static bool say(struct talk *talk, const char *line)
{
    struct channel *channel = &talk->channel;
    size_t len;
    enum channel_status status = channel_write(channel, bytes_of(line), &len);
    while (status == CHANNEL_OK && (status = channel_flush(channel)) == CHANNEL_WANT_WRITE)
        if (wait_for(channel, status))
            status = CHANNEL_OK;
    return status == CHANNEL_OK && len == strlen(line);
}

/* Its last line has a space behind the code. */
static bool is_whole(const char *reply, size_t len)
{
    const char *last = reply;
    if (len == 0 || reply[len - 1] != '\n')
        return false;
    for (size_t i = 0; i + 1 < len; i++)
        if (reply[i] == '\n')
            last = reply + i + 1;
    return reply + len - last > 4 && last[3] == ' ';
}

/* One reply that begins with 2. */
static bool hear(struct meter *meter, struct talk *talk, const char *to_what)
{
    struct channel *channel = &talk->channel;
    size_t len = 0;
    while (!is_whole(talk->reply, len)) {
        size_t num = 0;
        enum channel_status status = channel_read(
            channel, talk->reply + len, sizeof talk->reply - 1 - len, clock_mono_us() / 1000, &num);
        if (status == CHANNEL_WANT_READ && wait_for(channel, status))
            continue;
        len += num;
        if (status != CHANNEL_OK || len == sizeof talk->reply - 1)
            return fail(meter, to_what, status == CHANNEL_OK ? "too long a reply" : "no reply");
    }
    talk->reply[len] = '\0';
    return talk->reply[0] == '2' || fail(meter, to_what, talk->reply);
}

static bool handshake(struct meter *meter, struct talk *talk, struct channel_tls_info *out)
{
    enum channel_status status;
    do
        status = channel_handshake(&talk->channel, clock_mono_us() / 1000, out);
    while ((status == CHANNEL_WANT_READ || status == CHANNEL_WANT_WRITE) &&
           wait_for(&talk->channel, status));
    return status == CHANNEL_OK || fail(meter, "TLS handshake", channel_error(&talk->channel));
}

static void note(struct samples *samples, const struct talk *talk, double since_us)
{
    samples->of[samples->num++] =
        (struct sample){(double)talk->channel.handshake_cpu_us, thread_cpu_us() - since_us};
}

static struct session_destination destination_with(unsigned tickets)
{
    return (struct session_destination){
        .key = {{(uint8_t)tickets}},
        .label = "mx1.bench.test [127.0.0.1]:25",
        .limits = {.tickets = tickets, .timeout_ms = 3600 * 1000},
    };
}

static bool start_and_measure(struct meter *meter, struct talk *talk, bool offer, unsigned tickets)
{
    static const struct tls_requirement nothing = {.level = TLS_LEVEL_MAY};
    struct channel_tls_info info;
    struct channel_tls_params params = {.context = meter->context,
                                        .cache = meter->cache,
                                        .destination = destination_with(tickets),
                                        .sni = "mx1.bench.test",
                                        .requirement = &nothing,
                                        .offer_session = offer,
                                        .now_wall_s = clock_wall_ms() / 1000};
    double since_us = thread_cpu_us();
    channel_start_tls(&talk->channel, &params, clock_mono_us() / 1000);
    if (!handshake(meter, talk, &info) || !say(talk, ehlo) || !hear(meter, talk, "EHLO under TLS"))
        return false;
    note(info.resumed           ? &meter->resumed
         : info.offered_session ? &meter->refused
                                : &meter->full,
         talk, since_us);
    if (info.offered_session && !info.resumed)
        session_cache_flush(meter->cache, NULL, NULL); /* else it learns not to offer any more */
    return say(talk, "QUIT\r\n");
}

static bool connect_once(struct meter *meter, bool offer, unsigned tickets)
{
    const int on = 1;
    static struct talk talk;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool ok =
        fd >= 0 && connect(fd, (const struct sockaddr *)meter->server, sizeof *meter->server) == 0;
    if (ok) {
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        ok = fcntl(fd, F_SETFL, O_NONBLOCK) == 0;
    }
    if (!ok)
        fail(meter, "connect", strerror(errno));
    channel_init(&talk.channel, fd);
    ok = ok && hear(meter, &talk, "banner") && say(&talk, ehlo) && hear(meter, &talk, "EHLO") &&
         say(&talk, "STARTTLS\r\n") && hear(meter, &talk, "STARTTLS") &&
         start_and_measure(meter, &talk, offer, tickets);
    channel_fini(&talk.channel);
    if (fd >= 0)
        close(fd);
    return ok;
}

static int compare(const void *a, const void *b)
{
    const double *x = a, *y = b;
    return (*x > *y) - (*x < *y);
}

static double median(const struct samples *samples, size_t offset)
{
    double *values = mem_alloc((samples->num + 1) * sizeof *values);
    for (unsigned i = 0; i < samples->num; i++)
        memcpy(&values[i], (const uint8_t *)&samples->of[i] + offset, sizeof *values);
    qsort(values, samples->num, sizeof *values, compare);
    double result = samples->num ? values[samples->num / 2] : 0;
    free(values);
    return result;
}

static struct handshake_costs summary_of(const struct samples *samples)
{
    return (struct handshake_costs){
        .num = samples->num,
        .handshake_us = median(samples, offsetof(struct sample, handshake_us)),
        .with_tickets_us = median(samples, offsetof(struct sample, with_tickets_us)),
    };
}

/* The first connections fill caches and page tables, and are forgotten. */
static bool measure(struct meter *meter, unsigned num)
{
    for (unsigned i = 0; i < WARM_UP + num; i++) {
        if (i == WARM_UP)
            meter->full.num = meter->resumed.num = meter->refused.num = 0;
        if (!connect_once(meter, false, 4) || !connect_once(meter, true, 4))
            return false;
    }
    return true;
}

/* Octets of a destination with so many sessions; with fewer when the server gives none. */
static bool weigh(struct meter *meter, unsigned tickets, uint64_t *out_len)
{
    struct session_cache_counters counters;
    session_cache_flush(meter->cache, NULL, NULL);
    if (!connect_once(meter, false, tickets) || !connect_once(meter, false, tickets))
        return false;
    session_cache_read_counters(meter->cache, &counters);
    *out_len = counters.bytes;
    return true;
}

static bool keep_session(struct meter *meter, struct buffer *out)
{
    const struct session_destination destination = destination_with(2);
    struct session_offer offer;
    uint8_t *at;
    size_t len;
    SSL_SESSION *session = session_cache_take(meter->cache, &destination, clock_wall_ms(), &offer);
    buffer_init(out, SESSION_LEN_MAX);
    if (!session)
        return true;
    bool ok = SSL_SESSION_to_bytes(session, &at, &len) && buffer_append(out, at, len);
    if (ok)
        OPENSSL_free(at);
    SSL_SESSION_free(session);
    return ok || fail(meter, "session", "cannot be written down");
}

bool costs_measure(const struct sockaddr_in *server, unsigned num, struct costs *out,
                   char why[COSTS_WHY_MAX])
{
    static const struct tls_context_options defaults;
    char context_why[TLS_WHY_MAX];
    struct meter meter = {.server = server, .why = why};
    size_t room = 2 * ((size_t)num + WARM_UP) + 8;
    *out = (struct costs){0};
    meter.context = tls_context_new(&defaults, context_why);
    if (!meter.context)
        return fail(&meter, "TLS", context_why);
    meter.cache = session_cache_new(&(struct session_cache_options){.entries = 16});
    meter.full.of = mem_zalloc(room, sizeof(struct sample));
    meter.resumed.of = mem_zalloc(room, sizeof(struct sample));
    meter.refused.of = mem_zalloc(room, sizeof(struct sample));
    bool ok = measure(&meter, num);
    out->full = summary_of(&meter.full);
    out->resumed = summary_of(&meter.resumed);
    out->refused = summary_of(&meter.refused);
    ok = ok && weigh(&meter, 1, &out->destination_len.one) &&
         weigh(&meter, 2, &out->destination_len.two) && keep_session(&meter, &out->session);
    free(meter.full.of);
    free(meter.resumed.of);
    free(meter.refused.of);
    session_cache_free(meter.cache);
    tls_context_free(meter.context);
    return ok;
}
