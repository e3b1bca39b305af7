/* Answers on the wire, well and badly made. */
#include "dns/answer.h"
#include "wire.h"

#include <stdio.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static const uint8_t v4[] = {192, 0, 2, 1};
static const uint8_t v6[16] = {0x20, 1, 0xd, 0xb8, [15] = 1};

static struct answer_scratch scratch;
static struct buffer wire;

static const struct answer *parse(const char *name, uint16_t type)
{
    answer_parse(buffer_bytes(&wire), name, type, &scratch);
    return &scratch.answer;
}

static int set_up(void **state)
{
    (void)state;
    buffer_init(&wire, 128 * 1024);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    buffer_fini(&wire);
    return 0;
}

static void mx_records_are_read_in_lower_case_with_their_least_ttl(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY | WIRE_AD, "Example.test", TYPE_MX);
    wire_mx(&wire, "EXAMPLE.test", 300, 10, "MX1.example.test");
    wire_mx(&wire, "example.test", 200, 20, "mx2.example.test");
    const struct answer *answer = parse("example.test", TYPE_MX);
    assert_int_equal(answer->status, ANSWER_RECORDS);
    assert_int_equal(answer->num_records, 2);
    assert_int_equal(answer->records[0].preference, 10);
    assert_string_equal(answer->records[0].data.at, "mx1.example.test");
    assert_int_equal(answer->records[1].preference, 20);
    assert_int_equal(answer->ttl_s, 200);
    assert_true(answer->secure);
}

static void compressed_names_are_expanded(void **state)
{
    (void)state;
    static const uint8_t rdata[] = {0, 5, 2, 'm', 'x', 0xc0, 12};
    wire_start(&wire, 1, WIRE_REPLY, "example.test", TYPE_MX);
    wire_record(&wire, WIRE_ANSWER, "example.test", TYPE_MX, 9, rdata, sizeof rdata);
    const struct answer *answer = parse("example.test", TYPE_MX);
    assert_int_equal(answer->num_records, 1);
    assert_string_equal(answer->records[0].data.at, "mx.example.test");
    assert_false(answer->secure);
}

static void a_null_mx_has_an_empty_name(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "n.test", TYPE_MX);
    wire_mx(&wire, "n.test", 60, 0, "");
    const struct answer *answer = parse("n.test", TYPE_MX);
    assert_int_equal(answer->num_records, 1);
    assert_int_equal(answer->records[0].data.len, 0);
}

static void addresses_of_both_families_are_read(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "h.test", TYPE_A);
    wire_record(&wire, WIRE_ANSWER, "h.test", TYPE_A, 60, v4, sizeof v4);
    assert_int_equal(parse("h.test", TYPE_A)->records[0].address.family, 4);
    assert_memory_equal(scratch.records[0].address.octets, v4, 4);
    wire_start(&wire, 1, WIRE_REPLY, "h.test", TYPE_AAAA);
    wire_record(&wire, WIRE_ANSWER, "h.test", TYPE_AAAA, 60, v6, sizeof v6);
    assert_int_equal(parse("h.test", TYPE_AAAA)->records[0].address.family, 6);
    assert_memory_equal(scratch.records[0].address.octets, v6, 16);
}

static void tlsa_and_txt_records_are_read(void **state)
{
    (void)state;
    static const uint8_t tlsa[] = {3, 1, 1, 0xaa, 0xbb};
    static const uint8_t txt[] = {2, 'v', '=', 0, 3, 'S', 'T', 'S'};
    wire_start(&wire, 1, WIRE_REPLY, "t.test", TYPE_TLSA);
    wire_record(&wire, WIRE_ANSWER, "t.test", TYPE_TLSA, 60, tlsa, sizeof tlsa);
    const struct answer *answer = parse("t.test", TYPE_TLSA);
    assert_int_equal(answer->records[0].usage, 3);
    assert_int_equal(answer->records[0].data.len, 2);
    wire_start(&wire, 1, WIRE_REPLY, "t.test", TYPE_TXT);
    wire_record(&wire, WIRE_ANSWER, "t.test", TYPE_TXT, 60, txt, sizeof txt);
    answer = parse("t.test", TYPE_TXT);
    assert_string_equal(answer->records[0].data.at, "v=STS");
}

static void cname_chains_are_followed_in_any_order_of_records(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "a.test", TYPE_A);
    wire_record(&wire, WIRE_ANSWER, "c.test", TYPE_A, 60, v4, sizeof v4);
    wire_cname(&wire, "b.test", 30, "c.test");
    wire_cname(&wire, "a.test", 90, "b.test");
    const struct answer *answer = parse("a.test", TYPE_A);
    assert_int_equal(answer->status, ANSWER_RECORDS);
    assert_int_equal(answer->num_records, 1);
    assert_int_equal(answer->ttl_s, 30);
}

static void records_of_other_names_do_not_count(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "a.test", TYPE_A);
    wire_record(&wire, WIRE_ANSWER, "evil.test", TYPE_A, 60, v4, sizeof v4);
    wire_soa(&wire, 60, 60);
    assert_int_equal(parse("a.test", TYPE_A)->status, ANSWER_NODATA);
}

static void a_cname_loop_fails(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "a.test", TYPE_A);
    wire_cname(&wire, "a.test", 60, "b.test");
    wire_cname(&wire, "b.test", 60, "a.test");
    assert_int_equal(parse("a.test", TYPE_A)->status, ANSWER_FAILED);
}

static void a_cname_that_the_server_did_not_follow_is_an_alias(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "a.test", TYPE_A);
    wire_cname(&wire, "a.test", 60, "b.other");
    const struct answer *answer = parse("a.test", TYPE_A);
    assert_int_equal(answer->status, ANSWER_ALIAS);
    assert_string_equal(answer->text, "b.other");
    assert_int_equal(answer->ttl_s, 60);
}

static void negative_answers_live_by_the_soa(void **state)
{
    (void)state;
    static const struct {
        unsigned rcode;
        uint32_t ttl, minimum, expected;
        enum answer_status status;
    } rows[] = {{0, 600, 60, 60, ANSWER_NODATA},
                {0, 30, 900, 30, ANSWER_NODATA},
                {3, 600, 60, 60, ANSWER_NXDOMAIN},
                {3, 0x80000000u, 60, 0, ANSWER_NXDOMAIN}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        wire_start(&wire, 1, WIRE_REPLY | rows[i].rcode, "x.test", TYPE_A);
        wire_soa(&wire, rows[i].ttl, rows[i].minimum);
        const struct answer *answer = parse("x.test", TYPE_A);
        assert_int_equal(answer->status, rows[i].status);
        assert_int_equal(answer->ttl_s, rows[i].expected);
    }
    wire_start(&wire, 1, WIRE_REPLY | 3, "x.test", TYPE_A);
    assert_int_equal(parse("x.test", TYPE_A)->ttl_s, 0);
}

static void nxdomain_behind_a_cname_is_nxdomain(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY | 3, "a.test", TYPE_MX);
    wire_cname(&wire, "a.test", 60, "gone.test");
    wire_soa(&wire, 300, 300);
    const struct answer *answer = parse("a.test", TYPE_MX);
    assert_int_equal(answer->status, ANSWER_NXDOMAIN);
    assert_int_equal(answer->ttl_s, 60);
}

static void server_errors_are_failures_with_their_code(void **state)
{
    (void)state;
    static const struct {
        unsigned rcode;
        const char *text;
    } rows[] = {{1, "FORMERR"}, {2, "SERVFAIL"}, {4, "NOTIMP"}, {5, "REFUSED"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        wire_start(&wire, 1, WIRE_REPLY | rows[i].rcode, "x.test", TYPE_A);
        const struct answer *answer = parse("x.test", TYPE_A);
        assert_int_equal(answer->status, ANSWER_FAILED);
        assert_int_equal(answer->rcode, rows[i].rcode);
        assert_string_equal(answer->text, rows[i].text);
    }
}

static void an_extended_error_code_is_not_no_data(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "x.test", TYPE_A);
    wire_record(&wire, WIRE_ADDITIONAL, "", 41, 0x01000000, NULL, 0);
    assert_int_equal(parse("x.test", TYPE_A)->status, ANSWER_FAILED);
    wire_start(&wire, 1, WIRE_REPLY, "x.test", TYPE_A);
    wire_record(&wire, WIRE_ADDITIONAL, "", 41, 0, NULL, 0);
    assert_int_equal(parse("x.test", TYPE_A)->status, ANSWER_NODATA);
}

static void a_truncated_answer_fails(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY | WIRE_TC, "x.test", TYPE_A);
    wire_record(&wire, WIRE_ANSWER, "x.test", TYPE_A, 60, v4, sizeof v4);
    assert_int_equal(parse("x.test", TYPE_A)->status, ANSWER_FAILED);
}

static void answers_to_other_questions_fail(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "y.test", TYPE_A);
    assert_int_equal(parse("x.test", TYPE_A)->status, ANSWER_FAILED);
    wire_start(&wire, 1, WIRE_REPLY, "x.test", TYPE_AAAA);
    assert_int_equal(parse("x.test", TYPE_A)->status, ANSWER_FAILED);
    wire_start(&wire, 1, 0x0100, "x.test", TYPE_A);
    assert_int_equal(parse("x.test", TYPE_A)->status, ANSWER_FAILED);
}

static void records_of_a_wrong_size_fail(void **state)
{
    (void)state;
    static const uint8_t short_mx[] = {0, 10};
    static const uint8_t long_mx[] = {0, 10, 1, 'm', 0, 'x'};
    static const uint8_t bad_txt[] = {5, 'a'};
    static const struct {
        uint16_t type;
        const void *rdata;
        size_t len;
    } rows[] = {{TYPE_A, v4, 3},       {TYPE_AAAA, v6, 4},     {TYPE_MX, short_mx, 2},
                {TYPE_MX, long_mx, 6}, {TYPE_TXT, bad_txt, 2}, {TYPE_TLSA, v4, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        wire_start(&wire, 1, WIRE_REPLY, "x.test", rows[i].type);
        wire_record(&wire, WIRE_ANSWER, "x.test", rows[i].type, 60, rows[i].rdata, rows[i].len);
        assert_int_equal(parse("x.test", rows[i].type)->status, ANSWER_FAILED);
    }
}

static void every_prefix_of_an_answer_fails(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "x.test", TYPE_MX);
    wire_mx(&wire, "x.test", 60, 10, "mx.x.test");
    size_t whole = wire.len;
    for (size_t len = 0; len < whole; len++) {
        wire.len = len;
        assert_int_equal(parse("x.test", TYPE_MX)->status, ANSWER_FAILED);
    }
    wire.len = whole;
    assert_int_equal(parse("x.test", TYPE_MX)->status, ANSWER_RECORDS);
}

static void records_beyond_the_limit_are_left_out(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "x.test", TYPE_A);
    for (unsigned i = 0; i < ANSWER_RECORDS_MAX + 5; i++)
        wire_record(&wire, WIRE_ANSWER, "x.test", TYPE_A, 60, v4, sizeof v4);
    const struct answer *answer = parse("x.test", TYPE_A);
    assert_int_equal(answer->status, ANSWER_RECORDS);
    assert_int_equal(answer->num_records, ANSWER_RECORDS_MAX);
    assert_true(answer->limit_hit);
}

static void a_name_full_of_escapes_is_no_host_name(void **state)
{
    (void)state;
    uint8_t rdata[2 + 64 + 64 + 1] = {0, 10, 63};
    memset(rdata + 3, 1, 63);
    rdata[66] = 63;
    memset(rdata + 67, 2, 63);
    wire_start(&wire, 1, WIRE_REPLY, "x.test", TYPE_MX);
    wire_record(&wire, WIRE_ANSWER, "x.test", TYPE_MX, 60, rdata, sizeof rdata);
    const struct answer *answer = parse("x.test", TYPE_MX);
    assert_int_equal(answer->num_records, 1);
    assert_int_equal(answer->records[0].data.at[0], '(');
}

static void a_copy_stands_alone(void **state)
{
    (void)state;
    wire_start(&wire, 1, WIRE_REPLY, "x.test", TYPE_MX);
    wire_mx(&wire, "x.test", 60, 10, "mx.x.test");
    struct answer *copy = answer_copy(parse("x.test", TYPE_MX));
    memset(&scratch, 0, sizeof scratch);
    assert_string_equal(copy->records[0].data.at, "mx.x.test");
    assert_ptr_equal(answer_ref(copy), copy);
    answer_unref(copy);
    assert_int_equal(copy->num_records, 1);
    answer_unref(copy);
    answer_unref(NULL);
}

#define RULE(rule) cmocka_unit_test_setup_teardown(rule, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULE(mx_records_are_read_in_lower_case_with_their_least_ttl),
        RULE(compressed_names_are_expanded),
        RULE(a_null_mx_has_an_empty_name),
        RULE(addresses_of_both_families_are_read),
        RULE(tlsa_and_txt_records_are_read),
        RULE(cname_chains_are_followed_in_any_order_of_records),
        RULE(records_of_other_names_do_not_count),
        RULE(a_cname_loop_fails),
        RULE(a_cname_that_the_server_did_not_follow_is_an_alias),
        RULE(negative_answers_live_by_the_soa),
        RULE(nxdomain_behind_a_cname_is_nxdomain),
        RULE(server_errors_are_failures_with_their_code),
        RULE(an_extended_error_code_is_not_no_data),
        RULE(a_truncated_answer_fails),
        RULE(answers_to_other_questions_fail),
        RULE(records_of_a_wrong_size_fail),
        RULE(every_prefix_of_an_answer_fails),
        RULE(records_beyond_the_limit_are_left_out),
        RULE(a_name_full_of_escapes_is_no_host_name),
        RULE(a_copy_stands_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
