/* The message that a TLS report is sent in (RFC 8460 5), and the gzip file in it. */
#include "queue/envelope.h"
#include "router/gzip.h"
#include "router/tls_report_mail.h"
#include "tests/unit/cmocka_prelude.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

static struct tls_report_mail sample(void)
{
    return (struct tls_report_mail){.from = "tlsrpt@example.com",
                                    .to = "reports@a.test",
                                    .via = "",
                                    .submitter = "example.com",
                                    .hostname = "mta.example.com",
                                    .domain = "a.test",
                                    .report_id = "2026-11-24.a.test@mta.example.com",
                                    .day = "2026-11-24",
                                    .now_wall_s = 1795564800,
                                    .gzip = bytes_of("any octets will do here, sixty or more of "
                                                     "them, so that there are two lines")};
}

static void the_file_is_a_message_for_the_spool(void **state)
{
    struct tls_report_mail mail = sample();
    struct envelope_limits limits = {.max_recipients = 10};
    struct envelope envelope;
    char why[ENVELOPE_WHY_MAX];
    struct buffer out;
    (void)state;
    buffer_init(&out, 10000);
    assert_true(tls_report_mail_compose(&mail, &out));
    assert_true(envelope_parse(buffer_bytes(&out), &limits, &envelope, why));
    assert_string_equal(envelope.sender.mailbox, mail.from);
    assert_int_equal(envelope.recipients.num, 1);
    assert_string_equal(envelope.recipients.items[0].mailbox, mail.to);
    assert_int_equal(envelope.recipients.items[0].notify, NOTIFY_NEVER);
    assert_true(envelope.tls_optional && envelope.has_date && envelope.has_message_id);
    assert_int_equal(envelope.deadline_after_ms, 24 * 3600 * 1000);
    assert_null(envelope.via);
    envelope_fini(&envelope);
    buffer_clear(&out);
    mail.via = "signer.internal";
    assert_true(tls_report_mail_compose(&mail, &out));
    assert_true(envelope_parse(buffer_bytes(&out), &limits, &envelope, why));
    assert_string_equal(envelope.via, "signer.internal");
    envelope_fini(&envelope);
    buffer_fini(&out);
}

static void header_and_parts_are_those_of_the_rfc(void **state)
{
    static const char *const parts[] = {
        "\nFrom: <tlsrpt@example.com>\nTo: <reports@a.test>\n",
        "\nSubject: Report Domain: a.test\n\tSubmitter: example.com\n"
        "\tReport-ID: <2026-11-24.a.test@mta.example.com>\n",
        "\nDate: Wed, 25 Nov 2026 00:00:00 +0000\n",
        "\nMessage-ID: <tlsrpt.2026-11-24.a.test@mta.example.com>\n",
        "\nTLS-Report-Domain: a.test\nTLS-Report-Submitter: example.com\nTLS-Required: No\n",
        "\nContent-Type: multipart/report; report-type=\"tlsrpt\";\n\tboundary=\"=_tlsrpt\"\n\n"
        "--=_tlsrpt\nContent-Type: text/plain; charset=us-ascii\n",
        "\n\n--=_tlsrpt\nContent-Type: application/tlsrpt+gzip\n"
        "Content-Transfer-Encoding: base64\nContent-Disposition: attachment;\n"
        "\tfilename=\"example.com!a.test!1795478400!1795564799.json.gz\"\n\n"
        "YW55IG9jdGV0cyB3aWxsIGRvIGhlcmUsIHNpeHR5IG9yIG1vcmUgb2YgdGhlbSwgc28gdGhhdCB0\n"
        "aGVyZSBhcmUgdHdvIGxpbmVz\n--=_tlsrpt--\n",
    };
    struct tls_report_mail mail = sample();
    struct buffer out;
    (void)state;
    buffer_init(&out, 10000);
    assert_true(tls_report_mail_compose(&mail, &out));
    buffer_append_byte(&out, '\0');
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        if (!strstr((const char *)out.at, parts[i]))
            fail_msg("no %s in %s", parts[i], (const char *)out.at);
    buffer_fini(&out);
    buffer_init(&out, 500);
    assert_false(tls_report_mail_compose(&mail, &out));
    buffer_fini(&out);
}

static void names_tell_days_and_domains_apart(void **state)
{
    char a[TLS_REPORT_MAIL_NAME_MAX], b[TLS_REPORT_MAIL_NAME_MAX], c[TLS_REPORT_MAIL_NAME_MAX];
    (void)state;
    tls_report_mail_name("2026-11-24", "a.test", a);
    tls_report_mail_name("2026-11-24", "b.test", b);
    tls_report_mail_name("2026-11-25", "a.test", c);
    assert_true(strncmp(a, "tlsrpt-2026-11-24-", 18) == 0);
    assert_string_not_equal(a, b);
    assert_string_not_equal(a, c);
}

/* What is packed is what comes out, for any length around the pieces that it is packed in. */
static void gzip_gives_back_what_it_got(void **state)
{
    static const size_t lens[] = {0, 1, 1000, 16384, 300000};
    (void)state;
    for (size_t i = 0; i < sizeof lens / sizeof *lens; i++) {
        uint8_t *content = malloc(lens[i] + 1), *again = malloc(lens[i] + 1);
        struct buffer packed;
        uint32_t random = 1;
        for (size_t k = 0; k < lens[i]; k++)
            content[k] = (uint8_t)((random = random * 1664525 + 1013904223) >> 24);
        buffer_init(&packed, 1000000);
        assert_true(gzip_pack(bytes_make(content, lens[i]), &packed));
        z_stream stream = {.next_in = packed.at,
                           .avail_in = (uInt)packed.len,
                           .next_out = again,
                           .avail_out = (uInt)lens[i] + 1};
        assert_int_equal(inflateInit2(&stream, 15 + 16), Z_OK);
        assert_int_equal(inflate(&stream, Z_FINISH), Z_STREAM_END);
        assert_int_equal(stream.total_out, lens[i]);
        assert_memory_equal(content, again, lens[i]);
        inflateEnd(&stream);
        buffer_fini(&packed);
        buffer_init(&packed, 4);
        assert_false(gzip_pack(bytes_make(content, lens[i]), &packed));
        buffer_fini(&packed);
        free(content);
        free(again);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_is_a_message_for_the_spool),
        cmocka_unit_test(header_and_parts_are_those_of_the_rfc),
        cmocka_unit_test(names_tell_days_and_domains_apart),
        cmocka_unit_test(gzip_gives_back_what_it_got),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
