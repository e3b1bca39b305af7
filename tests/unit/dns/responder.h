/* A scripted DNS server in a thread of its own, on UDP and TCP of one loopback port.
 *
 * For each question it takes the first row of the script that fits and counts the question. Rows
 * may be changed while it runs, under its lock. For one test at a time. */
#ifndef SLUICE_TESTS_DNS_RESPONDER_H
#define SLUICE_TESTS_DNS_RESPONDER_H

#include "base/check.h"
#include "base/memory.h"
#include "dns/answer.h"
#include "wire.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

enum { SCRIPT_MAX = 32, CLIENTS_MAX = 8 };

enum script_action {
    SCRIPT_ANSWER,
    SCRIPT_RCODE, /* number */
    SCRIPT_DROP,
    SCRIPT_TRUNCATE, /* over UDP; over TCP the answer */
    SCRIPT_NO_EDNS,  /* FORMERR to a question with OPT */
    SCRIPT_HOLD,     /* answered when the row's action has changed and responder_poke() says so */
    SCRIPT_GARBAGE
};

struct script_row {
    const char *name;
    uint16_t type; /* 0: any */
    enum script_action action;
    unsigned number;
    const char *cname; /* a CNAME before the data, owner of which it becomes */
    const char *data;  /* "192.0.2.1", "10 mx.test", NULL: none, with a SOA */
    uint32_t ttl;
    bool has_ad;
    unsigned num_asked;
};

struct held {
    struct sockaddr_in from;
    uint8_t query[512];
    size_t len;
};

struct responder {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t asked;
    int udp, tcp, wake;
    int clients[CLIENTS_MAX];
    bool is_stopping;
    char server[32]; /* "127.0.0.1:PORT" */
    struct script_row rows[SCRIPT_MAX];
    size_t num_rows;
    unsigned num_tcp;
    struct held held[8];
    size_t num_held;
};

static inline void responder_read_name(const uint8_t *at, char out[256])
{
    size_t len = 0;
    while (*at) {
        if (len)
            out[len++] = '.';
        for (unsigned i = 0; i < at[0]; i++)
            out[len++] = (char)ascii_lower(at[1 + i]);
        at += at[0] + 1;
    }
    out[len] = '\0';
}

static inline void responder_put_data(struct buffer *out, const struct script_row *row,
                                      const char *name, uint16_t type)
{
    struct host_address address;
    char host[256];
    unsigned preference;
    if (row->cname) {
        wire_cname(out, name, row->ttl, row->cname);
        name = row->cname;
    }
    if (!row->data) {
        if (!row->cname)
            wire_soa(out, row->ttl, row->ttl);
    } else if (type == TYPE_MX) {
        CHECK(sscanf(row->data, "%u %255s", &preference, host) == 2);
        wire_mx(out, name, row->ttl, preference, strcmp(host, ".") == 0 ? "" : host);
    } else {
        CHECK(host_address_parse(bytes_of(row->data), &address));
        wire_record(out, WIRE_ANSWER, name, type, row->ttl, address.octets,
                    address.family == 6 ? 16 : 4);
    }
}

static inline struct script_row *responder_find(struct responder *r, const char *name,
                                                uint16_t type)
{
    for (size_t i = 0; i < r->num_rows; i++)
        if (strcmp(r->rows[i].name, name) == 0 && (!r->rows[i].type || r->rows[i].type == type))
            return &r->rows[i];
    return NULL;
}

/* An empty answer: say nothing. */
static inline struct script_row *responder_answer(struct responder *r, const uint8_t *query,
                                                  bool is_udp, struct buffer *out)
{
    char name[256];
    responder_read_name(query + 12, name);
    const uint8_t *after = query + 12 + (name[0] ? strlen(name) + 2 : 1);
    uint16_t type = (uint16_t)(after[0] << 8 | after[1]);
    struct script_row *row = responder_find(r, name, type);
    unsigned id = (unsigned)(query[0] << 8 | query[1]);
    buffer_clear(out);
    if (!row) {
        wire_start(out, id, WIRE_REPLY | 3, name, type);
        wire_soa(out, 60, 60);
        return NULL;
    }
    bool has_edns = query[11] != 0;
    unsigned flags = WIRE_REPLY | (row->has_ad ? WIRE_AD : 0u);
    if (row->action == SCRIPT_RCODE)
        flags |= row->number;
    else if (row->action == SCRIPT_TRUNCATE && is_udp)
        flags |= WIRE_TC;
    else if (row->action == SCRIPT_NO_EDNS && has_edns)
        flags |= 1;
    wire_start(out, id, flags, name, type);
    if (row->action == SCRIPT_RCODE && row->number == 3)
        wire_soa(out, row->ttl, row->ttl);
    else if (row->action == SCRIPT_GARBAGE)
        wire_record(out, WIRE_ANSWER, name, type, 60, "x", 1);
    else if ((flags & (WIRE_TC | 15u)) == 0)
        responder_put_data(out, row, name, type);
    if (row->action == SCRIPT_DROP || row->action == SCRIPT_HOLD)
        buffer_clear(out);
    return row;
}

static inline void responder_on_udp(struct responder *r, struct buffer *out)
{
    struct held h;
    socklen_t from_len = sizeof h.from;
    ssize_t len = recvfrom(r->udp, h.query, sizeof h.query, MSG_DONTWAIT,
                           (struct sockaddr *)&h.from, &from_len);
    if (len < 17)
        return;
    h.len = (size_t)len;
    struct script_row *row = responder_answer(r, h.query, true, out);
    if (row)
        row->num_asked++;
    if (row && row->action == SCRIPT_HOLD && r->num_held < 8)
        r->held[r->num_held++] = h;
    else if (out->len)
        CHECK(sendto(r->udp, out->at, out->len, 0, (struct sockaddr *)&h.from, from_len) > 0);
    pthread_cond_broadcast(&r->asked);
}

static inline void responder_release(struct responder *r, struct buffer *out)
{
    for (size_t i = 0; i < r->num_held; i++) {
        responder_answer(r, r->held[i].query, true, out);
        if (out->len)
            CHECK(sendto(r->udp, out->at, out->len, 0, (struct sockaddr *)&r->held[i].from,
                         sizeof r->held[i].from) > 0);
    }
    r->num_held = 0;
}

/* Tests send one question per connection or several in a row; each arrives in one piece on
 * loopback, or the check says so. */
static inline void responder_on_tcp(struct responder *r, int *client, struct buffer *out)
{
    uint8_t query[600];
    ssize_t len = recv(*client, query, sizeof query, 0);
    if (len < 19) {
        close(*client);
        *client = -1;
        return;
    }
    CHECK((query[0] << 8 | query[1]) == len - 2);
    r->num_tcp++;
    struct script_row *row = responder_answer(r, query + 2, false, out);
    if (row)
        row->num_asked++;
    uint8_t head[] = {(uint8_t)(out->len >> 8), (uint8_t)out->len};
    if (out->len) {
        CHECK(send(*client, head, 2, MSG_NOSIGNAL | MSG_MORE) == 2);
        CHECK(send(*client, out->at, out->len, MSG_NOSIGNAL) > 0);
    }
    pthread_cond_broadcast(&r->asked);
}

static inline void responder_turn(struct responder *r, struct pollfd *fds, struct buffer *out)
{
    uint64_t ignored;
    if (fds[2].revents && read(r->wake, &ignored, sizeof ignored) > 0)
        responder_release(r, out);
    if (fds[0].revents)
        responder_on_udp(r, out);
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (r->clients[i] >= 0 && fds[3 + i].revents)
            responder_on_tcp(r, &r->clients[i], out);
    for (int i = 0; fds[1].revents && i < CLIENTS_MAX; i++)
        if (r->clients[i] < 0) {
            r->clients[i] = accept(r->tcp, NULL, NULL);
            return;
        }
}

static inline void *responder_main(void *ctx)
{
    struct responder *r = ctx;
    struct buffer out;
    buffer_init(&out, 65535);
    pthread_mutex_lock(&r->lock);
    while (!r->is_stopping) {
        struct pollfd fds[3 + CLIENTS_MAX] = {
            {r->udp, POLLIN, 0}, {r->tcp, POLLIN, 0}, {r->wake, POLLIN, 0}};
        for (int i = 0; i < CLIENTS_MAX; i++)
            fds[3 + i] = (struct pollfd){r->clients[i], POLLIN, 0};
        pthread_mutex_unlock(&r->lock);
        poll(fds, 3 + CLIENTS_MAX, -1);
        pthread_mutex_lock(&r->lock);
        responder_turn(r, fds, &out);
    }
    pthread_mutex_unlock(&r->lock);
    buffer_fini(&out);
    return NULL;
}

/* The port that UDP was given may be taken for TCP: then another one. */
static inline void responder_open(struct responder *r)
{
    struct sockaddr_in address;
    socklen_t len = sizeof address;
    bool ok = false;
    for (int i = 0; i < 50 && !ok; i++) {
        address =
            (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        r->udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        r->tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        CHECK(bind(r->udp, (struct sockaddr *)&address, sizeof address) == 0);
        CHECK(getsockname(r->udp, (struct sockaddr *)&address, &len) == 0);
        ok = bind(r->tcp, (struct sockaddr *)&address, sizeof address) == 0;
        if (!ok) {
            close(r->udp);
            close(r->tcp);
        }
    }
    CHECK(ok && listen(r->tcp, 8) == 0);
    snprintf(r->server, sizeof r->server, "127.0.0.1:%u", ntohs(address.sin_port));
}

static inline struct responder *responder_start(const struct script_row *rows, size_t num)
{
    struct responder *r = mem_zalloc(1, sizeof *r);
    CHECK(num <= SCRIPT_MAX);
    if (num)
        memcpy(r->rows, rows, num * sizeof *rows);
    r->num_rows = num;
    for (int i = 0; i < CLIENTS_MAX; i++)
        r->clients[i] = -1;
    responder_open(r);
    r->wake = eventfd(0, EFD_CLOEXEC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->asked, NULL);
    CHECK(pthread_create(&r->thread, NULL, responder_main, r) == 0);
    return r;
}

static inline void responder_poke(struct responder *r)
{
    uint64_t one = 1;
    CHECK(write(r->wake, &one, sizeof one) == sizeof one);
}

static inline void responder_stop(struct responder *r)
{
    pthread_mutex_lock(&r->lock);
    r->is_stopping = true;
    pthread_mutex_unlock(&r->lock);
    responder_poke(r);
    pthread_join(r->thread, NULL);
    for (int i = 0; i < CLIENTS_MAX; i++)
        if (r->clients[i] >= 0)
            close(r->clients[i]);
    close(r->udp);
    close(r->tcp);
    close(r->wake);
    free(r);
}

/* Questions so far for which row's script was taken. */
static inline unsigned responder_count(struct responder *r, size_t row)
{
    pthread_mutex_lock(&r->lock);
    unsigned num = r->rows[row].num_asked;
    pthread_mutex_unlock(&r->lock);
    return num;
}

static inline unsigned responder_count_tcp(struct responder *r)
{
    pthread_mutex_lock(&r->lock);
    unsigned num = r->num_tcp;
    pthread_mutex_unlock(&r->lock);
    return num;
}

static inline void responder_set(struct responder *r, size_t row, enum script_action action,
                                 unsigned number)
{
    pthread_mutex_lock(&r->lock);
    r->rows[row].action = action;
    r->rows[row].number = number;
    pthread_mutex_unlock(&r->lock);
}

static inline void responder_wait_asked(struct responder *r, size_t row, unsigned num)
{
    pthread_mutex_lock(&r->lock);
    while (r->rows[row].num_asked < num)
        pthread_cond_wait(&r->asked, &r->lock);
    pthread_mutex_unlock(&r->lock);
}

#endif
