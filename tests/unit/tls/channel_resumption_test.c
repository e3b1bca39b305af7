/* Handshakes of channels, full and resumed through the session cache. */
#include "tests/support/tls_link.h"

static void the_second_connection_resumes(void **state)
{
    (void)state;
    static const struct {
        uint16_t version;
        const char *name;
    } rows[] = {{TLS1_3_VERSION, "TLSv1.3"}, {TLS1_2_VERSION, "TLSv1.2"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session_cache *cache = new_cache();
        SSL_CTX *server =
            tls_server_new(&(struct tls_server_options){.max_version = rows[i].version});
        struct channel_tls_info info = connect_once(server, cache, true, 65536);
        assert_string_equal(info.version, rows[i].name);
        assert_non_null(info.cipher);
        assert_false(info.resumed || info.offered_session);
        for (int n = 0; n < 5; n++) {
            info = connect_once(server, cache, true, 65536);
            assert_true(info.resumed && info.offered_session);
            assert_string_equal(info.version, rows[i].name);
        }
        struct session_cache_counters counters = counters_of(cache);
        assert_int_equal(counters.full, 1);
        assert_int_equal(counters.resumed, 5);
        assert_int_equal(counters.relent, 0);
        session_cache_free(cache);
        SSL_CTX_free(server);
    }
}

static void without_leave_to_offer_a_session_the_handshake_is_full(void **state)
{
    (void)state;
    struct session_cache *cache = new_cache();
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    (void)connect_once(server, cache, true, 65536);
    struct channel_tls_info info = connect_once(server, cache, false, 65536);
    assert_false(info.resumed || info.offered_session);
    assert_int_equal(counters_of(cache).full, 2);
    assert_int_equal(counters_of(cache).lookups, 1);
    assert_true(connect_once(server, cache, true, 65536).resumed);
    session_cache_free(cache);
    SSL_CTX_free(server);
}

static void without_a_cache_nothing_is_offered_or_kept(void **state)
{
    (void)state;
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
    for (int n = 0; n < 2; n++)
        assert_false(connect_once(server, NULL, true, 65536).offered_session);
    SSL_CTX_free(server);
}

static void the_last_ticket_serves_again_when_no_new_one_comes(void **state)
{
    (void)state;
    struct session_cache *cache = new_cache();
    SSL_CTX *server =
        tls_server_new(&(struct tls_server_options){.no_tickets_on_resumption = true});
    assert_false(connect_once(server, cache, true, 65536).resumed);
    uint64_t tickets = counters_of(cache).stored;
    assert_true(tickets >= 1);
    for (int n = 0; n < 10; n++)
        assert_true(connect_once(server, cache, true, 65536).resumed);
    struct session_cache_counters counters = counters_of(cache);
    assert_int_equal(counters.stored, tickets);
    assert_int_equal(counters.resumed, 10);
    assert_int_equal(counters.relent, 10 - tickets);
    session_cache_free(cache);
    SSL_CTX_free(server);
}

static void a_server_without_tickets_gets_full_handshakes(void **state)
{
    (void)state;
    struct session_cache *cache = new_cache();
    SSL_CTX *server = tls_server_new(&(struct tls_server_options){.no_tickets = true});
    for (int n = 0; n < 3; n++)
        assert_false(connect_once(server, cache, true, 65536).offered_session);
    assert_int_equal(counters_of(cache).stored, 0);
    assert_int_equal(counters_of(cache).full, 3);
    session_cache_free(cache);
    SSL_CTX_free(server);
}

static void a_changed_ticket_key_costs_a_full_handshake_and_is_counted(void **state)
{
    (void)state;
    static const uint16_t versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        struct session_cache *cache = new_cache();
        SSL_CTX *server = tls_server_new(&(struct tls_server_options){.max_version = versions[i]});
        (void)connect_once(server, cache, true, 65536);
        tls_server_change_ticket_key(server);
        struct channel_tls_info info = connect_once(server, cache, true, 65536);
        assert_true(info.offered_session && !info.resumed);
        assert_int_equal(counters_of(cache).refused, 1);
        assert_true(connect_once(server, cache, true, 65536).resumed);
        session_cache_free(cache);
        SSL_CTX_free(server);
    }
}

static void finished_and_the_first_command_leave_in_one_send(void **state)
{
    (void)state;
    static const struct {
        uint16_t version;
        size_t full, resumed; /* sends up to and with the first command */
    } rows[] = {{TLS1_3_VERSION, 2, 2}, {TLS1_2_VERSION, 3, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct session_cache *cache = new_cache();
        SSL_CTX *server =
            tls_server_new(&(struct tls_server_options){.max_version = rows[i].version});
        for (int resumed = 0; resumed < 2; resumed++) {
            struct link link;
            link_open(&link, server, SOCK_SEQPACKET); /* which keeps send() calls apart */
            start_tls(&link, cache, true);
            assert_int_equal(run_handshake(&link), CHANNEL_OK);
            assert_int_equal(link.info.resumed, resumed);
            exchange(&link);
            assert_int_equal(link.peer.num_chunks, resumed ? rows[i].resumed : rows[i].full);
            link_fini(&link);
        }
        session_cache_free(cache);
        SSL_CTX_free(server);
    }
}

/* The certificate's end goes with the sessions of resumed connections, on which no certificate is
 * looked at. */
static void sessions_inherit_the_end_of_what_was_verified(void **state)
{
    (void)state;
    static const uint16_t versions[] = {TLS1_3_VERSION, TLS1_2_VERSION};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        struct session_cache *cache = new_cache();
        SSL_CTX *server = tls_server_new(&(struct tls_server_options){.max_version = versions[i]});
        int64_t day_ms = INT64_C(24) * 3600 * 1000, now_ms = time(NULL) * 1000;
        requirement.wishes = 0;
        requirement.checks = TLS_CHECK_PKIX;
        requirement.names_host = true;
        requirement.host = "mx.example.test";
        struct tls_trust none = context->trust;
        context->trust.store = X509_STORE_new();
        X509 *certificate = SSL_CTX_get0_certificate(server);
        assert_true(X509_STORE_add_cert(context->trust.store, certificate));
        for (int n = 0; n < 4; n++) {
            struct session_offer offer;
            assert_int_equal(connect_once(server, cache, true, 65536).resumed, n > 0);
            SSL_SESSION *lent = session_cache_take(cache, &destination, now_ms, &offer);
            assert_non_null(lent);
            assert_true(offer.verified_until_ms > now_ms);
            assert_true(offer.verified_until_ms <= now_ms + day_ms + 10000);
            session_cache_put(cache, &destination, lent, offer.verified_until_ms, now_ms);
        }
        X509_STORE_free(context->trust.store);
        context->trust = none;
        requirement = (struct tls_requirement){0};
        session_cache_free(cache);
        SSL_CTX_free(server);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_second_connection_resumes),
        cmocka_unit_test(without_leave_to_offer_a_session_the_handshake_is_full),
        cmocka_unit_test(without_a_cache_nothing_is_offered_or_kept),
        cmocka_unit_test(the_last_ticket_serves_again_when_no_new_one_comes),
        cmocka_unit_test(a_server_without_tickets_gets_full_handshakes),
        cmocka_unit_test(a_changed_ticket_key_costs_a_full_handshake_and_is_counted),
        cmocka_unit_test(sessions_inherit_the_end_of_what_was_verified),
        cmocka_unit_test(finished_and_the_first_command_leave_in_one_send),
    };
    return cmocka_run_group_tests(tests, link_set_up, link_tear_down);
}
