/* The TXT record that says where TLS reports go (RFC 8460 3). */
#include "base/memory.h"
#include "tests/unit/cmocka_prelude.h"
#include "tls/tlsrpt_record.h"

#include <stdio.h>

/* "https HOST PORT TARGET" and "mailto MAILBOX", with "|" between them. */
static void describe(const struct tlsrpt_record *record, char *out, size_t size)
{
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < record->num; i++) {
        const struct tlsrpt_endpoint *e = &record->endpoints[i];
        len += (size_t)(e->scheme == TLSRPT_HTTPS
                            ? snprintf(out + len, size - len, "%shttps %s %u %.*s", i ? "|" : "",
                                       e->host, e->port, (int)e->target.len,
                                       (const char *)e->target.at)
                            : snprintf(out + len, size - len, "%smailto %s", i ? "|" : "",
                                       e->mailbox));
    }
}

static void records_are_read_as_the_grammar_says(void **state)
{
    static const struct {
        const char *text;
        const char *endpoints; /* NULL: refused */
    } rows[] = {
        {"v=TLSRPTv1;rua=mailto:reports@example.com", "mailto reports@example.com"},
        {"v=TLSRPTv1; rua=https://reporting.example.com/v1/tlsrpt",
         "https reporting.example.com 443 /v1/tlsrpt"},
        {"v=TLSRPTv1 ;\trua=mailto:a@b.c , https://R.Example:8443?x=1&y#part ; ",
         "mailto a@b.c|https r.example 8443 ?x=1&y"},
        {"v=TLSRPTv1; rua=MAILTO:a%2Cb%21@c.d?subject=x%20y", "mailto a,b!@c.d"},
        {"v=TLSRPTv1; x=1; rua=https://a.b:/; y.z-1=2;", "https a.b 443 /"},
        /* Taken, and of no use. */
        {"v=TLSRPTv1; rua=http://a.b/", ""},
        {"v=TLSRPTv1; rua=ftp:x,mailto:a@b.c", "mailto a@b.c"},
        {"v=TLSRPTv1; rua=https://user@a.b/", ""},
        {"v=TLSRPTv1; rua=https://192.0.2.1/", ""},
        {"v=TLSRPTv1; rua=https://[2001:db8::1]/", ""},
        {"v=TLSRPTv1; rua=https://a.b:0/", ""},
        {"v=TLSRPTv1; rua=https://a.b:65536/", ""},
        {"v=TLSRPTv1; rua=https:///x", ""},
        {"v=TLSRPTv1; rua=mailto:a", ""},
        {"v=TLSRPTv1; rua=mailto:a%0D%0Ab@c.d", ""},
        {"v=TLSRPTv1; rua=mailto:a%C3%A4@c.d", ""},
        /* Refused. */
        {"v=TLSRPTv1;", NULL},
        {"v=TLSRPTv1", NULL},
        {"v=TLSRPTv1; x=1", NULL},
        {"v=TLSRPTv1; rua=", NULL},
        {"v=TLSRPTv1; rua=mailto:", NULL},
        {"v=TLSRPTv1; rua=nocolon", NULL},
        {"v=TLSRPTv1; rua=mailto:a@b.c,", NULL},
        {"v=TLSRPTv1; rua=mailto:a@b.c!10m", NULL},
        {"v=TLSRPTv1; rua=mailto:a@b.c x", NULL},
        {"v=TLSRPTv1; rua=mailto:a@b.c;;", NULL},
        {"v=TLSRPTv1; rua=mailto:a%2@b.c", NULL},
        {"v=TLSRPTv1; rua=mailto:a@b.c%", NULL},
        {"v=TLSRPTv1; rua=mailto:a@b.c; rua=mailto:d@e.f", NULL},
        {"v=TLSRPTv1; RUA=mailto:a@b.c", NULL},
        {"v=TLSRPTv1; rua=1:x", NULL},
        {"v=TLSRPTv1; rua=mailto:\xc3\xa4@b.c", NULL},
        {"v=TLSRPTv2; rua=mailto:a@b.c", NULL},
        {"v=tlsrptv1; rua=mailto:a@b.c", NULL},
        {" v=TLSRPTv1; rua=mailto:a@b.c", NULL},
        {"v=TLSRPTv1; rua=mailto:a@b.c; x", NULL},
        {"v=TLSRPTv1; rua=mailto:a@b.c; x=a=b", NULL},
        {"", NULL},
    };
    char text[2000];
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct tlsrpt_record record;
        bool taken = tlsrpt_record_parse(bytes_of(rows[i].text), &record);
        if (taken != (rows[i].endpoints != NULL))
            fail_msg("%s: %d", rows[i].text, taken);
        if (!taken)
            continue;
        describe(&record, text, sizeof text);
        if (strcmp(text, rows[i].endpoints) != 0)
            fail_msg("%s: %s", rows[i].text, text);
    }
}

static void only_a_record_that_claims_to_be_one_counts(void **state)
{
    (void)state;
    assert_true(tlsrpt_record_is_one(bytes_of("v=TLSRPTv1;")));
    assert_true(tlsrpt_record_is_one(bytes_of("v=TLSRPTv1 ; x")));
    assert_false(tlsrpt_record_is_one(bytes_of("v=TLSRPTv1")));
    assert_false(tlsrpt_record_is_one(bytes_of("v=TLSRPTv11;")));
}

static void endpoints_and_their_length_are_bounded(void **state)
{
    struct tlsrpt_record record;
    struct buffer text;
    (void)state;
    buffer_init(&text, 10000);
    buffer_append_str(&text, "v=TLSRPTv1; rua=mailto:");
    for (int i = 0; i < 300; i++)
        buffer_append_byte(&text, 'a');
    buffer_append_str(&text, "@b.c,https://a.b/");
    for (int i = 0; i < TLSRPT_URI_MAX; i++)
        buffer_append_byte(&text, 'x');
    for (int i = 0; i < 20; i++)
        buffer_printf(&text, ",mailto:n%d@b.c", i);
    assert_true(tlsrpt_record_parse(buffer_bytes(&text), &record));
    assert_int_equal(record.num, TLSRPT_ENDPOINTS_MAX);
    assert_string_equal(record.endpoints[0].mailbox, "n0@b.c");
    buffer_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_as_the_grammar_says),
        cmocka_unit_test(only_a_record_that_claims_to_be_one_counts),
        cmocka_unit_test(endpoints_and_their_length_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
