/* The configuration's next hops, and names of hosts. */
#include "dns/domain_name.h"
#include "dns/route.h"

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static void every_form_of_a_next_hop_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        enum transport transport;
        uint16_t port;
        bool is_bracketed, is_literal;
    } rows[] = {
        {"relay.example.com", "relay.example.com", TRANSPORT_SMTP, 0, false, false},
        {"Relay.Example.COM.:587", "relay.example.com", TRANSPORT_SMTP, 587, false, false},
        {"[relay.example.com]", "relay.example.com", TRANSPORT_SMTP, 0, true, false},
        {"[relay.example.com]:2525", "relay.example.com", TRANSPORT_SMTP, 2525, true, false},
        {"[127.0.0.1]:2525", "127.0.0.1", TRANSPORT_SMTP, 2525, true, true},
        {"lmtp:[127.0.0.1]:24", "127.0.0.1", TRANSPORT_LMTP, 24, true, true},
        {"LMTP:[127.0.0.1]", "127.0.0.1", TRANSPORT_LMTP, 0, true, true},
        {"smtp:[2001:DB8::1]:25", "2001:db8::1", TRANSPORT_SMTP, 25, true, true},
        {"[IPv6:2001:db8::1]", "2001:db8::1", TRANSPORT_SMTP, 0, true, true},
        {" relay ", "relay", TRANSPORT_SMTP, 0, false, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct next_hop hop;
        const char *why = "";
        if (!next_hop_parse(rows[i].text, &hop, &why))
            fail_msg("%s: %s", rows[i].text, why);
        assert_string_equal(hop.host, rows[i].host);
        assert_string_equal(hop.text, rows[i].text);
        assert_int_equal(hop.transport, rows[i].transport);
        assert_int_equal(hop.port, rows[i].port);
        assert_int_equal(hop.is_bracketed, rows[i].is_bracketed);
        assert_int_equal(hop.is_literal, rows[i].is_literal);
        next_hop_fini(&hop);
    }
}

static void a_bad_next_hop_is_refused_with_a_reason(void **state)
{
    (void)state;
    static const char *const rows[] = {"",         "[",
                                       "[]",       "[a",
                                       "a:",       "a:0",
                                       "a:65536",  "a:25x",
                                       "a b",      "127.0.0.1",
                                       "::1",      "2001:db8::1",
                                       "[a]25",    "lmtp:",
                                       "lmtp:24",  "[1.2.3]",
                                       "a..b",     "\xc3\xa9.example",
                                       "[a]:25:1", "127.0.0.1:25",
                                       ":25",      "-\x01.test",
                                       "a/b.test", "[IPv6:x]y"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct next_hop hop;
        const char *why = NULL;
        if (next_hop_parse(rows[i], &hop, &why))
            fail_msg("accepted: %s", rows[i]);
        assert_non_null(why);
    }
}

static void names_are_normalised_or_refused(void **state)
{
    (void)state;
    char out[DOMAIN_NAME_MAX + 1];
    char label64[80];
    char name254[255];
    assert_true(domain_name_normalise(bytes_of("A_b-1.Example."), out));
    assert_string_equal(out, "a_b-1.example");
    static const char *const rows[] = {"", ".", "..", "a..b", ".a", "a b", "a\\.b", "a*b", "(x)"};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_false(domain_name_normalise(bytes_of(rows[i]), out));
    memset(label64, 'a', sizeof label64);
    assert_false(domain_name_normalise(bytes_make(label64, 64), out));
    assert_true(domain_name_normalise(bytes_make(label64, 63), out));
    for (size_t i = 0; i < sizeof name254; i++)
        name254[i] = i % 2 ? '.' : 'a';
    assert_false(domain_name_normalise(bytes_make(name254, 255), out));
    assert_true(domain_name_normalise(bytes_make(name254, 253), out));
    assert_false(domain_name_normalise(bytes_make("a\0b", 3), out));
}

static void special_names_are_known(void **state)
{
    (void)state;
    assert_true(domain_name_is_numeric("192.0.2.1"));
    assert_true(domain_name_is_numeric("mx.1"));
    assert_false(domain_name_is_numeric("1.example"));
    assert_true(domain_name_is_localhost("LocalHost."));
    assert_true(domain_name_is_localhost("a.localhost"));
    assert_false(domain_name_is_localhost("notlocalhost"));
    assert_false(domain_name_is_localhost("localhost.example"));
    assert_true(domain_name_equal("A.example.", "a.EXAMPLE"));
    assert_false(domain_name_equal("a.example", "b.example"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_form_of_a_next_hop_is_read),
        cmocka_unit_test(a_bad_next_hop_is_refused_with_a_reason),
        cmocka_unit_test(names_are_normalised_or_refused),
        cmocka_unit_test(special_names_are_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
