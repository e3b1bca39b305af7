/* What answers mean for a route: docs/dns.md, row by row. Answers and routes are written as text:
 *   MX         "10 a.test 20 b.test", "NXDOMAIN", "NODATA", "FAILED", or NULL: not looked up
 *   addresses  "a.test=192.0.2.1,2001:db8::1 b.test=FAILED"; FAILED4 and FAILED6 fail one family;
 *              a host that is not named has none
 *   route      "a.test(2001:db8::1,192.0.2.1) b.test(...)" or "550 5.1.2" or "4.4.3" */
#include "base/memory.h"
#include "dns/route_build.h"

#include <stdio.h>
#include <stdlib.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

enum { EXPIRES_MS = 1000 };

struct fixture {
    struct answer_scratch mx;
    struct answer_scratch addresses[ROUTE_HOSTS_MAX][2];
    struct answer_found mx_found;
    struct host_answers answers[ROUTE_HOSTS_MAX];
    struct route_rules rules;
    struct route_target target;
    bool is_secure; /* AD in every answer */
    bool is_stale;
    uint32_t draw;
};

/* Leaves every order as it is: draw % i == i - 1 for each i up to 16. */
enum { NO_SHUFFLE = 720719 };

static struct host_address own_addresses[2];

static uint32_t draw(void *ctx)
{
    struct fixture *f = ctx;
    return f->draw;
}

static struct fixture *new_fixture(void)
{
    struct fixture *f = mem_zalloc(1, sizeof *f);
    f->rules = (struct route_rules){.own_name = "Us.example",
                                    .own_addresses = own_addresses,
                                    .num_own_addresses = 2,
                                    .max_hosts = 10};
    assert_true(host_address_parse(bytes_of("198.51.100.1"), &own_addresses[0]));
    assert_true(host_address_parse(bytes_of("127.0.0.1"), &own_addresses[1]));
    f->target = (struct route_target){.name = "dom.test", .port = 25};
    f->draw = NO_SHUFFLE;
    return f;
}

static struct answer_found found(const struct fixture *f, struct answer_scratch *scratch,
                                 enum answer_status status)
{
    scratch->answer.status = status;
    scratch->answer.secure = f->is_secure;
    scratch->answer.records = scratch->records;
    scratch->answer.text = status == ANSWER_FAILED ? "SERVFAIL" : "";
    return (struct answer_found){
        .answer = &scratch->answer, .expires_ms = EXPIRES_MS, .is_stale = f->is_stale};
}

static void make_mx(struct fixture *f, const char *text)
{
    static char copy[8192];
    enum answer_status status = ANSWER_RECORDS;
    f->mx.answer = (struct answer){0};
    if (strcmp(text, "NXDOMAIN") == 0)
        status = ANSWER_NXDOMAIN;
    else if (strcmp(text, "NODATA") == 0)
        status = ANSWER_NODATA;
    else if (strcmp(text, "FAILED") == 0)
        status = ANSWER_FAILED;
    snprintf(copy, sizeof copy, "%s", text);
    char *rest = copy;
    while (status == ANSWER_RECORDS && rest && *rest) {
        struct answer_record *record = &f->mx.records[f->mx.answer.num_records++];
        record->preference = (uint16_t)strtoul(strsep(&rest, " "), NULL, 10);
        const char *name = strsep(&rest, " ");
        record->data = bytes_of(strcmp(name, ".") == 0 ? "" : name);
    }
    f->mx_found = found(f, &f->mx, status);
}

static void add_address(struct answer_scratch both[2], const char *text)
{
    struct host_address address;
    assert_true(host_address_parse(bytes_of(text), &address));
    struct answer_scratch *scratch = &both[address.family == 6];
    scratch->records[scratch->answer.num_records++].address = address;
}

static void make_host(struct fixture *f, size_t i, const char *name, const char *addresses)
{
    char *copy = mem_strdup(addresses);
    char *rest = copy;
    char *host;
    bool has_failed[2] = {false, false};
    f->addresses[i][0].answer = f->addresses[i][1].answer = (struct answer){0};
    while ((host = strsep(&rest, " "))) {
        char *values = host;
        char *value;
        if (strcmp(strsep(&values, "="), name) != 0)
            continue;
        while ((value = strsep(&values, ","))) {
            bool fails = strncmp(value, "FAILED", 6) == 0;
            has_failed[0] |= fails && value[6] != '6';
            has_failed[1] |= fails && value[6] != '4';
            if (!fails)
                add_address(f->addresses[i], value);
        }
    }
    for (int k = 0; k < 2; k++) {
        struct answer_scratch *scratch = &f->addresses[i][k];
        enum answer_status status = scratch->answer.num_records ? ANSWER_RECORDS : ANSWER_NODATA;
        struct answer_found one = found(f, scratch, has_failed[k] ? ANSWER_FAILED : status);
        *(k ? &f->answers[i].aaaa : &f->answers[i].a) = one;
    }
    free(copy);
}

static struct route *judge(struct fixture *f, const char *mx, const char *addresses)
{
    struct route_plan plan;
    memset(&plan, 0xa5, sizeof plan); /* what is left unset must not count */
    if (mx)
        make_mx(f, mx);
    const struct answer_found *mx_found = mx ? &f->mx_found : NULL;
    struct route *route = route_plan(&f->target, &f->rules, mx_found, &plan);
    if (route)
        return route;
    assert_in_range(plan.num_hosts, 1, f->rules.max_hosts);
    for (size_t i = 0; i < plan.num_hosts; i++)
        make_host(f, i, plan.hosts[i].name, addresses);
    return route_build(&f->target, &f->rules, mx_found, &plan, f->answers,
                       (struct route_random){draw, f});
}

static void describe(const struct route *route, struct buffer *out)
{
    buffer_clear(out);
    if (route->verdict == ROUTE_BOUNCE)
        buffer_printf(out, "%u ", route->code);
    if (route->verdict != ROUTE_OK)
        buffer_printf(out, "%u.%u.%u", route->enhanced[0], route->enhanced[1], route->enhanced[2]);
    for (size_t i = 0; i < route->num_hosts; i++) {
        buffer_printf(out, "%s%s(", i ? " " : "", route->hosts[i].name);
        for (size_t k = 0; k < route->hosts[i].num_addresses; k++) {
            char text[46];
            host_address_format(&route->hosts[i].addresses[k], text);
            buffer_printf(out, "%s%s", k ? "," : "", text);
        }
        buffer_append_str(out, ")");
    }
    buffer_append_byte(out, 0);
}

static void expect(struct fixture *f, const char *mx, const char *addresses, const char *expected)
{
    struct buffer text;
    buffer_init(&text, 65536);
    struct route *route = judge(f, mx, addresses);
    describe(route, &text);
    if (strcmp((char *)text.at, expected) != 0)
        fail_msg("MX %s, addresses %s: %s (%s), not %s", mx ? mx : "-", addresses, (char *)text.at,
                 route->why, expected);
    assert_int_equal(route->verdict == ROUTE_OK, route->num_hosts > 0);
    assert_int_equal(route->verdict == ROUTE_OK, route->why[0] == '\0');
    assert_non_null(route->host_set);
    assert_non_null(route->site_name);
    route_unref(route);
    buffer_fini(&text);
}

struct row {
    const char *mx, *addresses, *expected;
};

static void expect_rows(struct fixture *f, const struct row *rows, size_t num)
{
    for (size_t i = 0; i < num; i++)
        expect(f, rows[i].mx, rows[i].addresses, rows[i].expected);
}

#define EXPECT(f, rows) expect_rows(f, rows, sizeof rows / sizeof *rows)

static void hosts_come_by_preference(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"20 b.test 10 a.test", "a.test=192.0.2.1 b.test=192.0.2.2",
         "a.test(192.0.2.1) b.test(192.0.2.2)"},
        {"10 A.test. 10 a.test 30 a.test", "a.test=192.0.2.1", "a.test(192.0.2.1)"},
        {"10 a.test", "a.test=192.0.2.1,192.0.2.1,192.0.2.2", "a.test(192.0.2.1,192.0.2.2)"},
        {"10 a.test", "a.test=192.0.2.1,192.0.2.2,2001:db8::1",
         "a.test(2001:db8::1,192.0.2.1,192.0.2.2)"},
    };
    struct fixture *f = new_fixture();
    EXPECT(f, rows);
    free(f);
}

static void a_null_mx_bounces_at_once(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"0 .", "", "556 5.1.10"},
        {"10 .", "", "556 5.1.10"},
        /* Beside others it means nothing (RFC 7505 3). */
        {"0 . 10 a.test", "a.test=192.0.2.1", "a.test(192.0.2.1)"},
    };
    struct fixture *f = new_fixture();
    EXPECT(f, rows);
    free(f);
}

static void a_domain_without_mx_is_its_own_host(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"NODATA", "dom.test=192.0.2.1", "dom.test(192.0.2.1)"},
        {"NODATA", "", "550 5.1.2"},
        {"NODATA", "dom.test=FAILED", "4.4.3"},
        {"NODATA", "dom.test=FAILED6", "4.4.3"},
        {"NODATA", "dom.test=FAILED6,192.0.2.1", "dom.test(192.0.2.1)"},
        {"NODATA", "dom.test=127.0.0.1", "550 5.4.6"},
        {"NXDOMAIN", "", "550 5.1.2"},
    };
    struct fixture *f = new_fixture();
    EXPECT(f, rows);
    free(f);
}

static void failing_servers_never_bounce(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"FAILED", "", "4.4.3"},
        {"10 a.test", "a.test=FAILED", "4.4.3"},
        {"10 a.test", "a.test=FAILED4", "4.4.3"},
        {"10 a.test 20 b.test", "a.test=FAILED", "4.4.3"},
        {"10 a.test 20 b.test", "b.test=FAILED a.test=127.0.0.1", "4.4.3"},
        {"10 a.test 20 b.test", "a.test=FAILED b.test=192.0.2.2", "b.test(192.0.2.2)"},
    };
    struct fixture *f = new_fixture();
    EXPECT(f, rows);
    free(f);
}

static void hosts_without_address_are_skipped(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"10 a.test 20 b.test", "b.test=192.0.2.2", "b.test(192.0.2.2)"},
        {"10 a.test 20 b.test", "", "550 5.4.4"},
    };
    struct fixture *f = new_fixture();
    EXPECT(f, rows);
    free(f);
}

static void what_is_no_host_name_is_skipped(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"5 192.0.2.9 10 a.test", "a.test=192.0.2.1", "a.test(192.0.2.1)"},
        {"5 192.0.2.9", "192.0.2.9=192.0.2.9", "550 5.4.4"},
        {"5 localhost 10 a.test", "a.test=192.0.2.1", "a.test(192.0.2.1)"},
        {"5 localhost", "localhost=192.0.2.1", "550 5.4.6"},
        {"5 (a_name) 6 a..b 7 a\\032b 10 a.test", "a.test=192.0.2.1", "a.test(192.0.2.1)"},
        {"5 \xff\xfe", "", "550 5.4.4"},
    };
    struct fixture *f = new_fixture();
    EXPECT(f, rows);
    free(f);
}

static void our_own_name_ends_the_list(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"10 a.test 20 us.EXAMPLE 20 b.test 30 c.test",
         "a.test=192.0.2.1 b.test=192.0.2.2 c.test=192.0.2.3", "a.test(192.0.2.1)"},
        {"10 us.example 20 a.test", "a.test=192.0.2.1", "550 5.4.6"},
        {"10 a.test 20 us.example", "a.test=FAILED", "4.4.3"},
    };
    struct fixture *f = new_fixture();
    EXPECT(f, rows);
    f->target.name = "us.example";
    expect(f, "NODATA", "us.example=192.0.2.1", "550 5.4.6");
    free(f);
}

static void our_own_address_ends_the_list(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"10 a.test 20 b.test 20 c.test 30 d.test",
         "a.test=192.0.2.1 b.test=192.0.2.2 c.test=192.0.2.3,198.51.100.1 d.test=192.0.2.4",
         "a.test(192.0.2.1)"},
        {"10 a.test 20 b.test", "a.test=::ffff:198.51.100.1 b.test=192.0.2.2", "550 5.4.6"},
    };
    struct fixture *f = new_fixture();
    EXPECT(f, rows);
    f->rules.allow_local = true;
    expect(f, "10 a.test", "a.test=198.51.100.1", "a.test(198.51.100.1)");
    free(f);
}

static void local_addresses_are_skipped_unless_allowed(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"10 a.test 20 b.test", "a.test=127.0.0.1 b.test=192.0.2.2", "b.test(192.0.2.2)"},
        {"10 a.test", "a.test=127.0.0.9,192.0.2.1,::1,fe80::1", "a.test(192.0.2.1)"},
        {"10 a.test", "a.test=0.0.0.0,224.0.0.1,169.254.0.1,ff02::1,::", "550 5.4.6"},
    };
    struct fixture *f = new_fixture();
    EXPECT(f, rows);
    f->rules.allow_local = true;
    expect(f, "5 localhost 10 a.test", "a.test=127.0.0.1 localhost=::1",
           "localhost(::1) a.test(127.0.0.1)");
    free(f);
}

static void a_next_hop_is_exempt_and_never_bounces(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {NULL, "dom.test=127.0.0.1", "dom.test(127.0.0.1)"},
        {NULL, "dom.test=198.51.100.1", "dom.test(198.51.100.1)"},
        {NULL, "", "4.3.5"},
        {NULL, "dom.test=FAILED", "4.4.3"},
        {"NXDOMAIN", "", "4.3.5"},
        {"0 .", "", "4.3.5"},
        {"10 us.example", "us.example=127.0.0.1", "us.example(127.0.0.1)"},
    };
    struct fixture *f = new_fixture();
    f->target.is_next_hop = true;
    EXPECT(f, rows);
    free(f);
}

static void a_bounce_needs_fresh_answers(void **state)
{
    (void)state;
    static const struct row rows[] = {
        {"NXDOMAIN", "", "4.4.3"},
        {"0 .", "", "4.4.3"},
        {"10 a.test", "", "4.4.3"},
        {"NODATA", "", "4.4.3"},
        {"10 a.test", "a.test=192.0.2.1", "a.test(192.0.2.1)"},
    };
    struct fixture *f = new_fixture();
    f->is_stale = true;
    EXPECT(f, rows);
    struct route *route = judge(f, "10 a.test", "a.test=192.0.2.1");
    assert_true(route->is_stale);
    assert_int_equal(route->expires_ms, EXPIRES_MS);
    route_unref(route);
    free(f);
}

static void hosts_and_addresses_are_bounded(void **state)
{
    (void)state;
    struct fixture *f = new_fixture();
    f->rules.max_hosts = 2;
    expect(f, "30 c.test 10 a.test 20 b.test", "a.test=192.0.2.1 b.test=192.0.2.2 c.test=192.0.2.3",
           "a.test(192.0.2.1) b.test(192.0.2.2)");
    /* Nobody looked at the third, so this is no proof that there is none. */
    expect(f, "30 c.test 10 a.test 20 b.test", "", "4.4.3");
    char addresses[2048] = "a.test=";
    for (int i = 1; i <= 20; i++)
        snprintf(addresses + strlen(addresses), sizeof addresses - strlen(addresses),
                 "%s192.0.2.%d,2001:db8::%d", i > 1 ? "," : "", i, i);
    f->draw = 0;
    struct route *route = judge(f, "10 a.test", addresses);
    assert_int_equal(route->hosts[0].num_addresses, ROUTE_ADDRESSES_MAX);
    for (size_t i = 0; i < ROUTE_ADDRESSES_MAX; i++)
        assert_int_equal(route->hosts[0].addresses[i].family, i % 2 ? 4 : 6);
    route_unref(route);
    free(f);
}

static void equals_are_shuffled_and_the_site_stays_the_same(void **state)
{
    (void)state;
    static const char mx[] = "10 b.test 10 a.test 10 c.test 5 z.test";
    static const char addresses[] =
        "a.test=192.0.2.1 b.test=192.0.2.2 c.test=192.0.2.3 z.test=192.0.2.9";
    struct fixture *f = new_fixture();
    unsigned first_seen[3] = {0};
    for (uint32_t i = 0; i < 6; i++) {
        f->draw = i;
        struct route *route = judge(f, mx, addresses);
        assert_string_equal(route->host_set, "smtp:25 5:z.test 10:a.test 10:b.test 10:c.test");
        assert_string_equal(route->site_name, "z.test");
        assert_string_equal(route->hosts[0].name, "z.test");
        first_seen[route->hosts[1].name[0] - 'a']++;
        route_unref(route);
    }
    for (int i = 0; i < 3; i++)
        assert_true(first_seen[i] > 0);
    free(f);
}

static void the_host_set_does_not_depend_on_failing_look_ups(void **state)
{
    (void)state;
    struct fixture *f = new_fixture();
    struct route *route = judge(f, "10 a.test 20 b.test", "a.test=FAILED b.test=192.0.2.2");
    assert_string_equal(route->host_set, "smtp:25 10:a.test 20:b.test");
    assert_string_equal(route->site_name, "a.test");
    route_unref(route);
    route = judge(f, "NODATA", "dom.test=192.0.2.1");
    assert_string_equal(route->host_set, "smtp:25 0:dom.test");
    route_unref(route);
    f->target = (struct route_target){.name = "relay.test",
                                      .site_name = "lmtp:[relay.test]:24",
                                      .transport = TRANSPORT_LMTP,
                                      .port = 24,
                                      .is_next_hop = true};
    route = judge(f, NULL, "relay.test=127.0.0.1");
    assert_string_equal(route->host_set, "lmtp:24 [relay.test]");
    assert_string_equal(route->site_name, "lmtp:[relay.test]:24");
    assert_int_equal(route->transport, TRANSPORT_LMTP);
    assert_int_equal(route->port, 24);
    route_unref(route);
    free(f);
}

static void secure_needs_ad_everywhere(void **state)
{
    (void)state;
    struct fixture *f = new_fixture();
    f->is_secure = true;
    struct route *route = judge(f, "10 a.test", "a.test=192.0.2.1");
    assert_true(route->secure && route->hosts[0].secure);
    route_unref(route);
    /* Whoever makes one family fail must not switch DANE off. */
    route = judge(f, "10 a.test", "a.test=192.0.2.1,FAILED6");
    assert_true(route->secure);
    route_unref(route);
    struct route_plan plan;
    make_mx(f, "10 a.test 20 b.test");
    assert_null(route_plan(&f->target, &f->rules, &f->mx_found, &plan));
    make_host(f, 0, "a.test", "a.test=192.0.2.1");
    make_host(f, 1, "b.test", "b.test=192.0.2.2");
    f->addresses[1][0].answer.secure = false;
    route = route_build(&f->target, &f->rules, &f->mx_found, &plan, f->answers,
                        (struct route_random){draw, f});
    assert_true(route->hosts[0].secure);
    assert_false(route->hosts[1].secure || route->secure);
    route_unref(route);
    f->mx.answer.secure = false;
    route = route_build(&f->target, &f->rules, &f->mx_found, &plan, f->answers,
                        (struct route_random){draw, f});
    assert_false(route->hosts[0].secure || route->secure);
    route_unref(route);
    free(f);
}

static void a_literal_goes_straight_to_its_address(void **state)
{
    (void)state;
    struct fixture *f = new_fixture();
    static const struct {
        const char *address;
        bool is_next_hop, is_ok;
    } rows[] = {{"192.0.2.1", false, true},
                {"127.0.0.1", false, false},
                {"198.51.100.1", false, false},
                {"127.0.0.1", true, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct host_address address;
        assert_true(host_address_parse(bytes_of(rows[i].address), &address));
        f->target =
            (struct route_target){.name = "[x]", .port = 2525, .is_next_hop = rows[i].is_next_hop};
        struct route *route = route_build_literal(&f->target, &f->rules, &address);
        assert_int_equal(route->verdict, rows[i].is_ok ? ROUTE_OK : ROUTE_BOUNCE);
        if (rows[i].is_ok) {
            assert_true(route->hosts[0].is_literal);
            assert_string_equal(route->hosts[0].name, rows[i].address);
            assert_int_equal(route->port, 2525);
        } else {
            assert_int_equal(route->enhanced[1], 4);
        }
        route_unref(route_ref(route));
        route_unref(route);
    }
    free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_come_by_preference),
        cmocka_unit_test(a_null_mx_bounces_at_once),
        cmocka_unit_test(a_domain_without_mx_is_its_own_host),
        cmocka_unit_test(failing_servers_never_bounce),
        cmocka_unit_test(hosts_without_address_are_skipped),
        cmocka_unit_test(what_is_no_host_name_is_skipped),
        cmocka_unit_test(our_own_name_ends_the_list),
        cmocka_unit_test(our_own_address_ends_the_list),
        cmocka_unit_test(local_addresses_are_skipped_unless_allowed),
        cmocka_unit_test(a_next_hop_is_exempt_and_never_bounces),
        cmocka_unit_test(a_bounce_needs_fresh_answers),
        cmocka_unit_test(hosts_and_addresses_are_bounded),
        cmocka_unit_test(equals_are_shuffled_and_the_site_stays_the_same),
        cmocka_unit_test(the_host_set_does_not_depend_on_failing_look_ups),
        cmocka_unit_test(secure_needs_ad_everywhere),
        cmocka_unit_test(a_literal_goes_straight_to_its_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
