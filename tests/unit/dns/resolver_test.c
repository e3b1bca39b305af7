/* The resolver against scripted servers: which server is asked when, what is shared and kept. */
#include "base/clock.h"
#include "dns/resolver.h"
#include "responder.h"

#include <sched.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

enum { QUERIES_MAX = 200, TEST_LIMIT_MS = 20000 };

/* Whoever asks: a loop with a mailbox on the test's own thread. */
struct asker {
    struct loop loop;
    struct mailbox mailbox;
    unsigned num_answers;
    struct resolver *resolver;
    struct resolver_options options;
    const char *servers[3];
};

static void on_answer(void *ctx, struct mailbox_item *item)
{
    struct asker *asker = ctx;
    assert_int_equal(item->kind, RESOLVER_ANSWER);
    asker->num_answers++;
}

static void asker_init(struct asker *asker, const struct responder *first,
                       const struct responder *second)
{
    *asker = (struct asker){0};
    assert_true(loop_init(&asker->loop));
    assert_true(mailbox_init(&asker->mailbox, &asker->loop, on_answer, asker));
    asker->servers[0] = first->server;
    asker->servers[1] = second ? second->server : NULL;
    asker->options = (struct resolver_options){.servers = asker->servers,
                                               .num_servers = second ? 2 : 1,
                                               .max_ttl_ms = 3600 * 1000,
                                               .max_negative_ttl_ms = 3600 * 1000,
                                               .stale_ms = 3600 * 1000,
                                               .timeout_ms = 5000,
                                               .tries = 1,
                                               .max_in_flight = 100,
                                               .cache_entries = 1000,
                                               .max_hosts = 5,
                                               .own_name = "us.test",
                                               .ipv4 = true};
}

static void asker_start(struct asker *asker)
{
    char why[ROUTE_WHY_MAX];
    asker->resolver = resolver_start(&asker->options, why);
    if (!asker->resolver)
        fail_msg("%s", why);
}

static void asker_fini(struct asker *asker)
{
    resolver_stop(asker->resolver);
    mailbox_drain(&asker->mailbox);
    mailbox_fini(&asker->mailbox);
    loop_fini(&asker->loop);
}

static void ask(struct asker *asker, struct route_query *query, const char *domain)
{
    *query = (struct route_query){.reply_to = &asker->mailbox, .domain = domain, .port = 25};
    resolver_ask(asker->resolver, query);
}

static void await(struct asker *asker, unsigned num)
{
    int64_t end = clock_mono_us() + TEST_LIMIT_MS * 1000;
    while (asker->num_answers < num && clock_mono_us() < end)
        loop_turn(&asker->loop, 1000);
    assert_int_equal(asker->num_answers, num);
    asker->num_answers = 0;
}

static struct route *resolve(struct asker *asker, const char *domain)
{
    struct route_query query;
    ask(asker, &query, domain);
    await(asker, 1);
    assert_non_null(query.route);
    return query.route;
}

/* "192.0.2.1" of the first host, or "5.1.2 ..." */
static void expect(struct asker *asker, const char *domain, const char *expected)
{
    char text[46 + ROUTE_WHY_MAX];
    struct route *route = resolve(asker, domain);
    if (route->verdict == ROUTE_OK)
        host_address_format(&route->hosts[0].addresses[0], text);
    else
        snprintf(text, sizeof text, "%u.%u.%u", route->enhanced[0], route->enhanced[1],
                 route->enhanced[2]);
    if (strcmp(text, expected) != 0)
        fail_msg("%s: %s (%s), not %s", domain, text, route->why, expected);
    route_unref(route);
}

static struct resolver_counters counters_of(const struct asker *asker)
{
    struct resolver_counters counters;
    resolver_read_counters(asker->resolver, &counters);
    return counters;
}

#define START(rows) responder_start(rows, sizeof rows / sizeof *rows)

static const struct script_row plain_rows[] = {
    {.name = "dom.test", .type = TYPE_MX, .data = "10 mx.test", .ttl = 60},
    {.name = "mx.test", .type = TYPE_A, .data = "192.0.2.1", .ttl = 60},
};

static void mx_and_address_make_a_route_that_is_kept(void **state)
{
    (void)state;
    struct responder *server = START(plain_rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker_start(&asker);
    expect(&asker, "dom.test", "192.0.2.1");
    expect(&asker, "Dom.Test.", "192.0.2.1");
    assert_int_equal(responder_count(server, 0), 1);
    assert_int_equal(responder_count(server, 1), 1);
    assert_int_equal(counters_of(&asker).queries, 2);
    assert_int_equal(counters_of(&asker).hits, 2);
    asker_fini(&asker);
    responder_stop(server);
}

static void both_families_are_asked_for(void **state)
{
    (void)state;
    static const struct script_row rows[] = {
        {.name = "dom.test", .type = TYPE_MX, .data = "10 mx.test", .ttl = 60},
        {.name = "mx.test", .type = TYPE_A, .data = "192.0.2.1", .ttl = 60},
        {.name = "mx.test", .type = TYPE_AAAA, .data = "2001:db8::1", .ttl = 60}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker.options.ipv6 = true;
    asker_start(&asker);
    struct route *route = resolve(&asker, "dom.test");
    assert_int_equal(route->hosts[0].num_addresses, 2);
    assert_int_equal(route->hosts[0].addresses[0].family, 6);
    assert_string_equal(route->host_set, "smtp:25 10:mx.test");
    route_unref(route);
    asker_fini(&asker);
    responder_stop(server);
}

static void verdicts_need_no_server_more_than_once(void **state)
{
    (void)state;
    static const struct script_row rows[] = {
        {.name = "null.test", .type = TYPE_MX, .data = "0 .", .ttl = 60},
        {.name = "gone.test", .action = SCRIPT_RCODE, .number = 3, .ttl = 60},
        {.name = "bare.test", .type = TYPE_A, .data = "192.0.2.9", .ttl = 60},
        {.name = "bare.test", .type = TYPE_MX, .ttl = 60},
        {.name = "empty.test", .ttl = 60},
        {.name = "noaddr.test", .type = TYPE_MX, .data = "10 empty.test", .ttl = 60},
        {.name = "local.test", .type = TYPE_MX, .data = "10 lo.test", .ttl = 60},
        {.name = "lo.test", .type = TYPE_A, .data = "127.0.0.1", .ttl = 60},
        {.name = "loop.test", .type = TYPE_MX, .data = "10 us.test", .ttl = 60}};
    static const struct {
        const char *domain, *expected;
    } cases[] = {{"null.test", "5.1.10"},
                 {"gone.test", "5.1.2"},
                 {"bare.test", "192.0.2.9"},
                 {"empty.test", "5.1.2"},
                 {"noaddr.test", "5.4.4"},
                 {"local.test", "5.4.6"},
                 {"loop.test", "5.4.6"},
                 {"[192.0.2.7]", "192.0.2.7"},
                 {"[IPv6:2001:db8::7]", "2001:db8::7"},
                 {"[127.0.0.1]", "5.4.6"},
                 {"[nonsense]", "5.1.3"},
                 {"a..b", "5.1.2"},
                 {"", "5.1.2"}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker_start(&asker);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        expect(&asker, cases[i].domain, cases[i].expected);
        uint64_t queries = counters_of(&asker).queries;
        expect(&asker, cases[i].domain, cases[i].expected);
        assert_int_equal(counters_of(&asker).queries, queries);
    }
    asker_fini(&asker);
    responder_stop(server);
}

static void an_error_of_one_server_is_asked_of_the_next(void **state)
{
    (void)state;
    static const struct {
        enum script_action action;
        unsigned rcode;
    } errors[] = {{SCRIPT_RCODE, 2}, {SCRIPT_RCODE, 5}, {SCRIPT_RCODE, 4}, {SCRIPT_GARBAGE, 0}};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        struct script_row bad[] = {
            {.name = "dom.test", .action = errors[i].action, .number = errors[i].rcode},
            {.name = "mx.test", .action = errors[i].action, .number = errors[i].rcode}};
        struct responder *first = START(bad);
        struct responder *second = START(plain_rows);
        struct asker asker;
        asker_init(&asker, first, second);
        asker_start(&asker);
        expect(&asker, "dom.test", "192.0.2.1");
        assert_int_equal(responder_count(first, 0), 1);
        assert_int_equal(counters_of(&asker).failures, 0);
        asker_fini(&asker);
        responder_stop(first);
        responder_stop(second);
    }
}

static void silence_of_one_server_is_asked_of_the_next(void **state)
{
    (void)state;
    static const struct script_row silent[] = {{.name = "dom.test", .action = SCRIPT_DROP},
                                               {.name = "mx.test", .action = SCRIPT_DROP}};
    struct responder *first = START(silent);
    struct responder *second = START(plain_rows);
    struct asker asker;
    asker_init(&asker, first, second);
    asker.options.timeout_ms = 50;
    asker_start(&asker);
    expect(&asker, "dom.test", "192.0.2.1");
    assert_int_equal(responder_count(first, 0), 1);
    assert_int_equal(responder_count(second, 0), 1);
    asker_fini(&asker);
    responder_stop(first);
    responder_stop(second);
}

static void a_silent_server_is_asked_after_the_others(void **state)
{
    (void)state;
    static const char *const domains[] = {"d1.test", "d2.test", "d3.test", "d4.test"};
    struct script_row silent[4];
    struct script_row gone[4];
    for (int i = 0; i < 4; i++) {
        silent[i] = (struct script_row){.name = domains[i], .action = SCRIPT_DROP};
        gone[i] =
            (struct script_row){.name = domains[i], .action = SCRIPT_RCODE, .number = 3, .ttl = 60};
    }
    struct responder *first = START(silent);
    struct responder *second = START(gone);
    struct asker asker;
    asker_init(&asker, first, second);
    asker.options.timeout_ms = 50;
    asker_start(&asker);
    for (int i = 0; i < 4; i++)
        expect(&asker, domains[i], "5.1.2");
    assert_int_equal(responder_count(first, 2), 1);
    assert_int_equal(responder_count(first, 3), 0);
    asker_fini(&asker);
    responder_stop(first);
    responder_stop(second);
}

static void nothing_but_failures_defers_and_is_not_asked_again_at_once(void **state)
{
    (void)state;
    static const struct script_row rows[] = {
        {.name = "dom.test", .action = SCRIPT_RCODE, .number = 2},
        {.name = "half.test", .type = TYPE_MX, .data = "10 bad.test", .ttl = 60},
        {.name = "bad.test", .action = SCRIPT_RCODE, .number = 2}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker.options.tries = 3;
    asker_start(&asker);
    expect(&asker, "dom.test", "4.4.3");
    expect(&asker, "dom.test", "4.4.3");
    /* Whoever said SERVFAIL is not asked again within the look-up. */
    assert_int_equal(responder_count(server, 0), 1);
    expect(&asker, "half.test", "4.4.3");
    assert_int_equal(counters_of(&asker).failures, 2);
    asker_fini(&asker);
    responder_stop(server);
}

static void a_silent_server_is_tried_as_often_as_configured(void **state)
{
    (void)state;
    static const struct script_row rows[] = {{.name = "dom.test", .action = SCRIPT_DROP}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker.options.timeout_ms = 50;
    asker.options.tries = 2;
    asker_start(&asker);
    expect(&asker, "dom.test", "4.4.3");
    assert_int_equal(responder_count(server, 0), 2);
    asker_fini(&asker);
    responder_stop(server);
}

static void a_dead_server_defers(void **state)
{
    (void)state;
    struct responder *server = START(plain_rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    char dead[32];
    snprintf(dead, sizeof dead, "%s", server->server);
    asker.servers[0] = dead;
    responder_stop(server);
    asker.options.timeout_ms = 1000;
    asker_start(&asker);
    expect(&asker, "dom.test", "4.4.3");
    asker_fini(&asker);
}

static void a_truncated_answer_comes_over_tcp(void **state)
{
    (void)state;
    static const struct script_row rows[] = {
        {.name = "dom.test", .action = SCRIPT_TRUNCATE, .data = "10 mx.test", .ttl = 60},
        {.name = "mx.test", .type = TYPE_A, .data = "192.0.2.1", .ttl = 60}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker_start(&asker);
    expect(&asker, "dom.test", "192.0.2.1");
    assert_int_equal(responder_count_tcp(server), 1);
    asker_fini(&asker);
    responder_stop(server);
}

static void a_server_without_edns_is_asked_without(void **state)
{
    (void)state;
    static const struct script_row rows[] = {
        {.name = "dom.test", .action = SCRIPT_NO_EDNS, .data = "10 mx.test", .ttl = 60},
        {.name = "mx.test", .action = SCRIPT_NO_EDNS, .data = "192.0.2.1", .ttl = 60},
        {.name = "two.test", .action = SCRIPT_NO_EDNS, .data = "10 mx.test", .ttl = 60}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker_start(&asker);
    expect(&asker, "dom.test", "192.0.2.1");
    expect(&asker, "two.test", "192.0.2.1");
    asker_fini(&asker);
    responder_stop(server);
}

static void cnames_are_followed_also_by_ourselves(void **state)
{
    (void)state;
    static const struct script_row rows[] = {
        {.name = "alias.test", .cname = "dom.test", .data = "10 mx.test", .ttl = 60},
        {.name = "mx.test", .cname = "real.test", .ttl = 60},
        {.name = "real.test", .type = TYPE_A, .data = "192.0.2.5", .ttl = 60},
        {.name = "loop.test", .cname = "loop2.test", .ttl = 60},
        {.name = "loop2.test", .cname = "loop.test", .ttl = 60}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker_start(&asker);
    expect(&asker, "alias.test", "192.0.2.5");
    assert_int_equal(responder_count(server, 2), 1);
    expect(&asker, "loop.test", "4.4.3");
    asker_fini(&asker);
    responder_stop(server);
}

static void look_ups_in_flight_are_shared(void **state)
{
    (void)state;
    static struct route_query queries[50];
    struct responder *server = START(plain_rows);
    struct asker asker;
    responder_set(server, 0, SCRIPT_HOLD, 0);
    asker_init(&asker, server, NULL);
    asker_start(&asker);
    for (int i = 0; i < 50; i++)
        ask(&asker, &queries[i], "dom.test");
    responder_wait_asked(server, 0, 1);
    /* All 50 have joined when the counter says so; then the server may speak. */
    while (counters_of(&asker).shared < 49)
        sched_yield();
    responder_set(server, 0, SCRIPT_ANSWER, 0);
    responder_poke(server);
    await(&asker, 50);
    for (int i = 0; i < 50; i++) {
        assert_int_equal(queries[i].route->verdict, ROUTE_OK);
        route_unref(queries[i].route);
    }
    assert_int_equal(responder_count(server, 0), 1);
    assert_int_equal(responder_count(server, 1), 1);
    asker_fini(&asker);
    responder_stop(server);
}

static void more_queries_than_may_be_in_flight_are_all_answered(void **state)
{
    (void)state;
    static struct route_query queries[QUERIES_MAX];
    static char domains[QUERIES_MAX][16];
    struct responder *server = START(plain_rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker.options.max_in_flight = 3;
    asker.options.cache_entries = 2;
    asker_start(&asker);
    for (int i = 0; i < QUERIES_MAX; i++) {
        snprintf(domains[i], sizeof domains[i], "n%d.test", i);
        ask(&asker, &queries[i], i % 2 ? domains[i] : "dom.test");
    }
    await(&asker, QUERIES_MAX);
    for (int i = 0; i < QUERIES_MAX; i++) {
        assert_int_equal(queries[i].route->verdict, i % 2 ? ROUTE_BOUNCE : ROUTE_OK);
        route_unref(queries[i].route);
    }
    asker_fini(&asker);
    responder_stop(server);
}

static void an_expired_route_is_kept_while_servers_fail(void **state)
{
    (void)state;
    static const struct script_row rows[] = {
        {.name = "dom.test", .type = TYPE_MX, .data = "10 mx.test", .ttl = 0},
        {.name = "mx.test", .type = TYPE_A, .data = "192.0.2.1", .ttl = 0},
        {.name = "gone.test", .action = SCRIPT_RCODE, .number = 3, .ttl = 0}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker_start(&asker);
    expect(&asker, "dom.test", "192.0.2.1");
    expect(&asker, "gone.test", "5.1.2");
    for (size_t i = 0; i < 3; i++)
        responder_set(server, i, SCRIPT_RCODE, 2);
    struct route *route = resolve(&asker, "dom.test");
    assert_int_equal(route->verdict, ROUTE_OK);
    assert_true(route->is_stale);
    route_unref(route);
    /* An old "does not exist" is no reason to bounce. */
    expect(&asker, "gone.test", "4.4.3");
    assert_int_equal(counters_of(&asker).stale, 3);
    asker_fini(&asker);
    responder_stop(server);
}

static void ad_counts_from_loopback_servers(void **state)
{
    (void)state;
    static const struct script_row rows[] = {
        {.name = "dom.test", .data = "10 mx.test", .ttl = 60, .has_ad = true},
        {.name = "mx.test", .data = "192.0.2.1", .ttl = 60, .has_ad = true}};
    struct responder *server = START(rows);
    struct asker asker;
    for (int i = 0; i < 2; i++) {
        asker_init(&asker, server, NULL);
        /* A second server, never asked, that is not loopback: now AD proves nothing. */
        asker.servers[1] = "192.0.2.53";
        asker.options.num_servers = i ? 2 : 1;
        asker_start(&asker);
        struct route *route = resolve(&asker, "dom.test");
        assert_int_equal(route->secure, i == 0);
        assert_int_equal(route->hosts[0].secure, i == 0);
        route_unref(route);
        asker_fini(&asker);
    }
    responder_stop(server);
}

static void next_hops_are_resolved_as_written(void **state)
{
    (void)state;
    static const struct script_row rows[] = {
        {.name = "relay.test", .type = TYPE_MX, .data = "10 mx.test", .ttl = 60},
        {.name = "relay.test", .type = TYPE_A, .data = "127.0.0.2", .ttl = 60},
        {.name = "mx.test", .type = TYPE_A, .data = "127.0.0.3", .ttl = 60}};
    static const struct {
        const char *text, *address;
        uint16_t port;
    } cases[] = {{"relay.test", "127.0.0.3", 25},
                 {"[relay.test]:2525", "127.0.0.2", 2525},
                 {"lmtp:[relay.test]", "127.0.0.2", 24},
                 {"[127.0.0.4]:99", "127.0.0.4", 99},
                 {"[none.test]", "4.3.5", 25}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker_start(&asker);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct next_hop hop;
        const char *why;
        char text[46];
        assert_true(next_hop_parse(cases[i].text, &hop, &why));
        struct route_query query = {.reply_to = &asker.mailbox, .next_hop = &hop, .port = 25};
        resolver_ask(asker.resolver, &query);
        await(&asker, 1);
        struct route *route = query.route;
        if (route->verdict == ROUTE_OK) {
            host_address_format(&route->hosts[0].addresses[0], text);
            assert_string_equal(text, cases[i].address);
        } else {
            assert_int_equal(route->verdict, ROUTE_DEFER);
            assert_string_equal(cases[i].address, "4.3.5");
        }
        assert_int_equal(route->port, cases[i].port);
        assert_string_equal(route->site_name, cases[i].text);
        route_unref(route);
        next_hop_fini(&hop);
    }
    asker_fini(&asker);
    responder_stop(server);
}

static void a_stop_answers_what_is_under_way(void **state)
{
    (void)state;
    static struct route_query queries[10];
    static const struct script_row rows[] = {{.name = "dom.test", .action = SCRIPT_DROP}};
    struct responder *server = START(rows);
    struct asker asker;
    asker_init(&asker, server, NULL);
    asker.options.max_in_flight = 1;
    asker_start(&asker);
    for (int i = 0; i < 10; i++)
        ask(&asker, &queries[i], "dom.test");
    responder_wait_asked(server, 0, 1);
    asker_fini(&asker);
    assert_int_equal(asker.num_answers, 10);
    for (int i = 0; i < 10; i++) {
        assert_int_equal(queries[i].route->verdict, ROUTE_DEFER);
        route_unref(queries[i].route);
    }
    responder_stop(server);
}

static void a_server_that_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"",     "ns.example",  "127.0.0.1:",      "127.0.0.1:0",
                                      "[::1", "[127.0.0.1]", "127.0.0.1:65536", "[::1]x",
                                      ":53"};
    static const char *const good[] = {"127.0.0.1", "127.0.0.1:5353", "::1", "[::1]", "[::1]:5353"};
    char why[ROUTE_WHY_MAX];
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct resolver_options options = {.servers = &bad[i], .num_servers = 1};
        why[0] = '\0';
        assert_null(resolver_start(&options, why));
        assert_true(why[0] != '\0');
    }
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct resolver_options options = {.servers = &good[i], .num_servers = 1};
        struct resolver *resolver = resolver_start(&options, why);
        assert_non_null(resolver);
        resolver_stop(resolver);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mx_and_address_make_a_route_that_is_kept),
        cmocka_unit_test(both_families_are_asked_for),
        cmocka_unit_test(verdicts_need_no_server_more_than_once),
        cmocka_unit_test(an_error_of_one_server_is_asked_of_the_next),
        cmocka_unit_test(silence_of_one_server_is_asked_of_the_next),
        cmocka_unit_test(a_silent_server_is_asked_after_the_others),
        cmocka_unit_test(nothing_but_failures_defers_and_is_not_asked_again_at_once),
        cmocka_unit_test(a_silent_server_is_tried_as_often_as_configured),
        cmocka_unit_test(a_dead_server_defers),
        cmocka_unit_test(a_truncated_answer_comes_over_tcp),
        cmocka_unit_test(a_server_without_edns_is_asked_without),
        cmocka_unit_test(cnames_are_followed_also_by_ourselves),
        cmocka_unit_test(look_ups_in_flight_are_shared),
        cmocka_unit_test(more_queries_than_may_be_in_flight_are_all_answered),
        cmocka_unit_test(an_expired_route_is_kept_while_servers_fail),
        cmocka_unit_test(ad_counts_from_loopback_servers),
        cmocka_unit_test(next_hops_are_resolved_as_written),
        cmocka_unit_test(a_stop_answers_what_is_under_way),
        cmocka_unit_test(a_server_that_is_no_address_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
