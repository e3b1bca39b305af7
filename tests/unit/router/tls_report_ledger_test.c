/* Steps go into the file and come out of it, whatever a crash left there. */
#include "base/memory.h"
#include "router/tls_report_ledger.h"
#include "tests/unit/cmocka_prelude.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char spool[] = "/tmp/sluice-ledger-XXXXXX";

struct seen {
    char text[1000];
};

static void on_step(void *ctx, const struct tls_report_step *step)
{
    struct seen *seen = ctx;
    size_t len = strlen(seen->text);
    snprintf(seen->text + len, sizeof seen->text - len, "%s %s %u %lld %lld %lld %s %s|",
             step->domain, tls_report_state_name(step->state), step->attempts,
             (long long)step->wall_ms, (long long)step->first_wall_ms,
             (long long)step->next_wall_ms, step->endpoint, step->why);
}

static void append(const char *domain, enum tls_report_state state, bool sync)
{
    char why[TLS_REPORT_LEDGER_WHY_MAX];
    struct tls_report_step step = {.domain = domain,
                                   .state = state,
                                   .attempts = 2,
                                   .wall_ms = 1795478400000,
                                   .first_wall_ms = 5,
                                   .next_wall_ms = 6,
                                   .endpoint = "https://a.test/\"x\"",
                                   .why = "none \xc3\xa4\xff"};
    if (!tls_report_ledger_append(spool, "2026-11-24", &step, sync, why))
        fail_msg("%s", why);
}

static void read_all(struct seen *seen)
{
    char why[TLS_REPORT_LEDGER_WHY_MAX];
    seen->text[0] = '\0';
    assert_true(tls_report_ledger_read(spool, "2026-11-24", on_step, seen, why));
}

static char *ledger_path(void)
{
    return mem_printf("%s/tlsrpt/2026-11-24.sent", spool);
}

static void steps_come_back_in_order(void **state)
{
    struct seen seen;
    (void)state;
    read_all(&seen);
    assert_string_equal(seen.text, "");
    append("a.test", TLS_REPORT_RETRY, true);
    append("a.test", TLS_REPORT_SENT, false);
    append("b.test", TLS_REPORT_NOT_WANTED, false);
    read_all(&seen);
    assert_non_null(
        strstr(seen.text, "a.test retry 2 1795478400000 5 6 https://a.test/\"x\" none"));
    assert_true(strstr(seen.text, "a.test retry") < strstr(seen.text, "a.test sent"));
    assert_non_null(strstr(seen.text, "b.test not-wanted"));
}

static void half_a_line_and_strange_ones_are_passed_over(void **state)
{
    static const char junk[] =
        "{\"domain\":\"x.test\",\"state\":\"dancing\"}\nnull\n[]\n\n{\"state\":"
        "\"sent\"}\n{\"domain\":\"c.test\",\"state\":\"sent\"}\n{\"domain\":";
    struct seen seen;
    char *path = ledger_path();
    (void)state;
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, junk, sizeof junk - 1), (ssize_t)sizeof junk - 1);
    close(fd);
    append("d.test", TLS_REPORT_FAILED, false);
    read_all(&seen);
    assert_ptr_equal(strstr(seen.text, "c.test sent 0 0 0 0  |d.test failed 2 "), seen.text);
    free(path);
}

static void what_cannot_be_written_or_read_is_said(void **state)
{
    char why[TLS_REPORT_LEDGER_WHY_MAX] = "";
    struct seen seen;
    char *path = ledger_path();
    struct tls_report_step step = {.domain = "a.test", .endpoint = "", .why = ""};
    (void)state;
    assert_false(tls_report_ledger_append("/nowhere", "2026-11-24", &step, true, why));
    assert_non_null(strstr(why, "/nowhere/tlsrpt/2026-11-24.sent"));
    assert_int_equal(chmod(path, 0666), 0);
    assert_false(tls_report_ledger_read(spool, "2026-11-24", on_step, &seen, why));
    assert_non_null(strstr(why, "only we or root may write"));
    free(path);
}

static int make_spool(void **state)
{
    (void)state;
    assert_non_null(mkdtemp(spool));
    char *folder = mem_printf("%s/tlsrpt", spool);
    int rc = mkdir(folder, 0700);
    free(folder);
    return rc;
}

static int remove_spool(void **state)
{
    char *folder = mem_printf("%s/tlsrpt", spool), *path = ledger_path();
    (void)state;
    int rc = unlink(path) || rmdir(folder) || rmdir(spool);
    free(folder);
    free(path);
    return rc;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(steps_come_back_in_order),
        cmocka_unit_test(half_a_line_and_strange_ones_are_passed_over),
        cmocka_unit_test(what_cannot_be_written_or_read_is_said),
    };
    return cmocka_run_group_tests(tests, make_spool, remove_spool);
}
