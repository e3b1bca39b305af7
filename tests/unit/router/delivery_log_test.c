/* The delivery log's lines: fields of docs/log.md, valid JSON and UTF-8 whatever goes in. */
#include "base/memory.h"
#include "router/delivery_log.h"
#include "router/json_line.h"
#include "tests/unit/cmocka_prelude.h"

#include <jansson.h>
#include <stdio.h>

static struct address recipients[] = {{.mailbox = (char *)"c@d.test", .domain = "d.test"},
                                      {.mailbox = (char *)"e@d.test", .domain = "d.test"}};

static const struct message sample_message = {
    .id_text = "0123456789abc",
    .identity = {.size = 4096},
    .arrived_wall_ms = INT64_C(1767323045000),
    .envelope = {.sender = {.mailbox = (char *)"a@b.test"},
                 .recipients = {.items = recipients, .num = 2}},
};

static const struct delivery_trace sample_trace = {
    .mx = "mx1.d.test",
    .address = {.family = 4, .octets = {192, 0, 2, 25}},
    .port = 25,
    .tls_version = "TLSv1.3",
    .tls_cipher = "TLS_AES_128_GCM_SHA256",
    .tls_resumed = true,
    .sts_mode = "enforce",
    .sts_id = "20261124",
    .sts_result = "ok",
    .attempts_on_hosts = 2,
    .sent_len = 4311,
    .stamps = {.queued_us = 1000000,
               .taken_us = 1000500,
               .ready_us = 1010500,
               .content_us = 1011000,
               .done_us = 1031250},
};

static struct delivery *sample(struct message *message, const struct outcome *outcome)
{
    struct delivery *delivery = delivery_new(message, 1);
    *message = sample_message;
    delivery->domain = "d.test";
    delivery->attempt = 3;
    delivery->trace = sample_trace;
    delivery->recipients[0] = (struct delivery_recipient){.index = 1, .outcome = *outcome};
    return delivery;
}

static const int64_t wall_us = INT64_C(1767323045678901);

/* One line, parsed; the caller frees it. */
static json_t *logged(const struct delivery *delivery, int64_t next_wall_ms)
{
    struct buffer out;
    json_error_t error;
    buffer_init(&out, 65536);
    delivery_log_append(delivery, 0, "mx1.d.test", wall_us, next_wall_ms, &out);
    assert_true(out.len > 2);
    assert_int_equal(bytes_find(buffer_bytes(&out), '\n'), out.len - 1);
    json_t *json = json_loadb((const char *)out.at, out.len, JSON_REJECT_DUPLICATES, &error);
    if (!json)
        fail_msg("%s: %.*s", error.text, (int)out.len, (const char *)out.at);
    buffer_fini(&out);
    return json;
}

static const char *text_at(const json_t *json, const char *key)
{
    return json_string_value(json_object_get(json, key));
}

static const struct outcome delivered = {.kind = OUTCOME_DELIVERED,
                                         .phase = PHASE_FINAL,
                                         .code = 250,
                                         .enhanced = {2, 0, 0},
                                         .text = "queued as 4F2A1"};

static void a_delivered_recipient_has_every_field(void **state)
{
    (void)state;
    struct message message;
    struct delivery *delivery = sample(&message, &delivered);
    json_t *json = logged(delivery, 0);
    json_t *tls = json_object_get(json, "tls");
    json_t *delays = json_object_get(json, "delays");
    assert_string_equal(text_at(json, "time"), "2026-01-02T03:04:05.678Z");
    assert_string_equal(text_at(json, "event"), "delivered");
    assert_string_equal(text_at(json, "id"), "0123456789abc");
    assert_string_equal(text_at(json, "sender"), "a@b.test");
    assert_string_equal(text_at(json, "recipient"), "e@d.test");
    assert_string_equal(text_at(json, "domain"), "d.test");
    assert_string_equal(text_at(json, "site"), "mx1.d.test");
    assert_string_equal(text_at(json, "mx"), "mx1.d.test");
    assert_string_equal(text_at(json, "address"), "192.0.2.25");
    assert_int_equal(json_integer_value(json_object_get(json, "port")), 25);
    assert_string_equal(text_at(tls, "version"), "TLSv1.3");
    assert_string_equal(text_at(tls, "cipher"), "TLS_AES_128_GCM_SHA256");
    assert_true(json_is_true(json_object_get(tls, "resumed")));
    assert_true(json_is_false(json_object_get(json, "reused")));
    assert_int_equal(json_integer_value(json_object_get(json, "hosts")), 2);
    assert_int_equal(json_integer_value(json_object_get(json, "attempt")), 3);
    assert_int_equal(json_integer_value(json_object_get(json, "size")), 4096);
    assert_int_equal(json_integer_value(json_object_get(json, "sent")), 4311);
    assert_int_equal(json_integer_value(json_object_get(json, "code")), 250);
    assert_string_equal(text_at(json, "enhanced"), "2.0.0");
    assert_string_equal(text_at(json, "reply"), "queued as 4F2A1");
    assert_string_equal(text_at(json, "phase"), "final");
    assert_true(json_is_false(json_object_get(json, "in_doubt")));
    assert_float_equal(json_real_value(json_object_get(delays, "queue")), 0.5, 1e-9);
    assert_float_equal(json_real_value(json_object_get(delays, "connect")), 10, 1e-9);
    assert_float_equal(json_real_value(json_object_get(delays, "transfer")), 0.5, 1e-9);
    assert_float_equal(json_real_value(json_object_get(delays, "reply")), 20.25, 1e-9);
    assert_float_equal(json_real_value(json_object_get(delays, "total")), 31.25, 1e-9);
    assert_float_equal(json_real_value(json_object_get(json, "age")), 0.678, 1e-9);
    assert_null(json_object_get(json, "next"));
    assert_null(json_object_get(json, "tag"));
    json_decref(json);
    delivery_free(delivery);
}

static void what_was_not_reached_is_null_and_its_stages_take_no_time(void **state)
{
    (void)state;
    struct message message;
    const struct outcome outcome = {
        .kind = OUTCOME_DEFERRED, .phase = PHASE_CONNECT, .text = "connection refused"};
    struct delivery *delivery = sample(&message, &outcome);
    delivery->trace =
        (struct delivery_trace){.stamps = {.queued_us = 5000, .taken_us = 6000, .done_us = 8000}};
    json_t *json = logged(delivery, INT64_C(1767323345000));
    json_t *delays = json_object_get(json, "delays");
    static const char *const nulls[] = {"mx", "address", "port", "tls", "code", "enhanced"};
    for (size_t i = 0; i < sizeof nulls / sizeof *nulls; i++)
        assert_true(json_is_null(json_object_get(json, nulls[i])));
    assert_string_equal(text_at(json, "event"), "deferred");
    assert_string_equal(text_at(json, "next"), "2026-01-02T03:09:05.000Z");
    assert_float_equal(json_real_value(json_object_get(delays, "queue")), 1, 1e-9);
    assert_float_equal(json_real_value(json_object_get(delays, "connect")), 2, 1e-9);
    assert_float_equal(json_real_value(json_object_get(delays, "transfer")), 0, 1e-9);
    assert_float_equal(json_real_value(json_object_get(delays, "reply")), 0, 1e-9);
    assert_float_equal(json_real_value(json_object_get(delays, "total")), 3, 1e-9);
    json_decref(json);
    delivery_free(delivery);
}

static void stamps_that_run_backwards_give_no_negative_delay(void **state)
{
    (void)state;
    struct message message;
    struct delivery *delivery = sample(&message, &delivered);
    delivery->trace.stamps = (struct delivery_stamps){9000, 8000, 7000, 6000, 5000};
    json_t *json = logged(delivery, 0);
    const char *key;
    json_t *value;
    json_object_foreach(json_object_get(json, "delays"), key, value)
        assert_true(json_real_value(value) >= 0);
    json_decref(json);
    delivery_free(delivery);
}

/* Every field that a line has is in docs/log.md, and the other way round. */
static void the_documentation_names_every_field(void **state)
{
    (void)state;
    char *text = mem_zalloc(1, 1 << 18);
    FILE *file = fopen(SOURCE_ROOT "/docs/log.md", "rb");
    assert_non_null(file);
    assert_true(fread(text, 1, (1 << 18) - 1, file) > 0);
    fclose(file);
    struct message message;
    const struct outcome deferred = {.kind = OUTCOME_DEFERRED, .phase = PHASE_RCPT, .code = 450};
    struct delivery *delivery = sample(&message, &deferred);
    message.envelope.tag = (char *)"campaign";
    message.envelope.require_tls = true;
    json_t *json = logged(delivery, 1);
    size_t num_fields = 0;
    const char *key;
    json_t *value;
    json_object_foreach(json, key, value)
    {
        char *row = mem_printf("\n| `%s` | ", key);
        if (!strstr(text, row))
            fail_msg("docs/log.md does not name %s", key);
        free(row);
        num_fields += 1 + (json_is_object(value) ? json_object_size(value) : 0);
    }
    size_t num_rows = 0;
    for (const char *at = text; (at = strstr(at, "\n| `")); at++)
        num_rows++;
    assert_int_equal(num_rows, num_fields);
    json_decref(json);
    delivery_free(delivery);
    free(text);
}

static void what_a_stranger_wrote_stays_one_valid_line(void **state)
{
    (void)state;
    static const struct {
        const char *in, *out;
    } rows[] = {
        {"quote \" back \\ slash", "quote \" back \\ slash"},
        {"line\r\nbreak\ttab\x01\x7f", "line\r\nbreak\ttab\x01\x7f"},
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"latin \xfc!", "latin \xef\xbf\xbd!"},
        {"cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd"},
        {"overlong \xc0\xaf", "overlong \xef\xbf\xbd\xef\xbf\xbd"},
        {"surrogate \xed\xa0\x80", "surrogate \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf0\x9f\x93\xa7 \xf4\x90\x80\x80",
         "\xf0\x9f\x93\xa7 \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message message;
        struct delivery *delivery = sample(&message, &delivered);
        snprintf(delivery->recipients[0].outcome.text, OUTCOME_TEXT_MAX, "%s", rows[i].in);
        message.envelope.sender.mailbox = (char *)rows[i].in;
        json_t *json = logged(delivery, 0);
        assert_string_equal(text_at(json, "reply"), rows[i].out);
        assert_string_equal(text_at(json, "sender"), rows[i].out);
        json_decref(json);
        delivery_free(delivery);
    }
}

static void a_recipient_that_was_not_tried_gives_no_line(void **state)
{
    (void)state;
    struct buffer out;
    buffer_init(&out, 65536);
    static const enum outcome_kind kinds[] = {OUTCOME_NONE, OUTCOME_RETURNED};
    for (size_t i = 0; i < 2; i++) {
        struct message message;
        const struct outcome outcome = {.kind = (uint8_t)kinds[i]};
        struct delivery *delivery = sample(&message, &outcome);
        delivery_log_append(delivery, 0, "x", wall_us, 0, &out);
        assert_int_equal(out.len, 0);
        delivery_free(delivery);
    }
    buffer_fini(&out);
}

static void numbers_keep_three_decimals_and_their_sign(void **state)
{
    (void)state;
    struct json_line json;
    struct buffer out;
    buffer_init(&out, 1000);
    json_line_begin(&json, &out);
    json_line_milli(&json, "a", 0);
    json_line_milli(&json, "b", 1005);
    json_line_milli(&json, "c", -7);
    json_line_number(&json, "d", UINT64_MAX);
    json_line_open(&json, "e", '[');
    json_line_text(&json, NULL, "x");
    json_line_text(&json, NULL, NULL);
    json_line_close(&json, ']');
    json_line_time(&json, "f", INT64_MAX);
    json_line_time(&json, "g", -1);
    json_line_end(&json);
    const char wanted[] = "{\"a\":0.000,\"b\":1.005,\"c\":-0.007,\"d\":18446744073709551615,"
                          "\"e\":[\"x\",null],\"f\":\"9999-12-31T23:59:59.775Z\","
                          "\"g\":\"1970-01-01T00:00:00.000Z\"}\n";
    buffer_append_byte(&out, 0);
    assert_string_equal((const char *)out.at, wanted);
    buffer_fini(&out);
}

static void what_the_message_asked_of_tls_is_told(void **state)
{
    static const struct {
        bool require_tls, waived, optional;
        const char *told;
    } rows[] = {{false, false, false, NULL},
                {true, false, false, "requiretls"},
                {true, false, true, "requiretls"},
                {true, true, false, "waived"},
                {false, false, true, "optional"}};
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct message message;
        struct delivery *delivery = sample(&message, &delivered);
        message.envelope.require_tls = rows[i].require_tls;
        message.envelope.tls_optional = rows[i].optional;
        delivery->requiretls_waived = rows[i].waived;
        json_t *json = logged(delivery, 0);
        const char *told = text_at(json_object_get(json, "policy"), "message");
        if (rows[i].told)
            assert_string_equal(told, rows[i].told);
        else
            assert_null(told);
        json_decref(json);
        delivery_free(delivery);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_message_asked_of_tls_is_told),
        cmocka_unit_test(a_delivered_recipient_has_every_field),
        cmocka_unit_test(what_was_not_reached_is_null_and_its_stages_take_no_time),
        cmocka_unit_test(stamps_that_run_backwards_give_no_negative_delay),
        cmocka_unit_test(the_documentation_names_every_field),
        cmocka_unit_test(what_a_stranger_wrote_stays_one_valid_line),
        cmocka_unit_test(a_recipient_that_was_not_tried_gives_no_line),
        cmocka_unit_test(numbers_keep_three_decimals_and_their_sign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
