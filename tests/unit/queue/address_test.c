/* Address grammar: paths, lists, domains. */
#include "base/memory.h"
#include "queue/address.h"
#include "queue/utf8.h"
#include "tests/unit/cmocka_prelude.h"

#include <cmocka.h>

/* The mailboxes of a list, each followed by a blank. */
static void assert_list(const char *body, const char *expected)
{
    struct address_list list;
    struct buffer text;
    const char *why = NULL;
    address_list_init(&list);
    buffer_init(&text, 100000);
    if (!address_parse_list(bytes_of(body), 1000, &list, &why))
        fail_msg("%s: %s", body, why);
    for (size_t i = 0; i < list.num; i++)
        buffer_printf(&text, "%s ", list.items[i].mailbox);
    buffer_append_byte(&text, '\0');
    assert_string_equal((char *)text.at, expected);
    buffer_fini(&text);
    address_list_fini(&list);
}

static void assert_no_list(const char *body, const char *expected_why)
{
    struct address_list list;
    const char *why = NULL;
    address_list_init(&list);
    if (address_parse_list(bytes_of(body), 1000, &list, &why))
        fail_msg("taken: %s as %s", body, list.num ? list.items[0].mailbox : "nothing");
    assert_int_equal(list.num, 0);
    assert_non_null(why);
    if (!strstr(why, expected_why))
        fail_msg("%s: %s", body, why);
    address_list_fini(&list);
}

struct row {
    const char *text;
    const char *expected;
};
#define ROWS(rows) (sizeof(rows) / sizeof *(rows))

static void list_has_the_grammar_of_rfc_5322(void **state)
{
    static const struct row rows[] = {
        {"a@b.example", "a@b.example "},
        {" <a@b.example> ", "a@b.example "},
        {"A User <a@b.example>, c@d.example", "a@b.example c@d.example "},
        {"\"Joe Q. Public\" <john.q.public@example.com>", "john.q.public@example.com "},
        {"\"Giant; \\\"Big\\\" Box\" <sysservices@example.net>", "sysservices@example.net "},
        {"A Group:Ed Jones <joe@where.test>,joe@where.test,John <jdoe@one.test>;",
         "joe@where.test joe@where.test jdoe@one.test "},
        {"Undisclosed recipients:;", ""},
        {"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "pete@silly.test "},
        {"A Group(Some people)\r\n :Chris Jones <c@(Chris's host.)public.example>,\r\n "
         "joe@example.org,\r\n John <jdoe@one.test> (my dear friend); (the end of the group)",
         "c@public.example joe@example.org jdoe@one.test "},
        {"(Empty list)(start)Hidden recipients  :(nobody(that I know))  ;", ""},
        {"(a(b(c)d)e) x@y.example (f)", "x@y.example "},
        {"a@[192.0.2.1], b@[IPv6:2001:DB8::0001]", "a@[192.0.2.1] b@[IPv6:2001:db8::1] "},
        {"\"a b\"@c.example", "\"a b\"@c.example "},
        {"\"a\\\"b\\\\c\"@d.example", "\"a\\\"b\\\\c\"@d.example "},
        {"\"plain\"@d.example", "plain@d.example "},
        {"\"a\r\n b\"@d.example", "\"a b\"@d.example "},
        {"!#$%&'*+-/=?^_`{|}~@d.example", "!#$%&'*+-/=?^_`{|}~@d.example "},
        {"=?utf-8?Q?Andr=C3=A9?= Pirard <p@vm1.example>", "p@vm1.example "},
        {"=?utf-8?Q?Smith,_John_<x>?= <j@d.example>", "j@d.example "},
        {"J\xC3\xBCrgen <j@d.example>", "j@d.example "},
        {"J\xFCrgen <j@d.example>", "j@d.example "},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_list(rows[i].text, rows[i].expected);
}

static void list_has_the_obsolete_forms(void **state)
{
    static const struct row rows[] = {
        {"Joe Q. Public <john . q . public @ example . com>", "john.q.public@example.com "},
        {"Mary Smith <@node.test,@b.test:mary@example.net>, , jdoe@test . example",
         "mary@example.net jdoe@test.example "},
        {"<,@a.test,,@b.test , : c@d.test>", "c@d.test "},
        {",,a@b.test,,", "a@b.test "},
        {"G:,a@b.test,,;,c@d.test", "a@b.test c@d.test "},
        {"\"a\" . b (x) . \"c d\"@e.test", "\"a.b.c d\"@e.test "},
        {"Outer: Inner: a@b.test; , c@d.test;", "a@b.test c@d.test "},
        {"", ""},
        {" \r\n ", ""},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_list(rows[i].text, rows[i].expected);
}

static void list_takes_what_people_write(void **state)
{
    static const struct row rows[] = {
        {"John Q. Public <j@b.example>", "j@b.example "},
        {"j@b.example <j@c.example>", "j@c.example "},
        {"[EXT] John <j@b.example>", "j@b.example "},
        {"a@b.example; c@d.example;", "a@b.example c@d.example "},
        {"a@b.example,", "a@b.example "},
        {"undisclosed-recipients:", ""},
        {"a..b@c.example", "\"a..b\"@c.example "},
        {"a.@c.example", "\"a.\"@c.example "},
        {".a@c.example.", "\".a\"@c.example "},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_list(rows[i].text, rows[i].expected);
}

static void list_refuses_what_is_half_understood(void **state)
{
    static const struct row rows[] = {
        {"postmaster", "no domain"},
        {"Doe, John <j@b.example>", "no domain"},
        {"John Smith j@b.example", "words"},
        {"a@b.example c@d.example", "words behind"},
        {"<a@b.example> <c@d.example>", "comma"},
        {"<a@b.example> c", "comma"},
        {"<a@b.example", "\">\""},
        {"a@b.example>", "comma"},
        {"a@b@c.example", "comma"},
        {"@b.example", "no part before"},
        {"a@", "no domain"},
        {"a@.", "empty"},
        {"a@b..example", "empty label"},
        {"<>", "empty address"},
        {"Re: x <a@b.example>", "not closed"},
        {"a@b.example: c@d.example;", "\":\""},
        {": a@b.example;", "\":\""},
        {"(a@b.example", "comment"},
        {"\"a@b.example", "quoted string"},
        {"a@[192.0.2.1", "\"[\""},
        {"a@[192.0.2.256]", "literal"},
        {"a@[2001:db8::1]", "literal"},
        {"a@192.0.2.1", "without brackets"},
        {"a@b.example\r\nc@d.example", "line end"},
        {"a@b.example\rRCPT", "line end"},
        {"\"a\\\r\nRSET\"@b.example", "control"},
        {"\"a\001\"@b.example", "control"},
        {"a\001@b.example", "control"},
        {"\"a\tb\"@b.example", "control"},
        {"\"a\"b@c.example", "words"},
        {"a b@c.example", "words"},
        {"a. .b@c.example", "dots"},
        {".@c.example", "no part"},
        {"=?utf-8?q?a=40b?=@c.example", "encoded word"},
        {"\xFF@c.example", "UTF-8"},
        {"\xC2\x85@c.example", "control"},
        {"a@-b.example", "hyphen"},
        {"a@b!c.example", "no domain has"},
        {"a\\b@c.example", "no place"},
        {"<@a.test b@c.test>", "route"},
        {"<@:b@c.test>", "route"},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_no_list(rows[i].text, rows[i].expected);
}

static void list_fails_without_a_trace(void **state)
{
    struct address_list list;
    const char *why;
    (void)state;
    address_list_init(&list);
    assert_true(address_parse_list(bytes_of("a@b.example"), 5, &list, &why));
    assert_false(address_parse_list(bytes_of("c@d.example, e@f.example, g"), 5, &list, &why));
    assert_int_equal(list.num, 1);
    assert_false(address_parse_list(bytes_of("c@d.example, e@f.example"), 1, &list, &why));
    assert_string_equal(why, "too many addresses");
    assert_int_equal(list.num, 1);
    assert_true(address_parse_list(bytes_of("c@d.example, e@f.example"), 2, &list, &why));
    assert_int_equal(list.num, 3);
    address_list_fini(&list);
}

static void list_refuses_a_nul(void **state)
{
    static const char body[] = "a@b.example\0, c@d.example";
    struct address_list list;
    const char *why;
    (void)state;
    address_list_init(&list);
    assert_false(address_parse_list(bytes_make(body, sizeof body - 1), 5, &list, &why));
    address_list_fini(&list);
}

static char *repeat(const char *text, size_t times)
{
    struct buffer out;
    buffer_init(&out, SIZE_MAX);
    for (size_t i = 0; i < times; i++)
        buffer_append_str(&out, text);
    buffer_append_byte(&out, '\0');
    return (char *)out.at;
}

static void list_bounds_what_nests(void **state)
{
    (void)state;
    char *comments = repeat("(", 100000);
    assert_no_list(comments, "nested too deeply");
    free(comments);
    char *groups = repeat("g:", 17);
    assert_no_list(groups, "nested too deeply");
    free(groups);
}

static void path_is_one_address(void **state)
{
    static const struct row rows[] = {
        {"a@b.example", "a@b.example"},
        {" <a@b.example>\r\n", "a@b.example"},
        {"<@x.test,@y.test:a@b.example>", "a@b.example"},
        {"<\"a b\"@B.Example>", "\"a b\"@b.example"},
        {"A.B@b.example.", "A.B@b.example"},
        {"<>", ""},
    };
    struct address address;
    const char *why;
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        assert_true(address_parse_path(bytes_of(rows[i].text), true, &address, &why));
        assert_string_equal(address.mailbox, rows[i].expected);
        address_fini(&address);
    }
}

static void path_refuses_all_else(void **state)
{
    static const struct row rows[] = {
        {"", "no address"},
        {"a", "no domain"},
        {"John <a@b.example>", "words that are no address"},
        {"a@b.example, c@d.example", "more text"},
        {"<a@b.example> SIZE=1", "more text"},
        {"<a@b.example", "\">\""},
        {"a@b.example>", "more text"},
        {"<a@b.example>\r\nRCPT TO:<x@y.example>", "line end"},
        {"<>", "null address"},
        {"<> x", "null address"},
    };
    struct address address;
    const char *why;
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        if (address_parse_path(bytes_of(rows[i].text), false, &address, &why))
            fail_msg("taken: %s", rows[i].text);
        if (!strstr(why, rows[i].expected))
            fail_msg("%s: %s", rows[i].text, why);
        assert_null(address.mailbox);
    }
    assert_false(address_parse_path(bytes_of("<>x"), true, &address, &why));
}

static void address_says_what_it_needs(void **state)
{
    struct address address;
    const char *why;
    (void)state;
    assert_true(
        address_parse_path(bytes_of("j\xC3\xBC@M\xC3\x9CNCHEN.Example"), false, &address, &why));
    assert_string_equal(address.mailbox, "j\xC3\xBC@xn--mnchen-3ya.example");
    assert_string_equal(address.domain, "xn--mnchen-3ya.example");
    assert_true(address.needs_utf8);
    assert_false(address.is_literal);
    address_fini(&address);
    assert_true(address_parse_path(bytes_of("a@[ 192.0.2.1 ]"), false, &address, &why));
    assert_string_equal(address.domain, "[192.0.2.1]");
    assert_true(address.is_literal);
    assert_false(address.needs_utf8);
    address_fini(&address);
}

static void addresses_are_equal_by_local_octets_and_a_labels(void **state)
{
    struct address a, b, c;
    const char *why;
    (void)state;
    assert_true(address_parse_path(bytes_of("\"x\"@M\xC3\xBCnchen.example"), false, &a, &why));
    assert_true(address_parse_path(bytes_of("x@XN--MNCHEN-3YA.example."), false, &b, &why));
    assert_true(address_parse_path(bytes_of("X@xn--mnchen-3ya.example"), false, &c, &why));
    assert_true(address_equal(&a, &b));
    assert_false(address_equal(&a, &c));
    address_fini(&a);
    address_fini(&b);
    address_fini(&c);
}

static void address_has_limits(void **state)
{
    struct address address;
    const char *why;
    (void)state;
    /* VERP and SRS exceed the 64 octets that RFC 5321 4.5.3.1.1 grants a local part. */
    char *local = repeat("x", 243);
    char *fits = mem_printf("%s@b.example", local);
    char *over = mem_printf("x%s@bb.example", local);
    char *far_over = mem_printf("%s%s@b.example", local, local);
    assert_true(address_parse_path(bytes_of(fits), false, &address, &why));
    assert_int_equal(strlen(address.mailbox), 253);
    address_fini(&address);
    assert_false(address_parse_path(bytes_of(over), false, &address, &why));
    assert_false(address_parse_path(bytes_of(far_over), false, &address, &why));
    free(local);
    free(fits);
    free(over);
    free(far_over);
}

static void domain_becomes_a_labels_in_lower_case(void **state)
{
    static const struct row rows[] = {
        {"Example.COM", "example.com"},
        {"example.com.", "example.com"},
        {"localhost", "localhost"},
        {"_dmarc.example", "_dmarc.example"},
        {"stra\xC3\x9F"
         "e.example",
         "xn--strae-oqa.example"},
        {"\xE4\xBE\x8B\xE3\x80\x82\xE3\x83\x86\xE3\x82\xB9\xE3\x83\x88", "xn--fsq.xn--zckzah"},
        {"m\x75\xCC\x88nchen.example", "xn--mnchen-3ya.example"},
    };
    static const char *const bad[] = {
        "",
        ".",
        "..",
        "a..b",
        ".a",
        "a b",
        "a@b",
        "-a.example",
        "a-.example",
        "192.0.2.1",
        "[192.0.2.1]",
        "a\x01",
        "\xE2\x82\x28.example",
        "\xF0\x9F\x92\xA9.example",
        "a/b",
        "\xC3",
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char *ascii = address_domain_to_ascii(bytes_of(rows[i].text));
        assert_non_null(ascii);
        assert_string_equal(ascii, rows[i].expected);
        free(ascii);
    }
    for (size_t i = 0; i < ROWS(bad); i++)
        if (address_domain_to_ascii(bytes_of(bad[i])))
            fail_msg("taken: %s", bad[i]);
}

static void domain_has_the_limits_of_the_dns(void **state)
{
    (void)state;
    char *label = repeat("a", 63);
    char *fits = mem_printf("%s.%s.%s.%.61s", label, label, label, label);
    char *over = mem_printf("%s.%s.%s.%.62s", label, label, label, label);
    char *long_label = mem_printf("a%s.example", label);
    char *huge = repeat("\xC3\xBC", 100000);
    char *ascii = address_domain_to_ascii(bytes_of(fits));
    assert_non_null(ascii);
    free(ascii);
    assert_null(address_domain_to_ascii(bytes_of(over)));
    assert_null(address_domain_to_ascii(bytes_of(long_label)));
    assert_null(address_domain_to_ascii(bytes_of(huge)));
    free(label);
    free(fits);
    free(over);
    free(long_label);
    free(huge);
}

static void utf8_is_checked_by_rfc_3629(void **state)
{
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"abc", true},
        {"\xC3\xBC", true},
        {"\xE2\x82\xAC", true},
        {"\xF0\x9F\x92\xA9", true},
        {"\xC0\x80", false},
        {"\xE0\x80\x80", false},
        {"\xED\xA0\x80", false},
        {"\xF4\x90\x80\x80", false},
        {"\xF0\x80\x80\x80", false},
        {"\xC3", false},
        {"\xE2\x82", false},
        {"\x80", false},
        {"\xC3\x28", false},
        {"\xFF", false},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++)
        assert_int_equal(utf8_is_valid(bytes_of(rows[i].text)), rows[i].valid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_has_the_grammar_of_rfc_5322),
        cmocka_unit_test(list_has_the_obsolete_forms),
        cmocka_unit_test(list_takes_what_people_write),
        cmocka_unit_test(list_refuses_what_is_half_understood),
        cmocka_unit_test(list_fails_without_a_trace),
        cmocka_unit_test(list_refuses_a_nul),
        cmocka_unit_test(list_bounds_what_nests),
        cmocka_unit_test(path_is_one_address),
        cmocka_unit_test(path_refuses_all_else),
        cmocka_unit_test(address_says_what_it_needs),
        cmocka_unit_test(addresses_are_equal_by_local_octets_and_a_labels),
        cmocka_unit_test(address_has_limits),
        cmocka_unit_test(domain_becomes_a_labels_in_lower_case),
        cmocka_unit_test(domain_has_the_limits_of_the_dns),
        cmocka_unit_test(utf8_is_checked_by_rfc_3629),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
