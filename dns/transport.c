/* c-ares on our loop: channels, their sockets and their one timer.
 * It does not retry, cache or share questions: lookup.c does. */
/* The same calls have to do for c-ares 1.18 and for current ones, which would rather see others. */
#define CARES_NO_DEPRECATED

#include "dns/transport.h"

#include "base/check.h"
#include "base/memory.h"

#include <ares.h>
#include <arpa/nameser.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/random.h>

enum {
    SILENCE_MAX = 3, /* unanswered questions in a row until a server rests */
    REST_MS = 10 * 1000,
    TIMEOUT_MAX_MS = 60 * 1000,
    SERVER_TEXT_MAX = 64,  /* "[v6]:port" */
    QUERIES_PER_PORT = 100 /* before c-ares takes a new source port, where it can */
};

struct server {
    struct dns_transport *transport;
    ares_channel channel;
    bool is_plain; /* it does not understand EDNS */
    unsigned silence;
    int64_t rests_until_ms;
    char text[SERVER_TEXT_MAX];
};

/* A socket of c-ares. */
struct watch {
    struct loop_fd fd;
    struct loop_garbage garbage;
    struct watch *next;
    struct server *server;
};

struct dns_transport {
    struct loop *loop; /* borrowed */
    struct server servers[DNS_SERVERS_MAX];
    unsigned num_servers;
    bool trusts_ad;
    bool is_closing;
    int64_t timeout_ms;
    struct watch *watches;
    struct dns_question *finished, **finished_end;
    struct timer timer;
    uint16_t ids[64]; /* random, used up one by one */
    unsigned num_ids;
    struct answer_scratch scratch;
};

struct server_address {
    struct host_address address;
    uint16_t port;
};

static void free_watch(struct loop_garbage *garbage)
{
    free(container_of(garbage, struct watch, garbage));
}

static void on_socket(struct loop_fd *fd, unsigned events)
{
    struct watch *watch = container_of(fd, struct watch, fd);
    bool in = events & (LOOP_READ | LOOP_HANGUP);
    bool out = events & (LOOP_WRITE | LOOP_HANGUP);
    ares_process_fd(watch->server->channel, in ? fd->fd : ARES_SOCKET_BAD,
                    out ? fd->fd : ARES_SOCKET_BAD);
}

static void on_timer(struct timer *timer, int64_t now_ms)
{
    struct dns_transport *transport = container_of(timer, struct dns_transport, timer);
    (void)now_ms;
    for (unsigned i = 0; i < transport->num_servers; i++)
        ares_process_fd(transport->servers[i].channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
}

static void unwatch(struct dns_transport *transport, struct watch **at)
{
    struct watch *watch = *at;
    *at = watch->next;
    loop_unwatch(transport->loop, &watch->fd);
    loop_free_later(transport->loop, &watch->garbage, free_watch);
}

/* c-ares says which socket it wants to hear of; neither way: it is about to close it. */
static void on_socket_state(void *ctx, ares_socket_t fd, int readable, int writable)
{
    struct server *server = ctx;
    struct dns_transport *transport = server->transport;
    unsigned events = (readable ? LOOP_READ : 0u) | (writable ? LOOP_WRITE : 0u);
    struct watch **at = &transport->watches;
    while (*at && (*at)->fd.fd != fd)
        at = &(*at)->next;
    if (!events) {
        if (*at)
            unwatch(transport, at);
        return;
    }
    if (*at) {
        loop_set_events(transport->loop, &(*at)->fd, events);
        return;
    }
    struct watch *watch = mem_zalloc(1, sizeof *watch);
    watch->server = server;
    watch->fd = (struct loop_fd){.fd = -1, .on_ready = on_socket};
    if (!loop_watch(transport->loop, &watch->fd, fd, events)) {
        free(watch); /* the kernel refuses: the question runs into its time limit */
        return;
    }
    watch->next = transport->watches;
    transport->watches = watch;
}

/* "192.0.2.1", "192.0.2.1:53", "2001:db8::1", "[2001:db8::1]", "[2001:db8::1]:53". */
static bool parse_server(const char *text, struct server_address *out)
{
    struct bytes all = bytes_of(text);
    struct bytes port = {0};
    uint64_t number = DNS_PORT;
    out->port = DNS_PORT;
    if (host_address_parse(all, &out->address))
        return true;
    bool is_bracketed = all.len && all.at[0] == '[';
    size_t end = bytes_find(all, is_bracketed ? ']' : ':');
    struct bytes host = bytes_first(all, end);
    port = bytes_from(all, is_bracketed ? end + 1 : end);
    if (is_bracketed)
        host = bytes_from(host, 1);
    if (end == all.len || (is_bracketed && bytes_find(host, ':') == host.len))
        return false;
    if (port.len && (port.at[0] != ':' || !bytes_to_u64(bytes_from(port, 1), UINT16_MAX, &number)))
        return false;
    out->port = (uint16_t)number;
    return number != 0 && host_address_parse(host, &out->address);
}

static struct server_address from_ares(const struct ares_addr_port_node *node)
{
    struct server_address server = {.port = (uint16_t)(node->udp_port ? node->udp_port : DNS_PORT)};
    server.address.family = node->family == AF_INET6 ? 6 : 4;
    if (node->family == AF_INET6)
        memcpy(server.address.octets, &node->addr.addr6, 16);
    else
        memcpy(server.address.octets, &node->addr.addr4, 4);
    return server;
}

/* c-ares reads resolv.conf; a channel of its own is made for that and thrown away. */
static size_t read_system_servers(struct server_address out[DNS_SERVERS_MAX])
{
    ares_channel channel;
    struct ares_addr_port_node *nodes = NULL;
    size_t num = 0;
    if (ares_init_options(&channel, NULL, 0) != ARES_SUCCESS)
        return 0;
    if (ares_get_servers_ports(channel, &nodes) == ARES_SUCCESS)
        for (const struct ares_addr_port_node *n = nodes; n && num < DNS_SERVERS_MAX; n = n->next)
            out[num++] = from_ares(n);
    ares_free_data(nodes);
    ares_destroy(channel);
    return num;
}

static bool open_channel(struct dns_transport *transport, const struct server_address *address)
{
    struct server *server = &transport->servers[transport->num_servers];
    struct ares_options options = {.flags = ARES_FLAG_NOSEARCH | ARES_FLAG_NOALIASES |
                                            ARES_FLAG_NOCHECKRESP | ARES_FLAG_EDNS,
                                   .timeout = (int)transport->timeout_ms,
                                   .tries = 1,
                                   .ednspsz = DNS_EDNS_PAYLOAD,
                                   .lookups = (char[]){"b"},
                                   .sock_state_cb = on_socket_state,
                                   .sock_state_cb_data = server};
    int mask = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_EDNSPSZ |
               ARES_OPT_LOOKUPS | ARES_OPT_SOCK_STATE_CB;
    /* An open socket saves four fifths of a question's cost, but it fixes the source port, which is
     * half of what keeps forged answers out: only where nobody can forge. */
    if (host_address_is_loopback(&address->address))
        options.flags |= ARES_FLAG_STAYOPEN;
#ifdef ARES_OPT_UDP_MAX_QUERIES
    else {
        options.udp_max_queries = QUERIES_PER_PORT;
        mask |= ARES_OPT_UDP_MAX_QUERIES;
    }
#endif
#ifdef ARES_OPT_QUERY_CACHE
    options.qcache_max_ttl = 0; /* answer_cache.c does that, and knows stale and negative ones */
    mask |= ARES_OPT_QUERY_CACHE;
#endif
    char text[46];
    host_address_format(&address->address, text);
    snprintf(server->text, sizeof server->text, address->address.family == 6 ? "[%s]:%u" : "%s:%u",
             text, address->port);
    server->transport = transport;
    if (ares_init_options(&server->channel, &options, mask) != ARES_SUCCESS)
        return false;
    transport->num_servers++;
    return ares_set_servers_ports_csv(server->channel, server->text) == ARES_SUCCESS;
}

static bool open_servers(struct dns_transport *transport,
                         const struct dns_transport_options *options, char why[ROUTE_WHY_MAX])
{
    struct server_address found[DNS_SERVERS_MAX];
    size_t num = options->num_servers;
    if (num > DNS_SERVERS_MAX) {
        snprintf(why, ROUTE_WHY_MAX, "more than %d DNS servers", DNS_SERVERS_MAX);
        return false;
    }
    for (size_t i = 0; i < num; i++)
        if (!parse_server(options->servers[i], &found[i])) {
            snprintf(why, ROUTE_WHY_MAX,
                     "\"%.60s\" is not a DNS server: expected an address, as in \"127.0.0.1:53\" "
                     "or \"[::1]:53\"",
                     options->servers[i]);
            return false;
        }
    if (num == 0)
        num = read_system_servers(found);
    bool all_loopback = true;
    for (size_t i = 0; i < num; i++) {
        if (!open_channel(transport, &found[i])) {
            snprintf(why, ROUTE_WHY_MAX, "c-ares refuses the DNS server %s",
                     transport->servers[i].text);
            return false;
        }
        all_loopback &= host_address_is_loopback(&found[i].address);
    }
    transport->trusts_ad = options->trust_ad || all_loopback;
    if (num == 0)
        snprintf(why, ROUTE_WHY_MAX, "no DNS server is configured, and resolv.conf names none");
    return num > 0;
}

struct dns_transport *dns_transport_new(struct loop *loop,
                                        const struct dns_transport_options *options,
                                        char why[ROUTE_WHY_MAX])
{
    if (ares_library_init(ARES_LIB_INIT_ALL) != ARES_SUCCESS) {
        snprintf(why, ROUTE_WHY_MAX, "c-ares cannot be initialised");
        return NULL;
    }
    struct dns_transport *transport = mem_zalloc(1, sizeof *transport);
    transport->loop = loop;
    transport->timeout_ms =
        options->timeout_ms < TIMEOUT_MAX_MS ? options->timeout_ms : TIMEOUT_MAX_MS;
    if (transport->timeout_ms < 1)
        transport->timeout_ms = 1;
    transport->finished_end = &transport->finished;
    timer_init(&transport->timer, on_timer);
    if (open_servers(transport, options, why))
        return transport;
    dns_transport_free(transport);
    return NULL;
}

void dns_transport_free(struct dns_transport *transport)
{
    transport->is_closing = true;
    for (unsigned i = 0; i < transport->num_servers; i++)
        ares_destroy(transport->servers[i].channel);
    while (transport->watches)
        unwatch(transport, &transport->watches);
    loop_cancel(transport->loop, &transport->timer);
    struct dns_question *question;
    while ((question = dns_transport_take(transport)))
        answer_unref(question->answer);
    free(transport);
    ares_library_cleanup();
}

unsigned dns_transport_num_servers(const struct dns_transport *transport)
{
    return transport->num_servers;
}

bool dns_transport_is_resting(const struct dns_transport *transport, unsigned server)
{
    return transport->loop->now_ms < transport->servers[server].rests_until_ms;
}

static uint16_t random_id(struct dns_transport *transport)
{
    if (transport->num_ids == 0) {
        ssize_t got = getrandom(transport->ids, sizeof transport->ids, 0);
        CHECK(got == (ssize_t)sizeof transport->ids); /* never short up to 256 octets */
        transport->num_ids = sizeof transport->ids / sizeof *transport->ids;
    }
    return transport->ids[--transport->num_ids];
}

static void finish(struct dns_question *question, struct answer *answer)
{
    struct dns_transport *transport = question->transport;
    question->answer = answer;
    question->next = NULL;
    *transport->finished_end = question;
    transport->finished_end = &question->next;
}

static void note_silence(struct server *server, bool is_silent)
{
    server->silence = is_silent ? server->silence + 1 : 0;
    server->rests_until_ms =
        server->silence >= SILENCE_MAX ? server->transport->loop->now_ms + REST_MS : 0;
}

/* With NOCHECKRESP every answer arrives as ARES_SUCCESS; current c-ares may name an error and hand
 * over the answer all the same. */
static void on_answer(void *ctx, int status, int timeouts, unsigned char *wire, int wire_len)
{
    struct dns_question *question = ctx;
    struct dns_transport *transport = question->transport;
    (void)timeouts;
    if (transport->is_closing)
        return;
    struct server *server = &transport->servers[question->server];
    bool has_answer = wire && wire_len > 0;
    note_silence(server, !has_answer);
    if (!has_answer) {
        char text[ROUTE_WHY_MAX];
        snprintf(text, sizeof text, "%s: %s", server->text, ares_strerror(status));
        finish(question, answer_new(ANSWER_FAILED, text));
        return;
    }
    answer_parse(bytes_make(wire, (size_t)wire_len), question->name, question->type,
                 &transport->scratch);
    struct answer *answer = &transport->scratch.answer;
    answer->secure &= transport->trusts_ad;
    if (answer->rcode == ns_r_formerr)
        server->is_plain = true;
    char text[ROUTE_WHY_MAX];
    if (answer->status == ANSWER_FAILED) {
        snprintf(text, sizeof text, "%s: %s", server->text, answer->text);
        answer->text = text;
    }
    finish(question, answer_copy(answer));
}

void dns_transport_send(struct dns_transport *transport, struct dns_question *question)
{
    unsigned char *query = NULL;
    int query_len = 0;
    struct server *server = &transport->servers[question->server];
    question->transport = transport;
    question->answer = NULL;
    int rc = ares_create_query(question->name, ns_c_in, question->type, random_id(transport), 1,
                               &query, &query_len, server->is_plain ? 0 : DNS_EDNS_PAYLOAD);
    if (rc == ARES_ENOTFOUND) { /* .onion: c-ares itself knows that it is not in the DNS */
        finish(question, answer_new(ANSWER_NXDOMAIN, ""));
        return;
    }
    if (rc != ARES_SUCCESS) {
        finish(question, answer_new(ANSWER_FAILED, ares_strerror(rc)));
        return;
    }
    query[3] |= 0x20; /* AD in the question asks for AD in the answer (RFC 6840 5.7) */
    ares_send(server->channel, query, query_len, on_answer, question);
    ares_free_string(query);
}

struct dns_question *dns_transport_take(struct dns_transport *transport)
{
    struct dns_question *question = transport->finished;
    if (question && !(transport->finished = question->next))
        transport->finished_end = &transport->finished;
    return question;
}

void dns_transport_arm(struct dns_transport *transport)
{
    struct timeval longest = {.tv_sec = 3600};
    int64_t wait_ms = -1;
    for (unsigned i = 0; i < transport->num_servers; i++) {
        struct timeval room;
        struct timeval *next = ares_timeout(transport->servers[i].channel, NULL, &room);
        if (!next)
            continue;
        if (next->tv_sec > longest.tv_sec)
            next = &longest;
        int64_t ms = (int64_t)next->tv_sec * 1000 + (next->tv_usec + 999) / 1000;
        wait_ms = wait_ms < 0 || ms < wait_ms ? ms : wait_ms;
    }
    if (wait_ms < 0)
        loop_cancel(transport->loop, &transport->timer);
    else
        loop_arm(transport->loop, &transport->timer, wait_ms);
}
