/* Files of records: lines stay whole lines for those who read them, whatever ended a run. */
#include "base/log.h"
#include "tests/unit/cmocka_prelude.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/sluice-log-test-XXXXXX";
static char path[PATH_MAX];

static void put(const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0640);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    close(fd);
}

static void append(struct log_file *file, const char *line)
{
    log_file_write(file, bytes_make(line, strlen(line)));
}

static void expect_content(const char *expected)
{
    char text[256] = "";
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_true(read(fd, text, sizeof text - 1) >= 0);
    close(fd);
    assert_string_equal(text, expected);
}

static void begins_a_new_line_behind_one_that_a_crash_tore(void **state)
{
    (void)state;
    static const struct {
        const char *before, *after;
    } rows[] = {{"", "{2}\n"}, {"{1}\n", "{1}\n{2}\n"}, {"{1}\n{\"ti", "{1}\n{\"ti\n{2}\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        put(rows[i].before);
        struct log_file *file = log_file_open(path);
        assert_non_null(file);
        append(file, "{2}\n");
        log_file_close(file);
        expect_content(rows[i].after);
    }
}

static void begins_a_new_line_behind_one_that_a_full_disk_tore(void **state)
{
    (void)state;
    put("");
    struct log_file *file = log_file_open(path);
    assert_non_null(file);
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 6;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    signal(SIGXFSZ, SIG_IGN);
    append(file, "{1}\n");
    append(file, "{2}\n");
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    append(file, "{3}\n");
    append(file, "{4}\n");
    log_file_close(file);
    expect_content("{1}\n{2\n{3}\n{4}\n");
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof path, "%s/delivery.log", folder);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(begins_a_new_line_behind_one_that_a_crash_tore),
        cmocka_unit_test(begins_a_new_line_behind_one_that_a_full_disk_tore),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
