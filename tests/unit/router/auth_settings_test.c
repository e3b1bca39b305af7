/* The auth section: mechanisms, and the file that holds a secret. */
#include "base/memory.h"
#include "router/config.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

static char folder[] = "/tmp/auth_settings.XXXXXX";

static char *write_secret(const char *text, mode_t mode)
{
    char *path = mem_printf("%s/secret", folder);
    unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
    return path;
}

static void assert_secret(const char *text, mode_t mode, const char *secret, const char *problem)
{
    char why[AUTH_WHY_MAX] = "";
    char *path = write_secret(text, mode);
    char *found = auth_secret_read(path, why);
    if (secret)
        assert_string_equal(found, secret);
    else
        assert_null(found);
    if (problem && !strstr(why, problem))
        fail_msg("%s: %s", text, why);
    auth_secret_free(found);
    free(path);
}

static void a_secret_is_one_line_that_nobody_else_may_read(void **state)
{
    (void)state;
    char longest[300];
    memset(longest, 'x', sizeof longest);
    longest[AUTH_SECRET_MAX] = '\0';
    assert_secret("pencil", 0600, "pencil", NULL);
    assert_secret("pencil\n", 0400, "pencil", NULL);
    assert_secret(" two words \r\n", 0600, " two words ", NULL);
    assert_secret(longest, 0600, longest, NULL);
    longest[AUTH_SECRET_MAX] = 'x';
    longest[AUTH_SECRET_MAX + 1] = '\0';
    assert_secret(longest, 0600, NULL, "1 to 255");
    assert_secret("", 0600, NULL, "no secret");
    assert_secret("\n", 0600, NULL, "no secret");
    assert_secret("one\ntwo\n", 0600, NULL, "one line");
    assert_secret("caf\xc3\xa9\n", 0600, NULL, "ASCII");
    assert_secret("pencil", 0640, NULL, "group or others");
    assert_secret("pencil", 0604, NULL, "group or others");
    assert_secret("pencil", 0620, NULL, "group or others");
}

static void only_a_regular_file_will_do(void **state)
{
    (void)state;
    char why[AUTH_WHY_MAX];
    char *fifo = mem_printf("%s/fifo", folder);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    assert_null(auth_secret_read(fifo, why));
    assert_non_null(strstr(why, "regular"));
    assert_null(auth_secret_read(folder, why));
    assert_null(auth_secret_read("/dev/zero", why));
    assert_null(auth_secret_read("/nowhere/at/all", why));
    assert_non_null(strstr(why, "cannot be opened"));
    unlink(fifo);
    free(fifo);
}

static void the_configuration_reads_it_and_never_shows_it(void **state)
{
    (void)state;
    char why[CONFIG_WHY_MAX];
    char *path = write_secret("pencil\n", 0600);
    char *text = mem_printf("destination \"*\" { auth { user = \"u\"\n secret_file = \"%s\" } }\n"
                            "destination \"a.test\" { port = 26 }\n"
                            "destination \"b.test\" { auth { user = \"\" } }\n"
                            "destination \"c.test\" { auth { mechanisms = \"login plain\" } }\n",
                            path);
    struct config *config = config_parse(text, "test.conf", why);
    assert_non_null(config);
    const struct destination_settings *a = config_for_domain(config, "a.test");
    assert_string_equal(a->auth.secret, "pencil");
    assert_string_equal(a->auth.user, "u");
    assert_false(auth_is_wanted(&config_for_domain(config, "b.test")->auth));
    const struct destination_settings *c = config_for_domain(config, "c.test");
    assert_int_equal(c->auth.mechanisms, AUTH_LOGIN | AUTH_PLAIN);
    assert_int_not_equal(c->id, config_for_domain(config, "x.test")->id);
    struct buffer shown;
    buffer_init(&shown, 1 << 20);
    config_print(config, &shown);
    assert_null(memmem(shown.at, shown.len, "pencil", 6));
    assert_non_null(memmem(shown.at, shown.len, "\"PLAIN LOGIN\"", 13));
    buffer_fini(&shown);
    config_free(config);
    free(text);
    free(path);
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *where;
        const char *what;
    } rows[] = {
        {"\ndestination \"*\" { auth {\n user = \"u\" } }", "test.conf:2: ", "auth.secret_file"},
        {"destination \"*\" { auth {\n\n secret_file = \"/nowhere/at/all\" } }",
         "test.conf:3: ", "cannot be opened"},
        {"destination \"*\" { auth {\n mechanisms = \"CRAM-MD5\" } }", "test.conf:2: ", "LOGIN"},
        {"destination \"*\" { auth {\n mechanisms = \"\" } }", "test.conf:2: ", "LOGIN"},
        {"destination \"*\" { auth {\n user = \"\xc3\xbc\" } }", "test.conf:2: ", "ASCII"},
        {"destination \"*\" { auth {\n allow_unverified = \"yes\" } }",
         "test.conf:2: ", "plaintext"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char why[CONFIG_WHY_MAX];
        assert_null(config_parse(rows[i].text, "test.conf", why));
        if (!strstr(why, rows[i].where) || !strstr(why, rows[i].what))
            fail_msg("%s", why);
    }
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    char *path = mem_printf("%s/secret", folder);
    unlink(path);
    free(path);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_secret_is_one_line_that_nobody_else_may_read),
        cmocka_unit_test(only_a_regular_file_will_do),
        cmocka_unit_test(the_configuration_reads_it_and_never_shows_it),
        cmocka_unit_test(what_is_wrong_is_told_with_its_line),
    };
    return cmocka_run_group_tests(tests, make_folder, drop_folder);
}
