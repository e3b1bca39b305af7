/* Channels against a real TLS server in the same process: transfers, splits, ends, and a peer that
 * misbehaves. */
#include "tests/support/tls_link.h"

#include <stdio.h>

static void plaintext_goes_both_ways(void **state)
{
    (void)state;
    struct link link;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    link_open(&link, server, SOCK_STREAM);
    char got[64];
    size_t len;
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len),
                     CHANNEL_WANT_READ);
    assert_int_equal(channel_write(&link.channel, bytes_of("EHLO x\r\n"), &len), CHANNEL_OK);
    assert_int_equal(recv(link.fds[1], got, sizeof got, MSG_DONTWAIT), -1);
    assert_true(channel_has_unsent(&link.channel));
    assert_int_equal(channel_flush(&link.channel), CHANNEL_OK);
    assert_false(channel_has_unsent(&link.channel));
    assert_int_equal(recv(link.fds[1], got, sizeof got, MSG_DONTWAIT), 8);
    assert_int_equal(send(link.fds[1], "250 y\r\n", 7, 0), 7);
    assert_int_equal(channel_read(&link.channel, got, 3, ++turn_ms, &len), CHANNEL_OK);
    assert_int_equal(len, 3);
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len), CHANNEL_OK);
    assert_memory_equal(got, " y\r\n", 4);
    link_close_peer(&link);
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len), CHANNEL_CLOSED);
    assert_string_equal(channel_error(&link.channel), "");
    assert_int_equal(channel_write(&link.channel, bytes_of("QUIT\r\n"), &len), CHANNEL_OK);
    assert_int_equal(channel_flush(&link.channel), CHANNEL_FAILED);
    assert_string_not_equal(channel_error(&link.channel), "");
    link_fini(&link);
    SSL_CTX_free(server);
}

static void a_server_that_is_too_old_fails_the_handshake(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){.max_version = TLS1_1_VERSION});
    struct session_cache *cache = new_cache();
    struct link link;
    link_open(&link, server, SOCK_STREAM);
    start_tls(&link, cache, true);
    assert_int_equal(run_handshake(&link), CHANNEL_FAILED);
    assert_non_null(strstr(channel_error(&link.channel), "TLS handshake: "));
    assert_non_null(strstr(channel_error(&link.channel), "PROTOCOL_VERSION"));
    link_fini(&link);
    session_cache_free(cache);
    SSL_CTX_free(server);
}

/* Stores a session, then answers the ClientHello that offers it with these octets, and an EOF. */
static void fail_with(const char *octets, size_t len)
{
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    struct session_cache *cache = new_cache();
    (void)connect_once(server, cache, true, 65536);
    struct link link;
    link_open(&link, server, SOCK_STREAM);
    start_tls(&link, cache, true);
    assert_int_equal(channel_handshake(&link.channel, NOW, &link.info), CHANNEL_WANT_READ);
    if (len > 0)
        assert_int_equal(send(link.fds[1], octets, len, MSG_NOSIGNAL), len);
    assert_int_equal(shutdown(link.fds[1], SHUT_WR), 0);
    assert_int_equal(finish_alone(&link), CHANNEL_FAILED);
    assert_string_not_equal(channel_error(&link.channel), "");
    assert_int_equal(counters_of(cache).failed, 1);
    link_fini(&link);
    session_cache_free(cache);
    SSL_CTX_free(server);
}

static void garbage_instead_of_a_server_hello_fails(void **state)
{
    (void)state;
    static const struct {
        const char *octets;
        size_t len;
    } rows[] = {
        {"", 0},
        {"220 ready\r\n", 11},
        {"\x16\x03\x03", 3},
        {"\x16\x03\x03\xff\xff", 5},
        {"\x16\x03\x03\x00\x04\x02\x00\x00\x00", 9},
        {"\x15\x03\x03\x00\x02\x02\x28", 7}, /* alert: handshake_failure */
        {"\x17\x03\x03\x00\x01\x00", 6},
        {"\x80\x00\x00\x00\x00\x00\x00\x00", 8},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        fail_with(rows[i].octets, rows[i].len);
}

static void nothing_depends_on_where_the_stream_is_split(void **state)
{
    (void)state;
    static const uint16_t versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    static const size_t steps[] = {1, 2, 3, 5, 7, 100};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        for (size_t j = 0; j < sizeof steps / sizeof *steps; j++) {
            struct session_cache *cache = new_cache();
            SSL_CTX *server =
                tls_server_new(&(struct tls_server_options){.max_version = versions[i]});
            assert_false(connect_once(server, cache, true, steps[j]).resumed);
            assert_true(connect_once(server, cache, true, steps[j]).resumed);
            session_cache_free(cache);
            SSL_CTX_free(server);
        }
    }
}

static void octets_before_the_handshake_are_seen(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    struct link link;
    link_open(&link, server, SOCK_STREAM);
    assert_false(channel_has_unread(&link.channel));
    char got[32];
    size_t len;
    assert_int_equal(send(link.fds[1], "220 go\r\nEHLO", 12, 0), 12);
    assert_int_equal(channel_read(&link.channel, got, 8, ++turn_ms, &len), CHANNEL_OK);
    assert_true(channel_has_unread(&link.channel)); /* in the kernel's socket */
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len), CHANNEL_OK);
    assert_int_equal(len, 4); /* looking took nothing away */
    assert_false(channel_has_unread(&link.channel));
    link_close_peer(&link);
    assert_false(channel_has_unread(&link.channel)); /* an end is no injection */
    link_fini(&link);
    SSL_CTX_free(server);
}

static void close_notify_and_a_bare_end_are_told_apart(void **state)
{
    (void)state;
    static const uint16_t versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        for (int orderly = 0; orderly < 2; orderly++) {
            SSL_CTX *server =
                tls_server_new(&(struct tls_server_options){.max_version = versions[i]});
            struct link link;
            link_open(&link, server, SOCK_STREAM);
            start_tls(&link, NULL, false);
            assert_int_equal(run_handshake(&link), CHANNEL_OK);
            exchange(&link);
            tls_peer_say(&link.peer, bytes_of("421 bye\r\n"));
            if (orderly)
                SSL_shutdown(link.peer.ssl);
            tls_peer_pump(&link.peer);
            link_close_peer(&link);
            expect_from_peer(&link, "421 bye\r\n");
            char octet;
            size_t len;
            assert_int_equal(read_some(&link, &octet, 1, &len), CHANNEL_CLOSED);
            if (orderly)
                assert_string_equal(channel_error(&link.channel), "");
            else
                assert_non_null(strstr(channel_error(&link.channel), "without close_notify"));
            link_fini(&link);
            SSL_CTX_free(server);
        }
    }
}

/* The server's octets are cut off after each possible number of them. */
static void a_peer_that_goes_away_at_any_octet_fails_the_handshake_or_closes(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    unsigned failed = 0, closed = 0;
    for (size_t cut = 0;; cut++) {
        struct link link;
        link_open(&link, server, SOCK_STREAM);
        start_tls(&link, NULL, false);
        assert_int_equal(channel_handshake(&link.channel, NOW, &link.info), CHANNEL_WANT_READ);
        link.peer.step = cut < 1 ? 0 : 65536;
        tls_peer_pull(&link.peer);
        link.peer.step = 65536;
        if (cut > 0) {
            (void)SSL_do_handshake(link.peer.ssl);
            link.peer.step = cut;
            tls_peer_push(&link.peer);
        }
        const uint8_t *rest;
        size_t rest_len;
        assert_true(BIO_mem_contents(SSL_get_wbio(link.peer.ssl), &rest, &rest_len));
        shutdown(link.fds[1], SHUT_WR);
        enum channel_status status = finish_alone(&link);
        if (status == CHANNEL_OK) {
            char octet;
            size_t len;
            assert_int_equal(channel_flush(&link.channel), CHANNEL_OK);
            assert_int_equal(read_some(&link, &octet, 1, &len), CHANNEL_CLOSED);
            closed++;
        } else {
            assert_int_equal(status, CHANNEL_FAILED);
            assert_non_null(strstr(channel_error(&link.channel), "closed"));
            failed++;
        }
        link_fini(&link);
        if (cut > 0 && rest_len == 0)
            break;
    }
    assert_true(failed > 500); /* the flight of a certificate is larger */
    assert_int_equal(closed, 1);
    ERR_clear_error();
    SSL_CTX_free(server);
}

static void read_pending_knows_what_the_channel_holds(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    struct link link;
    link_open(&link, server, SOCK_STREAM);
    start_tls(&link, NULL, false);
    assert_int_equal(run_handshake(&link), CHANNEL_OK);
    exchange(&link);
    tls_peer_say(&link.peer, bytes_of("250-a\r\n"));
    tls_peer_say(&link.peer, bytes_of("250 b\r\n"));
    tls_peer_pump(&link.peer);
    char got[32];
    size_t len;
    assert_int_equal(channel_read(&link.channel, got, 3, ++turn_ms, &len), CHANNEL_OK);
    assert_true(channel_read_pending(&link.channel)); /* the rest of a record */
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len), CHANNEL_OK);
    assert_int_equal(len, 4);
    assert_true(channel_read_pending(&link.channel)); /* the next record */
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len), CHANNEL_OK);
    assert_int_equal(len, 7);
    assert_false(channel_read_pending(&link.channel));
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len),
                     CHANNEL_WANT_READ);

    tls_peer_say(&link.peer, bytes_of("250 e\r\n")); /* one record, and nothing behind it */
    tls_peer_pump(&link.peer);
    assert_int_equal(channel_read(&link.channel, got, 3, ++turn_ms, &len), CHANNEL_OK);
    assert_true(channel_read_pending(&link.channel));
    assert_int_equal(channel_read(&link.channel, got, 4, ++turn_ms, &len), CHANNEL_OK);
    assert_false(channel_read_pending(&link.channel));

    /* A whole record and a part of the next: what is left is not worth a call. */
    tls_peer_say(&link.peer, bytes_of("250-c\r\n"));
    tls_peer_say(&link.peer, bytes_of("250 d\r\n"));
    link.peer.step = 2 * (7 + 22) - 1;
    tls_peer_pump(&link.peer);
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len), CHANNEL_OK);
    assert_int_equal(len, 7);
    assert_false(channel_read_pending(&link.channel));
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len),
                     CHANNEL_WANT_READ);
    tls_peer_pump(&link.peer);
    assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len), CHANNEL_OK);
    assert_memory_equal(got, "250 d\r\n", 7);
    link_fini(&link);
    SSL_CTX_free(server);
}

static void a_drained_socket_answers_once_without_a_recv(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    for (int tls = 0; tls < 2; tls++) {
        struct link link;
        link_open(&link, server, SOCK_STREAM);
        if (tls) {
            start_tls(&link, NULL, false);
            assert_int_equal(run_handshake(&link), CHANNEL_OK);
            exchange(&link);
        }
        char got[32];
        size_t len;
        for (int round = 0; round < 2; round++) {
            if (tls) {
                tls_peer_say(&link.peer, bytes_of("250 a\r\n"));
                tls_peer_pump(&link.peer);
            } else {
                assert_int_equal(send(link.fds[1], "250 a\r\n", 7, 0), 7);
            }
            if (round == 1) { /* said in the same turn: seen one answer later, never missed */
                assert_int_equal(channel_read(&link.channel, got, sizeof got, turn_ms, &len),
                                 CHANNEL_WANT_READ);
                assert_int_equal(channel_read(&link.channel, got, sizeof got, turn_ms, &len),
                                 CHANNEL_OK);
            } else {
                assert_int_equal(channel_read(&link.channel, got, sizeof got, ++turn_ms, &len),
                                 CHANNEL_OK);
            }
        }
        link_close_peer(&link);
        enum channel_status status =
            channel_read(&link.channel, got, sizeof got, turn_ms + 1, &len);
        assert_int_equal(status, CHANNEL_CLOSED); /* a later turn looks at once */
        link_fini(&link);
    }
    SSL_CTX_free(server);
}

static void an_idle_channel_keeps_no_buffers(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    struct link link;
    link_open(&link, server, SOCK_STREAM);
    start_tls(&link, NULL, false);
    assert_int_equal(run_handshake(&link), CHANNEL_OK);
    exchange(&link);
    assert_null(link.channel.in.at);
    assert_null(link.channel.out.at);
    assert_null(link.channel.offered);
    link_fini(&link);
    SSL_CTX_free(server);
}

static uint8_t pattern(size_t at)
{
    return (uint8_t)(at * 2654435761u >> 13);
}

/* How much of it the peer has after another turn. */
static size_t receive_big(struct link *link, bool tls, uint8_t *to, size_t received, size_t cap)
{
    if (tls) {
        tls_peer_pump(&link->peer);
        return link->peer.received.len;
    }
    ssize_t len = recv(link->fds[1], to + received, cap - received, MSG_DONTWAIT);
    return received + (len > 0 ? (size_t)len : 0);
}

/* TLS records at the front of what lies in the socket. */
static unsigned count_records(int fd)
{
    static uint8_t sent[64 * 1024];
    ssize_t len = recv(fd, sent, sizeof sent, MSG_PEEK | MSG_DONTWAIT);
    unsigned num = 0;
    for (ssize_t at = 0; at + 5 <= len; at += 5 + sent[at + 3] * 256 + sent[at + 4])
        num++;
    return num;
}

static void what_is_written_between_two_flushes_shares_records(void **state)
{
    (void)state;
    static uint8_t content[3 * CHANNEL_RECORD_MAX];
    static const struct {
        size_t parts[3];
        unsigned records;
    } rows[] = {
        {{30, 100, 4000}, 1},
        {{30, CHANNEL_RECORD_MAX - 30, 0}, 1},
        {{30, CHANNEL_RECORD_MAX - 29, 0}, 2},
        {{30, 2 * CHANNEL_RECORD_MAX, 3}, 3},
        {{2 * CHANNEL_RECORD_MAX, 5, 5}, 3},
    };
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = pattern(i);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
        struct link link;
        link_open(&link, server, SOCK_STREAM);
        start_tls(&link, NULL, false);
        assert_int_equal(run_handshake(&link), CHANNEL_OK);
        exchange(&link);
        size_t len, written = 0;
        for (size_t part = 0; part < 3; part++) {
            assert_int_equal(channel_write(&link.channel,
                                           bytes_make(content + written, rows[i].parts[part]),
                                           &len),
                             CHANNEL_OK);
            assert_int_equal(len, rows[i].parts[part]);
            written += len;
        }
        assert_int_equal(count_records(link.fds[1]), 0);
        assert_true(channel_unsent_len(&link.channel) >= written);
        assert_int_equal(channel_flush(&link.channel), CHANNEL_OK);
        assert_false(channel_has_unsent(&link.channel));
        assert_int_equal(count_records(link.fds[1]), rows[i].records);
        while (link.peer.received.len < written)
            tls_peer_pump(&link.peer);
        assert_memory_equal(link.peer.received.at, content, written);
        link_fini(&link);
        SSL_CTX_free(server);
    }
}

/* 8 MiB through sockets that hold a few KiB, both ways, cork after cork. */
static void big_transfers_survive_small_socket_buffers(void **state)
{
    (void)state;
    enum { BIG = 8 * 1024 * 1024, SMALL = 4096 };
    static uint8_t content[BIG], got[BIG];
    for (size_t i = 0; i < BIG; i++)
        content[i] = pattern(i);
    for (int tls = 0; tls < 2; tls++) {
        SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
        struct link link;
        link_open(&link, server, SOCK_STREAM);
        for (int i = 0; i < 2; i++)
            setsockopt(link.fds[i], SOL_SOCKET, SO_SNDBUF, &(int){SMALL}, sizeof(int));
        if (tls) {
            start_tls(&link, NULL, false);
            assert_int_equal(run_handshake(&link), CHANNEL_OK);
        }
        size_t written = 0, received = 0;
        unsigned want_write = 0, full_cork = 0, partial = 0;
        for (int turn = 0; turn < TURNS_MAX && received < BIG; turn++) {
            enum channel_status status = CHANNEL_OK;
            while (written < BIG && status == CHANNEL_OK) {
                /* More than a cork holds, and of odd size to meet the edges of records. */
                struct bytes offer =
                    bytes_first(bytes_make(content + written, BIG - written), 300001);
                size_t len;
                status = channel_write(&link.channel, offer, &len);
                assert_true(status == CHANNEL_OK || (status == CHANNEL_WANT_WRITE && len == 0));
                assert_true(link.channel.out.len <= CHANNEL_OUT_MAX);
                full_cork += status == CHANNEL_WANT_WRITE;
                partial += status == CHANNEL_OK && len < offer.len;
                written += len;
            }
            want_write += channel_flush(&link.channel) == CHANNEL_WANT_WRITE;
            received = receive_big(&link, tls, got, received, BIG);
        }
        assert_int_equal(received, BIG);
        assert_memory_equal(tls ? link.peer.received.at : got, content, BIG);
        assert_true(want_write > 0 && full_cork > 0 && partial > 0);
        link_fini(&link);
        SSL_CTX_free(server);
    }
}

static void reads_eight_mebibytes_in_order(void **state)
{
    (void)state;
    enum { BIG = 8 * 1024 * 1024, PIECE = 64 * 1024 };
    static uint8_t piece[PIECE];
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    struct link link;
    link_open(&link, server, SOCK_STREAM);
    start_tls(&link, NULL, false);
    assert_int_equal(run_handshake(&link), CHANNEL_OK);
    exchange(&link);
    size_t at = 0;
    for (size_t said = 0; said < BIG; said += PIECE) {
        for (size_t i = 0; i < PIECE; i++)
            piece[i] = pattern(said + i);
        tls_peer_say(&link.peer, bytes_make(piece, PIECE));
        while (at < said + PIECE) {
            uint8_t got[5000];
            size_t len;
            assert_int_equal(read_some(&link, got, sizeof got, &len), CHANNEL_OK);
            for (size_t i = 0; i < len; i++)
                assert_int_equal(got[i], pattern(at + i));
            at += len;
        }
    }
    assert_int_equal(at, BIG);
    link_fini(&link);
    SSL_CTX_free(server);
}

static void fini_says_goodbye_but_never_sends_the_cork(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    for (int corked = 0; corked < 2; corked++) {
        struct link link;
        link_open(&link, server, SOCK_STREAM);
        start_tls(&link, NULL, false);
        assert_int_equal(run_handshake(&link), CHANNEL_OK);
        exchange(&link);
        size_t len;
        if (corked)
            assert_int_equal(channel_write(&link.channel, bytes_of(".\r\n"), &len), CHANNEL_OK);
        channel_fini(&link.channel);
        tls_peer_pump(&link.peer);
        assert_int_equal(link.peer.received.len, 0);
        bool told = (SSL_get_shutdown(link.peer.ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
        assert_int_equal(told, !corked);
        link_fini(&link);
    }
    SSL_CTX_free(server);
}

static void a_failed_handshake_tells_the_server_why(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    struct link link;
    link_open(&link, server, SOCK_STREAM);
    start_tls(&link, NULL, false);
    assert_int_equal(channel_handshake(&link.channel, NOW, &link.info), CHANNEL_WANT_READ);
    uint8_t hello[4096];
    assert_true(recv(link.fds[1], hello, sizeof hello, 0) > 0);
    /* A ServerHello that ends too early: decode_error (RFC 8446 6.2). */
    assert_int_equal(send(link.fds[1], "\x16\x03\x03\x00\x04\x02\x00\x00\x00", 9, 0), 9);
    assert_int_equal(channel_handshake(&link.channel, NOW, &link.info), CHANNEL_FAILED);
    uint8_t alert[16];
    assert_true(recv(link.fds[1], alert, sizeof alert, MSG_DONTWAIT) >= 7);
    assert_int_equal(alert[0], 0x15);
    link_fini(&link);
    SSL_CTX_free(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plaintext_goes_both_ways),
        cmocka_unit_test(a_server_that_is_too_old_fails_the_handshake),
        cmocka_unit_test(garbage_instead_of_a_server_hello_fails),
        cmocka_unit_test(nothing_depends_on_where_the_stream_is_split),
        cmocka_unit_test(octets_before_the_handshake_are_seen),
        cmocka_unit_test(close_notify_and_a_bare_end_are_told_apart),
        cmocka_unit_test(a_peer_that_goes_away_at_any_octet_fails_the_handshake_or_closes),
        cmocka_unit_test(read_pending_knows_what_the_channel_holds),
        cmocka_unit_test(a_drained_socket_answers_once_without_a_recv),
        cmocka_unit_test(an_idle_channel_keeps_no_buffers),
        cmocka_unit_test(what_is_written_between_two_flushes_shares_records),
        cmocka_unit_test(big_transfers_survive_small_socket_buffers),
        cmocka_unit_test(reads_eight_mebibytes_in_order),
        cmocka_unit_test(fini_says_goodbye_but_never_sends_the_cork),
        cmocka_unit_test(a_failed_handshake_tells_the_server_why),
    };
    return cmocka_run_group_tests(tests, link_set_up, link_tear_down);
}
