/* Connections one after another through the real cache, each ended when its time has come.
 * It measures nothing: what a handshake costs is found out by costs.c. */
#include "bench/tls_cache/model.h"

#include "base/check.h"
#include "base/memory.h"

#include <stdio.h>

/* A clock that begins at 0 would make ages that no file and no counter ever sees. */
enum { BEGIN_MS = 1000 * 1000, LOOK_EVERY = 1000, PENDING_MIN = 1024 };

/* What an imagined server writes into its tickets. */
struct stamp {
    uint32_t destination, machine; /* machine 0 where all share their keys */
    uint64_t epoch;
    uint64_t number; /* of the ticket, 0 and on */
};

struct connection {
    int64_t done_ms;
    uint32_t destination, machine;
    bool resumes;                  /* decided by the server at the ClientHello */
    struct session_destination to; /* its label is ours below: set anew wherever we have moved */
    char label[64];
    SSL_SESSION *offered; /* owned reference; NULL */
    struct session_offer offer;
};

/* All take the same time, so the first to begin is the first to end. */
struct pending {
    struct connection *ring; /* owned; size is a power of two */
    size_t size, first, num;
};

struct model {
    const struct workload_options *described; /* borrowed */
    const struct model_options *options;      /* borrowed */
    struct workload *workload;                /* owned */
    struct session_cache *cache;              /* owned */
    SSL_CTX *ctx;                             /* owned */
    CRYPTO_BUFFER_POOL *pool;                 /* owned */
    uint32_t *handshakes;                     /* owned: of each destination, for rotate_after */
    uint64_t *taken;                          /* owned: a bit for each ticket that was taken */
    size_t num_words;
    uint64_t num_tickets;
    struct pending pending;
    struct model_result *result; /* borrowed */
};

static const struct server_behaviour *behaviour_at(const struct model *model, uint32_t destination)
{
    return server_behaviour_of(workload_kind(model->workload, destination));
}

/* Servers do not all turn their keys over at the same moment. */
static uint64_t epoch_at(const struct model *model, uint32_t destination, int64_t now_ms)
{
    const struct workload_options *described = model->described;
    uint64_t epoch = 0;
    if (!behaviour_at(model, destination)->rotates)
        return 0;
    if (described->rotation_s) {
        uint64_t period_ms = (uint64_t)described->rotation_s * 1000;
        uint64_t phase_ms = destination * UINT64_C(2654435761) % period_ms;
        epoch = ((uint64_t)now_ms + phase_ms) / period_ms;
    }
    if (described->rotate_after)
        epoch += model->handshakes[destination] / described->rotate_after;
    return epoch;
}

static struct stamp stamp_of(const struct model *model, const struct connection *connection,
                             int64_t now_ms)
{
    bool shares = behaviour_at(model, connection->destination)->shares_keys;
    return (struct stamp){
        .destination = connection->destination,
        .machine = shares ? 0 : connection->machine,
        .epoch = epoch_at(model, connection->destination, now_ms),
    };
}

static void make_room_for_ticket(struct model *model)
{
    if (model->num_tickets / 64 < model->num_words)
        return;
    size_t num = model->num_words ? 2 * model->num_words : 1024;
    uint64_t *taken = mem_zalloc(num, sizeof *taken);
    if (model->taken)
        memcpy(taken, model->taken, model->num_words * sizeof *taken);
    free(model->taken);
    model->taken = taken;
    model->num_words = num;
}

/* A copy of a real session with the server's stamp at the head of its ticket. */
static SSL_SESSION *make_session(struct model *model, const struct connection *connection)
{
    const struct server_behaviour *behaviour = behaviour_at(model, connection->destination);
    struct bytes real =
        behaviour->is_tls12 ? model->options->session_1_2 : model->options->session_1_3;
    struct stamp stamp = stamp_of(model, connection, connection->done_ms);
    make_room_for_ticket(model);
    stamp.number = model->num_tickets++;
    uint8_t ticket[1024] = {0};
    const uint8_t *old;
    size_t len;
    SSL_SESSION *session = SSL_SESSION_from_bytes(real.at, real.len, model->ctx);
    CHECK(session);
    SSL_SESSION_get0_ticket(session, &old, &len);
    len = len < sizeof stamp ? sizeof stamp : len > sizeof ticket ? sizeof ticket : len;
    memcpy(ticket, &stamp, sizeof stamp);
    CHECK(SSL_SESSION_set_ticket(session, ticket, len));
    SSL_SESSION_set_timeout(session, behaviour->is_short ? model->described->short_lifetime_s
                                                         : model->described->lifetime_s);
    return session;
}

/* Whether a server that takes each ticket once meets this one for the first time. */
static bool is_fresh(struct model *model, uint64_t number)
{
    uint64_t *word = &model->taken[number / 64];
    bool fresh = !(*word >> number % 64 & 1);
    *word |= UINT64_C(1) << number % 64;
    return fresh;
}

static bool server_resumes(struct model *model, const struct connection *connection, int64_t now_ms)
{
    const uint8_t *ticket;
    size_t len;
    struct stamp offered, own = stamp_of(model, connection, now_ms);
    if (!connection->offered)
        return false;
    SSL_SESSION_get0_ticket(connection->offered, &ticket, &len);
    memcpy(&offered, ticket, sizeof offered);
    bool knows = offered.destination == own.destination && offered.machine == own.machine &&
                 offered.epoch == own.epoch;
    return knows && (!behaviour_at(model, connection->destination)->takes_once ||
                     is_fresh(model, offered.number));
}

static unsigned tickets_after(const struct model *model, uint32_t destination, bool resumed)
{
    const struct server_behaviour *behaviour = behaviour_at(model, destination);
    if (behaviour->no_tickets || (resumed && behaviour->no_reissue))
        return 0;
    return behaviour->one_ticket ? 1 : model->described->tickets;
}

static void put_tickets(struct model *model, const struct connection *connection, bool resumed)
{
    int64_t until_ms = resumed ? connection->offer.verified_until_ms : SESSION_UNVERIFIED;
    for (unsigned n = tickets_after(model, connection->destination, resumed); n > 0; n--)
        session_cache_put(model->cache, &connection->to, make_session(model, connection), until_ms,
                          BEGIN_MS + connection->done_ms);
}

static void count(struct model *model, const struct connection *connection, bool resumed)
{
    struct model_tally *tally =
        &model->result->kinds[workload_kind(model->workload, connection->destination)];
    tally->connections++;
    tally->resumed += resumed;
    tally->full += !resumed;
    tally->refused += !resumed && connection->offered;
}

/* In TLS 1.2 the ticket comes within the handshake, in TLS 1.3 behind it. */
static void end_connection(struct model *model, struct connection *connection)
{
    bool resumed = connection->resumes;
    bool is_tls12 = behaviour_at(model, connection->destination)->is_tls12;
    struct session_report report = {
        .session = connection->offered,
        .use = resumed               ? SESSION_USE_RESUMED
               : connection->offered ? SESSION_USE_REFUSED
                                     : SESSION_USE_FULL,
        .miss = connection->offer.miss,
    };
    connection->to.label = connection->label;
    if (is_tls12)
        put_tickets(model, connection, resumed);
    session_cache_report(model->cache, &connection->to, &report);
    if (!is_tls12)
        put_tickets(model, connection, resumed);
    if (model->handshakes)
        model->handshakes[connection->destination]++;
    count(model, connection, resumed);
    SSL_SESSION_free(connection->offered);
}

static void look(struct model *model)
{
    struct model_result *result = model->result;
    struct session_cache_counters now;
    session_cache_read_counters(model->cache, &now);
    if (now.bytes > result->bytes_max)
        result->bytes_max = now.bytes;
    if (now.entries > result->entries_max)
        result->entries_max = now.entries;
    if (now.sessions > result->sessions_max)
        result->sessions_max = now.sessions;
    result->counters = now;
}

static void end_until(struct model *model, int64_t now_ms)
{
    struct pending *pending = &model->pending;
    while (pending->num > 0 && pending->ring[pending->first].done_ms <= now_ms) {
        end_connection(model, &pending->ring[pending->first]);
        pending->first = (pending->first + 1) & (pending->size - 1);
        pending->num--;
    }
}

static struct connection *pending_add(struct pending *pending)
{
    if (pending->num == pending->size) {
        size_t size = pending->size ? 2 * pending->size : PENDING_MIN;
        struct connection *ring = mem_zalloc(size, sizeof *ring);
        for (size_t i = 0; i < pending->num; i++)
            ring[i] = pending->ring[(pending->first + i) & (pending->size - 1)];
        free(pending->ring);
        *pending = (struct pending){.ring = ring, .size = size, .num = pending->num};
    }
    return &pending->ring[(pending->first + pending->num++) & (pending->size - 1)];
}

/* As router/connection_tls.c builds it where no certificate is checked. */
static struct session_key key_of(const struct model *model, const struct connection *connection)
{
    enum session_scope scope = model->options->scope;
    uint32_t host = connection->machine / model->described->addresses;
    char site[32], host_name[48], machine_name[64], address[64];
    snprintf(site, sizeof site, "d%u.test", connection->destination);
    snprintf(host_name, sizeof host_name, "mx%u.%s", host, site);
    snprintf(machine_name, sizeof machine_name, "m%u.%s", connection->machine, host_name);
    snprintf(address, sizeof address, "%u.%u", connection->destination, connection->machine);
    struct session_key_parts parts = {.scope = scope, .port = 25};
    if (scope != SESSION_SCOPE_SITE) {
        parts.peer_name = bytes_of(model->described->own_names ? machine_name : host_name);
        parts.sni = bytes_of(host_name);
    }
    parts.destination = bytes_of(scope == SESSION_SCOPE_ADDRESS ? address
                                 : scope == SESSION_SCOPE_HOST  ? host_name
                                                                : site);
    return session_key_make(&parts);
}

static void begin_connection(struct model *model, const struct arrival *arrival)
{
    const struct model_options *options = model->options;
    const struct workload_options *described = model->described;
    struct connection *connection = pending_add(&model->pending);
    *connection = (struct connection){
        .done_ms = arrival->at_ms + options->handshake_ms,
        .destination = arrival->destination,
        .machine = workload_machine(model->workload, arrival),
    };
    snprintf(connection->label, sizeof connection->label, "mx%u.d%u.test [192.0.2.%u]:25",
             connection->machine / described->addresses, arrival->destination, connection->machine);
    connection->to = (struct session_destination){
        .key = key_of(model, connection), .label = connection->label, .limits = options->limits};
    connection->offered = session_cache_take(model->cache, &connection->to,
                                             BEGIN_MS + arrival->at_ms, &connection->offer);
    connection->resumes = server_resumes(model, connection, arrival->at_ms);
}

static bool is_session(const struct model *model, struct bytes bytes)
{
    SSL_SESSION *session = SSL_SESSION_from_bytes(bytes.at, bytes.len, model->ctx);
    SSL_SESSION_free(session);
    return session;
}

static void run(struct model *model)
{
    struct arrival arrival;
    for (uint64_t n = 1; workload_next(model->workload, &arrival); n++) {
        end_until(model, arrival.at_ms);
        begin_connection(model, &arrival);
        if (n % LOOK_EVERY == 0)
            look(model);
    }
    end_until(model, INT64_MAX);
    look(model);
}

bool model_run(const struct workload_options *workload, const struct model_options *options,
               struct model_result *out)
{
    struct model model = {.described = workload, .options = options, .result = out};
    *out = (struct model_result){0};
    model.ctx = SSL_CTX_new(TLS_with_buffers_method());
    model.pool = CRYPTO_BUFFER_POOL_new();
    CHECK(model.ctx && model.pool);
    SSL_CTX_set0_buffer_pool(model.ctx, model.pool);
    bool ok = is_session(&model, options->session_1_3) && is_session(&model, options->session_1_2);
    if (ok && (model.workload = workload_new(workload))) {
        model.cache = session_cache_new(&options->cache);
        if (workload->rotate_after)
            model.handshakes = mem_zalloc(workload->destinations, sizeof *model.handshakes);
        run(&model);
        session_cache_free(model.cache);
        workload_free(model.workload);
    } else {
        ok = false;
    }
    free(model.handshakes);
    free(model.taken);
    free(model.pending.ring);
    SSL_CTX_free(model.ctx);
    CRYPTO_BUFFER_POOL_free(model.pool);
    return ok;
}
