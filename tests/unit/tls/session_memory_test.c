/* What the session cache says that it holds against what jemalloc says: certificates of different
 * servers, tickets of real handshakes. With `--show` it prints the figures of docs/tls.md. Without
 * jemalloc (sanitizers) the handshakes run and nothing is compared. */
#include "tests/support/tls_link.h"

#include <stdio.h>

int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len)
    __attribute__((weak));

static bool shows;

/* Octets that jemalloc has given out and not got back, for requests rounded up as it does. */
static size_t allocated(void)
{
    uint64_t epoch = 1;
    size_t num = 0, len = sizeof epoch;
    assert_int_equal(mallctl("thread.tcache.flush", NULL, NULL, NULL, 0), 0);
    assert_int_equal(mallctl("epoch", &epoch, &len, &epoch, len), 0);
    len = sizeof num;
    assert_int_equal(mallctl("stats.allocated", &num, &len, NULL, 0), 0);
    return num;
}

static void fill(struct session_cache *cache, unsigned from, unsigned to, unsigned tickets)
{
    for (unsigned n = from; n < to; n++) {
        struct link link;
        SSL_CTX *server = tls_server_new(&(struct tls_server_options){0});
        struct session_key_parts parts = {.port = (uint16_t)n};
        link_open(&link, server, SOCK_STREAM);
        channel_start_tls(
            &link.channel,
            &(struct channel_tls_params){
                .context = context,
                .cache = cache,
                .destination = {.key = session_key_make(&parts),
                                .label = "mx.example.test [192.0.2.1]:25",
                                .limits = {.tickets = tickets, .timeout_ms = 3600 * 1000}},
                .sni = "mx.example.test",
                .requirement = &requirement,
                .now_wall_s = time(NULL)},
            NOW);
        assert_int_equal(run_handshake(&link), CHANNEL_OK);
        exchange(&link);
        link_fini(&link);
        SSL_CTX_free(server);
    }
}

static void is_about_what_jemalloc_gave(void **state)
{
    (void)state;
    enum { WARM = 20, NUM = 400 };
    for (unsigned tickets = 1; tickets <= 2; tickets++) {
        struct session_cache *cache =
            session_cache_new(&(struct session_cache_options){.entries = 1000});
        fill(cache, 0, WARM, tickets);
        struct session_cache_counters before = counters_of(cache);
        size_t held = mallctl ? allocated() : 0;
        fill(cache, WARM, WARM + NUM, tickets);
        struct session_cache_counters after = counters_of(cache);
        assert_int_equal(after.sessions - before.sessions, NUM * tickets);
        double said = (double)(after.bytes - before.bytes) / NUM;
        if (mallctl) {
            double got = (double)(allocated() - held) / NUM;
            if (shows)
                printf("%u session(s) of a server with a certificate of its own: %.0f octets a "
                       "destination by jemalloc, %.0f by the cache's estimate\n",
                       tickets, got, said);
            assert_true(said > 0.85 * got && said < 1.15 * got);
        }
        session_cache_free(cache);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(is_about_what_jemalloc_gave)};
    shows = argc > 1 && strcmp(argv[1], "--show") == 0;
    return cmocka_run_group_tests(tests, link_set_up, link_tear_down);
}
