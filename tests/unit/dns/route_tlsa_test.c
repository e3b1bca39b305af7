/* Which TLSA records become part of a route, under which base domain (RFC 7672 2.1 and 2.2). */
#include "dns/route_build.h"

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

enum { EXPIRES_MS = 1000, EARLIER_MS = 500 };

static const struct answer_record mx_record = {.preference = 10,
                                               .data = {(const uint8_t *)"mx.test", 7}};
static const struct answer_record address_record = {.address = {4, {192, 0, 2, 1}}};
static const struct answer_record tlsa_records[] = {
    {.usage = 3, .selector = 1, .matching = 1, .data = {(const uint8_t *)"abc", 3}},
    {.usage = 2, .selector = 0, .matching = 2, .data = {(const uint8_t *)"\0z", 2}}};

/* What the servers said; changed by each row. */
struct world {
    struct answer mx, a, tlsa, tlsa_alias;
    bool asks_tlsa, asks_alias, is_stale;
    enum transport transport;
};

static struct answer records(const struct answer_record *at, size_t num)
{
    return (struct answer){
        .status = ANSWER_RECORDS, .secure = true, .text = "", .records = at, .num_records = num};
}

static struct answer nothing(enum answer_status status)
{
    return (struct answer){.status = status, .secure = true, .text = ""};
}

static struct world secure_world(void)
{
    return (struct world){.mx = records(&mx_record, 1),
                          .a = records(&address_record, 1),
                          .tlsa = records(tlsa_records, 2),
                          .tlsa_alias = nothing(ANSWER_NODATA),
                          .asks_tlsa = true};
}

static uint32_t draw(void *ctx)
{
    (void)ctx;
    return 0;
}

static struct answer_found found(struct answer *answer, bool is_stale)
{
    return (struct answer_found){.answer = answer, .expires_ms = EXPIRES_MS, .is_stale = is_stale};
}

/* wants: what the resolver would be told to ask. */
static struct route *route_of(struct world *world, bool *out_wants)
{
    struct route_rules rules = {.max_hosts = 4, .allow_local = true};
    struct route_target target = {.name = "dom.test", .port = 25, .transport = world->transport};
    struct answer_found mx = found(&world->mx, false);
    struct host_answers answers = {.a = found(&world->a, false)};
    struct route_plan plan;
    assert_null(route_plan(&target, &rules, &mx, &plan));
    *out_wants = route_host_wants_tlsa(&target, &mx, &answers);
    if (world->asks_tlsa) {
        answers.tlsa = found(&world->tlsa, world->is_stale);
        answers.tlsa.expires_ms = EARLIER_MS;
    }
    if (world->asks_alias)
        answers.tlsa_alias = found(&world->tlsa_alias, world->is_stale);
    return route_build(&target, &rules, &mx, &plan, &answers, (struct route_random){draw, NULL});
}

static enum tlsa_state state_of(struct world world)
{
    bool wants;
    struct route *route = route_of(&world, &wants);
    enum tlsa_state state = route->hosts[0].tlsa.state;
    route_unref(route);
    return state;
}

static bool wants(struct world world)
{
    bool wanted;
    route_unref(route_of(&world, &wanted));
    return wanted;
}

static void records_are_asked_for_only_where_every_answer_was_secure(void **state)
{
    (void)state;
    struct world world = secure_world();
    assert_true(wants(world));
    world.mx.secure = false;
    assert_false(wants(world));
    world = secure_world();
    world.a.secure = false;
    assert_false(wants(world));
    world = secure_world();
    world.transport = TRANSPORT_LMTP;
    assert_false(wants(world));
    world = secure_world();
    world.mx = nothing(ANSWER_NODATA); /* securely denied: the domain itself is the host */
    assert_true(wants(world));
    world.mx.secure = false;
    assert_false(wants(world));
}

static void records_are_copied_into_the_route(void **state)
{
    (void)state;
    struct world world = secure_world();
    bool wanted;
    struct route *route = route_of(&world, &wanted);
    const struct tlsa_set *tlsa = &route->hosts[0].tlsa;
    assert_int_equal(tlsa->state, TLSA_FOUND);
    assert_string_equal(tlsa->base, "mx.test");
    assert_int_equal(tlsa->num, 2);
    assert_int_equal(tlsa->records[0].usage, 3);
    assert_int_equal(tlsa->records[0].selector, 1);
    assert_int_equal(tlsa->records[0].matching, 1);
    assert_int_equal(tlsa->records[0].len, 3);
    assert_memory_equal(tlsa->records[0].data, "abc", 3);
    assert_int_equal(tlsa->records[1].len, 2);
    assert_memory_equal(tlsa->records[1].data, "\0z", 2);
    assert_int_equal(route->expires_ms, EARLIER_MS);
    assert_int_equal(route->hosts[0].num_addresses, 1);
    route_unref(route);
}

static void a_failure_is_not_an_absence(void **state)
{
    (void)state;
    struct world world = secure_world();
    world.asks_tlsa = false;
    assert_int_equal(state_of(world), TLSA_NOT_ASKED);
    world = secure_world();
    world.tlsa = nothing(ANSWER_NODATA);
    assert_int_equal(state_of(world), TLSA_NONE);
    world.is_stale = true; /* an old denial, while the servers fail */
    assert_int_equal(state_of(world), TLSA_FAILED);
    world = secure_world();
    world.tlsa = nothing(ANSWER_NXDOMAIN);
    assert_int_equal(state_of(world), TLSA_NONE);
    world.tlsa = nothing(ANSWER_FAILED);
    assert_int_equal(state_of(world), TLSA_FAILED);
    world.tlsa = nothing(ANSWER_ALIAS);
    assert_int_equal(state_of(world), TLSA_FAILED);
    world = secure_world();
    world.tlsa.secure = false;
    assert_int_equal(state_of(world), TLSA_NONE);
    world = secure_world();
    world.tlsa.limit_hit = true; /* records that matter may be missing */
    assert_int_equal(state_of(world), TLSA_FAILED);
    world = secure_world();
    world.is_stale = true; /* old records still protect */
    assert_int_equal(state_of(world), TLSA_FOUND);
}

static void where_cnames_lead_goes_before_the_name_itself(void **state)
{
    (void)state;
    static const struct {
        enum answer_status alias, own;
        enum tlsa_state state;
        const char *base;
    } rows[] = {
        {ANSWER_RECORDS, ANSWER_RECORDS, TLSA_FOUND, "real.test"},
        {ANSWER_NODATA, ANSWER_RECORDS, TLSA_FOUND, "mx.test"},
        {ANSWER_NXDOMAIN, ANSWER_NODATA, TLSA_NONE, "mx.test"},
        {ANSWER_FAILED, ANSWER_RECORDS, TLSA_FAILED, "real.test"},
        {ANSWER_NODATA, ANSWER_FAILED, TLSA_FAILED, "mx.test"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct world world = secure_world();
        bool wanted;
        world.a.text = "real.test";
        world.asks_alias = true;
        world.tlsa_alias =
            rows[i].alias == ANSWER_RECORDS ? records(tlsa_records, 1) : nothing(rows[i].alias);
        world.tlsa =
            rows[i].own == ANSWER_RECORDS ? records(tlsa_records + 1, 1) : nothing(rows[i].own);
        struct route *route = route_of(&world, &wanted);
        assert_int_equal(route->hosts[0].tlsa.state, rows[i].state);
        assert_string_equal(route->hosts[0].tlsa.base, rows[i].base);
        assert_string_equal(route->hosts[0].name, "mx.test");
        route_unref(route);
    }
}

static void more_records_than_the_limit_are_a_failure(void **state)
{
    (void)state;
    static struct answer_record many[TLSA_RECORDS_MAX + 1];
    struct world world = secure_world();
    for (size_t i = 0; i < TLSA_RECORDS_MAX + 1; i++)
        many[i] = tlsa_records[0];
    world.tlsa = records(many, TLSA_RECORDS_MAX);
    assert_int_equal(state_of(world), TLSA_FOUND);
    world.tlsa = records(many, TLSA_RECORDS_MAX + 1);
    assert_int_equal(state_of(world), TLSA_FAILED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_asked_for_only_where_every_answer_was_secure),
        cmocka_unit_test(records_are_copied_into_the_route),
        cmocka_unit_test(a_failure_is_not_an_absence),
        cmocka_unit_test(where_cnames_lead_goes_before_the_name_itself),
        cmocka_unit_test(more_records_than_the_limit_are_a_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
