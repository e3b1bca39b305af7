/* What the X-Sluice- lines and TLS-Required ask for, and what is refused in them. */
#include "base/memory.h"
#include "tests/support/envelope_text.h"

#include <stdlib.h>

static void option_values_are_checked(void **state)
{
    static const struct {
        const char *option;
        const char *why; /* NULL: taken */
    } rows[] = {
        {"Priority: 0", NULL},
        {"Priority: 9", NULL},
        {"Priority: 10", "0 to 9"},
        {"Priority: -1", "0 to 9"},
        {"Priority:", "printable"},
        {"Deadline: 30m", NULL},
        {"Deadline: 250ms", NULL},
        {"Deadline: 520w", NULL},
        {"Deadline: 530w", "duration"},
        {"Deadline: 0s", "duration"},
        {"Deadline: 5", "duration"},
        {"Deadline: 99999999999999999999s", "duration"},
        {"Deadline: 2030-01-31T12:00:00Z", NULL},
        {"Deadline: 2030-01-31t12:00:00.25+01:00", NULL},
        {"Deadline: 2030-02-30T12:00:00Z", "duration"},
        {"Deadline: 2030-01-31T24:00:00Z", "duration"},
        {"Deadline: 2030-01-31 12:00:00Z", "duration"},
        {"Deadline: 2030-01-31T12:00:00", "duration"},
        {"Deadline: 2030-00-31T12:00:00Z", "duration"},
        {"TLS: may", NULL},
        {"TLS: Encrypt", NULL},
        {"TLS: none", "not for less"},
        {"TLS: dane-only", NULL},
        {"TLS: Verify", NULL},
        {"TLS: wrapper", "expected"},
        {"TLS: encrypted", "expected"},
        {"Via: Signer.Internal", NULL},
        {"Via: a b", "expected the domain"},
        {"RequireTLS: true", NULL},
        {"RequireTLS: false", NULL},
        {"RequireTLS: yes", "expected"},
        {"Pool: default", NULL},
        {"Pool: bulk", "no source pool"},
        {"Tag: summer sale", NULL},
        {"Tag: \xC3\xBC", "printable"},
        {"Envid: abc+40", NULL},
        {"Notify: failure, DELAY", NULL},
        {"Notify: SUCCESS", NULL},
        {"Notify: NEVER", NULL},
        {"Notify: never,failure", "expected"},
        {"Ret: full", NULL},
        {"Notify: failure,,delay", "expected"},
        {"Ret: hdrs", NULL},
        {"Ret: all", "expected"},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char *file = mem_printf("X-Sluice-%s\n" BLOCK "A: b\n\n", rows[i].option);
        if (rows[i].why) {
            assert_refused(file, rows[i].why);
        } else {
            struct envelope envelope = parse(file);
            envelope_fini(&envelope);
        }
        free(file);
    }
}

static void option_values_arrive(void **state)
{
    (void)state;
    struct envelope envelope = parse(BLOCK "\n");
    assert_int_equal(envelope.priority, 5);
    assert_int_equal(envelope.tls, ENVELOPE_TLS_NONE);
    assert_int_equal(envelope.deadline_after_ms, 0);
    assert_int_equal(envelope.deadline_wall_ms, 0);
    assert_null(envelope.tag);
    envelope_fini(&envelope);
    envelope = parse(BLOCK "X-Sluice-Priority: 9\nX-Sluice-TLS: encrypt\nX-Sluice-Deadline: 2h\n"
                           "x-sluice-tag:  summer sale \n\n");
    assert_int_equal(envelope.priority, 9);
    assert_int_equal(envelope.tls, ENVELOPE_TLS_ENCRYPT);
    assert_int_equal(envelope.deadline_after_ms, 7200000);
    assert_string_equal(envelope.tag, "summer sale");
    envelope_fini(&envelope);
    envelope = parse(BLOCK "X-Sluice-Deadline: 2030-01-31T12:00:00-01:30\n\n");
    assert_int_equal(envelope.deadline_wall_ms, 1896096600000);
    envelope_fini(&envelope);
}

static void dsn_options_arrive(void **state)
{
    (void)state;
    struct envelope envelope =
        parse("X-Sender: <s@a.example>\nX-Sluice-Notify: success, Delay\nX-Sluice-Ret: full\n"
              "X-Receiver: <a@b.example> notify=NEVER ORCPT=rfc822;A+2B1@old.example\n"
              "X-Receiver: b@b.example\n\tORCPT=x400;y\nX-Receiver: c@b.example\n"
              "X-Sluice-Envid: order 42\n\n");
    const struct address *items = envelope.recipients.items;
    assert_int_equal(envelope.recipients.num, 3);
    assert_string_equal(items[0].mailbox, "a@b.example");
    assert_int_equal(items[0].notify, NOTIFY_NEVER);
    assert_string_equal(items[0].orcpt, "rfc822;A+1@old.example");
    assert_string_equal(items[1].orcpt, "x400;y");
    assert_int_equal(items[1].notify, NOTIFY_SUCCESS | NOTIFY_DELAY);
    assert_null(items[2].orcpt);
    assert_int_equal(items[2].notify, NOTIFY_SUCCESS | NOTIFY_DELAY);
    assert_int_equal(envelope.ret, RET_FULL);
    assert_string_equal(envelope.envid, "order 42");
    envelope_fini(&envelope);
    envelope = parse("X-Sluice-Notify: NEVER\nFrom: s@a.example\nTo: a@b.example, c@b.example\n\n");
    assert_int_equal(envelope.recipients.items[1].notify, NOTIFY_NEVER);
    envelope_fini(&envelope);
}

static void dsn_parameters_that_are_not_understood_are_refused(void **state)
{
    static const struct {
        const char *receiver, *why;
    } rows[] = {
        {"<a@b.example> NOTIFY=SOMETIMES", "expected NOTIFY"},
        {"<a@b.example> NOTIFY=", "expected NOTIFY"},
        {"<a@b.example> NOTIFY=NEVER NOTIFY=DELAY", "NOTIFY given twice"},
        {"<a@b.example> ORCPT=rfc822;a ORCPT=rfc822;b", "ORCPT given twice"},
        {"<a@b.example> ORCPT=a@b.example", "expected ORCPT"},
        {"<a@b.example> ORCPT=rfc822;a+0Db", "expected ORCPT"},
        {"<a@b.example> ORCPT=rfc822;a+2", "expected ORCPT"},
        {"<a@b.example> RET=FULL", "X-Receiver"},
        {"NOTIFY=NEVER", "X-Receiver"},
        {"a@b.example (note ORCPT=rfc822;x)", "X-Receiver"},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        char *file = mem_printf("X-Sender: <>\nX-Receiver: %s\nA: b\n\n", rows[i].receiver);
        assert_refused(file, rows[i].why);
        free(file);
    }
    char id[120];
    memset(id, ' ', sizeof id);
    id[0] = id[40] = 'x';
    id[41] = '\0';
    char *file = mem_printf("X-Sluice-Envid: %s\n" BLOCK "A: b\n\n", id);
    assert_refused(file, "over 100 octets");
    free(file);
}

static void tls_required_counts_only_as_rfc_8689_writes_it(void **state)
{
    static const struct {
        const char *header;
        bool optional;
    } rows[] = {
        {"TLS-Required: No\n\n", true},
        {"A: b\r\ntls-required:no\r\n\r\n", true},
        {"TLS-Required:\n No \nA: b\n", true},
        {"TLS-Required: Yes\n\n", false},
        {"TLS-Required: No thanks\n\n", false},
        {"TLS-Required: No (really)\n\n", false},
        {"TLS-Required:\n\n", false},
        {"TLS-Require: No\n\n", false},
        {"X-TLS-Required: No\n\n", false},
        {"TLS-Required: No\nTLS-Required: No\n\n", false},
        {"TLS-Required: Yes\nTLS-Required: No\n\n", false},
        {"A: b\n\nTLS-Required: No\n", false},
        {"A: b\nno field\nTLS-Required: No\n\n", false},
        {"Subject: x\n TLS-Required: No\n\n", false},
    };
    (void)state;
    for (size_t i = 0; i < ROWS(rows); i++) {
        for (unsigned form = 0; form < 2; form++) {
            char *file = mem_printf("%s%s",
                                    form ? "X-Sluice-RequireTLS: true\n" BLOCK
                                         : "To: a@b.example\nFrom: s@b.example\n",
                                    rows[i].header);
            struct envelope envelope = parse(file);
            if (envelope.tls_optional != rows[i].optional)
                fail_msg("%s", file);
            assert_int_equal(envelope.require_tls, form);
            envelope_fini(&envelope);
            free(file);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(option_values_are_checked),
        cmocka_unit_test(option_values_arrive),
        cmocka_unit_test(dsn_options_arrive),
        cmocka_unit_test(dsn_parameters_that_are_not_understood_are_refused),
        cmocka_unit_test(tls_required_counts_only_as_rfc_8689_writes_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
