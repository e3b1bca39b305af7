/* A channel and the TLS server at the other end of its socket, in one thread, for the tests of
 * channels. Everything is static; the first to include it is a cmocka test. */
#ifndef SLUICE_TESTS_SUPPORT_TLS_LINK_H
#define SLUICE_TESTS_SUPPORT_TLS_LINK_H

#include "tests/support/tls_server.h"
#include "tls/channel.h"

#include <time.h>
#include <unistd.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

enum { TURNS_MAX = 200000, NOW = 1000 };

/* What a test demands of the certificate; nothing unless it says so. */
TLS_SERVER_UNUSED static struct tls_requirement requirement;
TLS_SERVER_UNUSED static int64_t turn_ms = NOW; /* the clock: each read is in a turn of its own */

static struct tls_context *context;

/* A channel, the server at the other end of its socket, and the cache that outlives both. */
struct link {
    int fds[2]; /* the channel's, the peer's; -1: closed */
    struct channel channel;
    struct tls_peer peer;
    struct channel_tls_info info;
    enum channel_status handshake; /* how it ended */
};

static const struct session_destination destination = {
    .key = {{1, 2, 3}}, .label = "test", .limits = {.tickets = 4, .timeout_ms = 3600 * 1000}};

TLS_SERVER_UNUSED static struct session_cache *new_cache(void)
{
    return session_cache_new(&(struct session_cache_options){.entries = 16});
}

TLS_SERVER_UNUSED static struct session_cache_counters counters_of(struct session_cache *cache)
{
    struct session_cache_counters counters;
    session_cache_read_counters(cache, &counters);
    return counters;
}

TLS_SERVER_UNUSED static void link_open(struct link *link, SSL_CTX *server, int socket_type)
{
    assert_int_equal(socketpair(AF_UNIX, socket_type | SOCK_NONBLOCK, 0, link->fds), 0);
    channel_init(&link->channel, link->fds[0]);
    tls_peer_init(&link->peer, server, link->fds[1]);
}

TLS_SERVER_UNUSED static void link_close_peer(struct link *link)
{
    close(link->fds[1]);
    link->fds[1] = link->peer.fd = -1;
}

TLS_SERVER_UNUSED static void link_fini(struct link *link)
{
    channel_fini(&link->channel);
    tls_peer_fini(&link->peer);
    close(link->fds[0]);
    if (link->fds[1] >= 0)
        close(link->fds[1]);
}

TLS_SERVER_UNUSED static void start_tls(struct link *link, struct session_cache *cache,
                                        bool offer_session)
{
    channel_start_tls(&link->channel,
                      &(struct channel_tls_params){.context = context,
                                                   .cache = cache,
                                                   .destination = destination,
                                                   .sni = "mx.example.test",
                                                   .offer_session = offer_session,
                                                   .requirement = &requirement,
                                                   .now_wall_s = time(NULL)},
                      NOW);
}

/* Both sides take turns until the channel's handshake has ended. */
TLS_SERVER_UNUSED static enum channel_status run_handshake(struct link *link)
{
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        link->handshake = channel_handshake(&link->channel, NOW, &link->info);
        if (link->handshake != CHANNEL_WANT_READ && link->handshake != CHANNEL_WANT_WRITE)
            return link->handshake;
        tls_peer_pump(&link->peer);
    }
    fail_msg("the handshake does not end");
    return CHANNEL_FAILED;
}

/* The channel's turns only: what the peer had to say lies in the socket, and the end behind it. */
TLS_SERVER_UNUSED static enum channel_status finish_alone(struct link *link)
{
    for (int turn = 0; turn < 3; turn++) {
        link->handshake = channel_handshake(&link->channel, NOW, &link->info);
        if (link->handshake != CHANNEL_WANT_READ)
            break;
    }
    return link->handshake;
}

TLS_SERVER_UNUSED static void write_all(struct link *link, struct bytes bytes)
{
    size_t len;
    assert_int_equal(channel_write(&link->channel, bytes, &len), CHANNEL_OK);
    assert_int_equal(len, bytes.len);
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        enum channel_status status = channel_flush(&link->channel);
        if (status == CHANNEL_OK)
            return;
        assert_int_equal(status, CHANNEL_WANT_WRITE);
        tls_peer_pump(&link->peer);
    }
    fail_msg("the cork does not drain");
}

/* Reads until there is something (or an end) and returns how that call ended. */
TLS_SERVER_UNUSED static enum channel_status read_some(struct link *link, void *to, size_t cap,
                                                       size_t *out_len)
{
    for (int turn = 0; turn < TURNS_MAX; turn++) {
        enum channel_status status = channel_read(&link->channel, to, cap, ++turn_ms, out_len);
        if (status != CHANNEL_WANT_READ)
            return status;
        assert_int_equal(*out_len, 0);
        if (link->fds[1] >= 0)
            tls_peer_pump(&link->peer);
    }
    fail_msg("nothing comes");
    return CHANNEL_FAILED;
}

TLS_SERVER_UNUSED static void expect_from_peer(struct link *link, const char *text)
{
    char got[256] = "";
    for (size_t num = 0; num < strlen(text);) {
        size_t len;
        assert_int_equal(read_some(link, got + num, sizeof got - 1 - num, &len), CHANNEL_OK);
        assert_true(len > 0);
        num += len;
    }
    assert_string_equal(got, text);
}

/* A command and its reply; the server's tickets come with the reply. */
TLS_SERVER_UNUSED static void exchange(struct link *link)
{
    write_all(link, bytes_of("EHLO client\r\n"));
    for (int turn = 0; turn < TURNS_MAX && link->peer.received.len < 13; turn++)
        tls_peer_pump(&link->peer);
    assert_true(bytes_equal(buffer_bytes(&link->peer.received), bytes_of("EHLO client\r\n")));
    buffer_clear(&link->peer.received);
    tls_peer_say(&link->peer, bytes_of("250 server\r\n"));
    expect_from_peer(link, "250 server\r\n");
}

/* One connection from the handshake to the end; step: octets moved at a time. */
TLS_SERVER_UNUSED static struct channel_tls_info
connect_once(SSL_CTX *server, struct session_cache *cache, bool offer_session, size_t step)
{
    struct link link;
    link_open(&link, server, SOCK_STREAM);
    link.peer.step = step;
    start_tls(&link, cache, offer_session);
    assert_int_equal(run_handshake(&link), CHANNEL_OK);
    assert_string_equal(channel_error(&link.channel), "");
    exchange(&link);
    link_fini(&link);
    return link.info;
}

TLS_SERVER_UNUSED static int link_set_up(void **state)
{
    (void)state;
    char why[TLS_WHY_MAX] = "";
    context = tls_context_new(&(struct tls_context_options){0}, why);
    return context ? 0 : -1;
}

TLS_SERVER_UNUSED static int link_tear_down(void **state)
{
    (void)state;
    tls_context_free(context);
    return 0;
}

#endif
