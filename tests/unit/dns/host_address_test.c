/* Addresses: text, literals, sockaddr, and which are never a mail host. */
#include "base/bytes.h"
#include "dns/route.h"

#include <netinet/in.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static struct host_address address_of(const char *text)
{
    struct host_address address;
    assert_true(host_address_parse(bytes_of(text), &address));
    return address;
}

static void text_is_read_and_written_in_canonical_form(void **state)
{
    (void)state;
    static const struct {
        const char *text, *canonical;
    } rows[] = {{"192.0.2.1", "192.0.2.1"},
                {"2001:DB8:0:0:0:0:0:1", "2001:db8::1"},
                {"::1", "::1"},
                {"::ffff:192.0.2.1", "::ffff:192.0.2.1"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char out[46];
        struct host_address address = address_of(rows[i].text);
        host_address_format(&address, out);
        assert_string_equal(out, rows[i].canonical);
    }
}

static void what_is_no_address_is_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",    "1.2.3",      "1.2.3.4.5", "256.1.1.1", "01.2.3.4",   "1.2.3.4 ",   "example.com",
        ":::", "fe80::1%lo", "12345::",   "1::2::3",   "0x7f.1.1.1", "[192.0.2.1]"};
    struct host_address address;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_false(host_address_parse(bytes_of(rows[i]), &address));
    assert_false(host_address_parse(bytes_make("1.2.3.4\0x", 9), &address));
}

static void literals_need_brackets_and_the_right_tag(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint8_t family; /* 0: refused */
    } rows[] = {
        {"[192.0.2.1]", 4},      {"[IPv6:2001:db8::1]", 6}, {"[ipv6:::1]", 6}, {"[2001:db8::1]", 6},
        {"[IPv6:192.0.2.1]", 0}, {"192.0.2.1", 0},          {"[]", 0},         {"[", 0},
        {"[192.0.2.1", 0},       {"[example.com]", 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct host_address address = {0};
        bool ok = host_address_parse_literal(bytes_of(rows[i].text), &address);
        assert_int_equal(ok, rows[i].family != 0);
        if (ok)
            assert_int_equal(address.family, rows[i].family);
    }
}

static void local_addresses_are_known(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool is_local;
    } rows[] = {{"0.0.0.0", true},
                {"0.1.2.3", true},
                {"127.0.0.1", true},
                {"127.255.255.255", true},
                {"169.254.1.1", true},
                {"224.0.0.1", true},
                {"255.255.255.255", true},
                {"240.0.0.1", true},
                {"126.0.0.1", false},
                {"128.0.0.1", false},
                {"169.253.1.1", false},
                {"223.255.255.255", false},
                {"10.0.0.1", false},
                {"192.168.1.1", false},
                {"::", true},
                {"::1", true},
                {"fe80::1", true},
                {"febf::1", true},
                {"ff02::1", true},
                {"::ffff:127.0.0.1", true},
                {"::127.0.0.1", true},
                {"::ffff:192.0.2.1", false},
                {"2001:db8::1", false},
                {"fec0::1", false},
                {"fd00::1", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct host_address address = address_of(rows[i].text);
        if (host_address_is_local(&address) != rows[i].is_local)
            fail_msg("%s", rows[i].text);
    }
}

static void mapped_forms_are_equal_to_what_they_map(void **state)
{
    (void)state;
    struct host_address plain = address_of("192.0.2.1");
    struct host_address mapped = address_of("::ffff:192.0.2.1");
    struct host_address other = address_of("192.0.2.2");
    assert_true(host_address_equal(&plain, &mapped));
    assert_false(host_address_equal(&plain, &other));
    assert_false(host_address_equal(&other, &mapped));
}

static void sockaddr_goes_both_ways(void **state)
{
    (void)state;
    static const char *const rows[] = {"192.0.2.7", "2001:db8::7"};
    for (size_t i = 0; i < 2; i++) {
        struct sockaddr_storage storage;
        socklen_t len;
        struct host_address address = address_of(rows[i]);
        struct host_address back;
        host_address_to_sockaddr(&address, 25, &storage, &len);
        assert_int_equal(len, i ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in));
        assert_int_equal(((struct sockaddr_in *)&storage)->sin_port, htons(25));
        assert_true(host_address_from_sockaddr((struct sockaddr *)&storage, &back));
        assert_true(host_address_equal(&address, &back));
    }
    struct sockaddr other = {.sa_family = AF_UNIX};
    struct host_address none;
    assert_false(host_address_from_sockaddr(&other, &none));
    assert_false(host_address_from_sockaddr(NULL, &none));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_is_read_and_written_in_canonical_form),
        cmocka_unit_test(what_is_no_address_is_refused),
        cmocka_unit_test(literals_need_brackets_and_the_right_tag),
        cmocka_unit_test(local_addresses_are_known),
        cmocka_unit_test(mapped_forms_are_equal_to_what_they_map),
        cmocka_unit_test(sockaddr_goes_both_ways),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
