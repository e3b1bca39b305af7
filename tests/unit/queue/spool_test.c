/* Rules of the spool folder: one router, no symbolic links, nothing overwritten, new mail under an
 * old name is never taken for the old. */
#include "queue/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

struct fixture {
    char root[64];
    struct spool spool;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char why[SPOOL_WHY_MAX];
    snprintf(f->root, sizeof f->root, "/tmp/spool-test-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    assert_true(spool_open(&f->spool, f->root, true, why));
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    spool_close(&f->spool);
    snprintf(command, sizeof command, "rm -rf %s", f->root);
    int status = system(command);
    free(f);
    return status;
}

static void put(struct fixture *f, const char *path, const char *text)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", f->root, path);
    FILE *file = fopen(full, "w");
    assert_non_null(file);
    fputs(text, file);
    assert_int_equal(fclose(file), 0);
}

static const char *get(struct fixture *f, const char *path)
{
    static char text[1024];
    char full[1024];
    snprintf(full, sizeof full, "%s/%s", f->root, path);
    FILE *file = fopen(full, "r");
    if (!file)
        return NULL;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static struct file_identity identity_of(struct fixture *f, const char *path)
{
    struct spool_file file;
    assert_int_equal(spool_open_message(&f->spool, path, false, &file), 0);
    close(file.fd);
    return file.identity;
}

static void opening_makes_the_folders(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"new", "deferred", "hold", "bad", "tmp", "journal"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        struct stat st;
        assert_int_equal(fstatat(f->spool.root_fd, names[i], &st, 0), 0);
        assert_true(S_ISDIR(st.st_mode));
    }
}

static void a_second_router_is_refused_and_told_who_holds_it(void **state)
{
    struct fixture *f = *state;
    struct spool second;
    char why[SPOOL_WHY_MAX] = "", expected[32];
    assert_false(spool_open(&second, f->root, true, why));
    snprintf(expected, sizeof expected, "process %d", (int)getpid());
    assert_non_null(strstr(why, expected));
    assert_true(spool_open(&second, f->root, false, why));
    assert_int_equal(second.lock_fd, -1);
    spool_close(&second);
}

static void the_lock_dies_with_its_process(void **state)
{
    struct fixture *f = *state;
    struct spool again;
    char why[SPOOL_WHY_MAX], command[128];
    spool_close(&f->spool);
    pid_t pid = fork();
    if (pid == 0)
        _exit(spool_open(&again, f->root, true, why) ? 0 : 1);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(spool_open(&f->spool, f->root, true, why));
    snprintf(command, sizeof command, "%d\n", (int)getpid());
    assert_string_equal(get(f, "lock"), command);
}

static void what_is_no_spool_is_refused(void **state)
{
    struct fixture *f = *state;
    struct spool other;
    char why[SPOOL_WHY_MAX], path[128];
    put(f, "plain", "x");
    snprintf(path, sizeof path, "%s/plain", f->root);
    assert_false(spool_open(&other, path, true, why));
    assert_non_null(strstr(why, "Not a directory"));
    snprintf(path, sizeof path, "%s/missing", f->root);
    assert_false(spool_open(&other, path, false, why));
    assert_non_null(strstr(why, "No such file"));
    /* A folder that is a symbolic link could lead the router anywhere. */
    assert_int_equal(mkdirat(f->spool.root_fd, "linked", 0700), 0);
    assert_int_equal(symlinkat("../new", f->spool.root_fd, "linked/new"), 0);
    snprintf(path, sizeof path, "%s/linked", f->root);
    assert_false(spool_open(&other, path, true, why));
}

static void names_of_files_in_progress_are_ignored(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool ignored;
    } rows[] = {
        {"a", false},      {"a.eml", false}, {"tmp", false},  {"a.tmpx", false}, {"part", false},
        {".hidden", true}, {".", true},      {"a.tmp", true}, {"a.part", true},  {"", true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(spool_name_is_ignored(rows[i].name), rows[i].ignored);
}

static void paths_outside_the_contract_are_refused(void **state)
{
    struct fixture *f = *state;
    static const char *const rows[] = {"",          "new",         "new/",      "/etc/passwd",
                                       "lock",      "other/a",     "new/..",    "new/../lock",
                                       "new/a/b/c", "new//a",      "./new/a",   "../new/a",
                                       "new/./a",   "deferred/x/", "new/a/../b"};
    struct file_identity none = {0};
    struct spool_file file;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(spool_open_message(&f->spool, rows[i], false, &file), -EINVAL);
        assert_int_equal(spool_unlink(&f->spool, rows[i], &none), -EINVAL);
        assert_int_equal(spool_move_to_bad(&f->spool, rows[i], NULL, "x"), -EINVAL);
    }
}

static void only_regular_files_are_opened(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    put(f, "new/file", "x");
    assert_int_equal(symlinkat("file", f->spool.new_fd, "link"), 0);
    assert_int_equal(mkfifoat(f->spool.new_fd, "fifo", 0600), 0);
    assert_int_equal(mkdirat(f->spool.new_fd, "folder", 0700), 0);
    assert_int_equal(symlinkat("folder", f->spool.new_fd, "folder-link"), 0);
    put(f, "new/folder/inner", "y");
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s/new/socket", f->root);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    close(fd);
    static const struct {
        const char *path;
        int result;
    } rows[] = {
        {"new/link", -ELOOP},    {"new/fifo", -EINVAL},    {"new/folder", -EINVAL},
        {"new/socket", -EINVAL}, {"new/missing", -ENOENT}, {"new/folder-link/inner", -ENOTDIR},
    };
    struct spool_file file;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (unsigned lease = 0; lease < 2; lease++)
            assert_int_equal(spool_open_message(&f->spool, rows[i].path, lease, &file),
                             rows[i].result);
    assert_int_equal(spool_open_message(&f->spool, "new/folder/inner", false, &file), 0);
    assert_int_equal(file.identity.size, 1);
    assert_int_equal(file.nlink, 1);
    close(file.fd);
}

static void a_lease_tells_of_writers_and_keeps_them_out(void **state)
{
    struct fixture *f = *state;
    struct spool_file file;
    put(f, "new/file", "x");
    int writer = openat(f->spool.new_fd, "file", O_WRONLY);
    assert_true(writer >= 0);
    assert_int_equal(spool_open_message(&f->spool, "new/file", true, &file), 0);
    assert_true(file.has_writer && !file.leased);
    close(file.fd);
    close(writer);
    signal(SIGIO, SIG_IGN);
    assert_int_equal(spool_open_message(&f->spool, "new/file", true, &file), 0);
    assert_true(file.leased && !file.has_writer);
    assert_int_equal(openat(f->spool.new_fd, "file", O_WRONLY | O_NONBLOCK), -1);
    assert_int_equal(errno, EWOULDBLOCK);
    close(file.fd);
    writer = openat(f->spool.new_fd, "file", O_WRONLY | O_NONBLOCK);
    assert_true(writer >= 0);
    close(writer);
    signal(SIGIO, SIG_DFL);
}

static void unlink_removes_only_the_very_file(void **state)
{
    struct fixture *f = *state;
    put(f, "new/a", "one");
    struct file_identity one = identity_of(f, "new/a");
    put(f, "tmp/a", "two");
    assert_int_equal(renameat(f->spool.tmp_fd, "a", f->spool.new_fd, "a"), 0);
    assert_int_equal(spool_unlink(&f->spool, "new/a", &one), -ESTALE);
    assert_string_equal(get(f, "new/a"), "two");
    struct file_identity two = identity_of(f, "new/a");
    assert_false(file_identity_equal(&one, &two));
    assert_int_equal(spool_unlink(&f->spool, "new/a", &two), 0);
    assert_int_equal(spool_unlink(&f->spool, "new/a", &two), -ENOENT);
}

static void a_file_that_was_rewritten_in_place_is_another(void **state)
{
    struct fixture *f = *state;
    put(f, "new/a", "one");
    struct file_identity one = identity_of(f, "new/a");
    put(f, "new/a", "longer");
    assert_int_equal(spool_unlink(&f->spool, "new/a", &one), -ESTALE);
    assert_string_equal(get(f, "new/a"), "longer");
}

static void identity_outlives_a_new_number_of_the_device(void **state)
{
    struct fixture *f = *state;
    put(f, "new/a", "x");
    struct file_identity one = identity_of(f, "new/a"), rebooted = one;
    rebooted.dev++;
    assert_true(file_identity_equal(&one, &rebooted));
    rebooted.ino++;
    assert_false(file_identity_equal(&one, &rebooted));
}

static void move_keeps_identity_and_makes_the_folder(void **state)
{
    struct fixture *f = *state;
    char to[SPOOL_PATH_MAX];
    spool_deferred_path(1700000000000000, to);
    put(f, "new/a", "one");
    struct file_identity one = identity_of(f, "new/a");
    assert_int_equal(spool_move(&f->spool, "new/a", to, &one, true), 0);
    assert_null(get(f, "new/a"));
    assert_string_equal(get(f, to), "one");
    struct file_identity moved = identity_of(f, to);
    assert_true(file_identity_equal(&one, &moved));
    assert_int_equal(spool_sync_folder_of(&f->spool, to), 0);
    assert_int_equal(spool_sync_folder_of(&f->spool, "new/a"), 0);
    assert_int_equal(spool_move(&f->spool, "new/a", to, &one, false), -ENOENT);
    char hold[SPOOL_PATH_MAX];
    spool_hold_path(1700000000000000, hold);
    assert_int_equal(spool_move(&f->spool, to, hold, &one, false), 0);
    assert_string_equal(get(f, hold), "one");
}

/* A writer may remove its subfolder of new/ once it is empty. */
static void a_folder_that_a_file_has_left_may_be_gone(void **state)
{
    struct fixture *f = *state;
    char to[SPOOL_PATH_MAX];
    spool_deferred_path(1700000000000000, to);
    assert_int_equal(mkdirat(f->spool.new_fd, "sub", 0700), 0);
    put(f, "new/sub/a", "one");
    struct file_identity one = identity_of(f, "new/sub/a");
    assert_int_equal(spool_move(&f->spool, "new/sub/a", to, &one, true), 0);
    assert_int_equal(unlinkat(f->spool.new_fd, "sub", AT_REMOVEDIR), 0);
    assert_int_equal(spool_sync_folder_of(&f->spool, "new/sub/a"), -ENOENT);
    assert_int_equal(spool_sync_left_folder_of(&f->spool, "new/sub/a"), 0);
    assert_int_equal(spool_sync_left_folder_of(&f->spool, to), 0);
    assert_int_equal(spool_sync_left_folder_of(&f->spool, "elsewhere/a"), -EINVAL);
}

/* ENOENT would say that the file is gone, and its message would be forgotten. */
static void a_folder_that_has_vanished_is_not_a_file_that_has(void **state)
{
    struct fixture *f = *state;
    char to[SPOOL_PATH_MAX];
    spool_deferred_path(1700000000000000, to);
    put(f, "new/a", "one");
    struct file_identity one = identity_of(f, "new/a");
    assert_int_equal(unlinkat(f->spool.root_fd, "deferred", AT_REMOVEDIR), 0);
    assert_int_equal(unlinkat(f->spool.root_fd, "hold", AT_REMOVEDIR), 0);
    assert_int_equal(spool_move(&f->spool, "new/a", to, &one, true), -EIO);
    assert_int_equal(spool_move(&f->spool, "new/a", "hold/a", &one, true), -EIO);
    assert_string_equal(get(f, "new/a"), "one");
}

static void move_never_overwrites(void **state)
{
    struct fixture *f = *state;
    put(f, "new/a", "one");
    put(f, "hold/a", "old");
    struct file_identity one = identity_of(f, "new/a");
    assert_int_equal(spool_move(&f->spool, "new/a", "hold/a", &one, true), -EEXIST);
    assert_string_equal(get(f, "new/a"), "one");
    assert_string_equal(get(f, "hold/a"), "old");
    one.size++;
    assert_int_equal(spool_move(&f->spool, "new/a", "hold/b", &one, false), -ESTALE);
    assert_int_equal(spool_move(&f->spool, "new/a", "hold/b", &one, true), -ESTALE);
    assert_string_equal(get(f, "new/a"), "one");
}

static void bad_files_get_a_reason_and_keep_their_predecessors(void **state)
{
    struct fixture *f = *state;
    put(f, "new/a", "one");
    assert_int_equal(spool_move_to_bad(&f->spool, "new/a", NULL, "no\nrecipients"), 0);
    put(f, "new/a", "two");
    struct file_identity two = identity_of(f, "new/a");
    assert_int_equal(spool_move_to_bad(&f->spool, "new/a", &two, "again"), 0);
    assert_int_equal(mkdirat(f->spool.new_fd, "sub", 0700), 0);
    put(f, "new/sub/a", "three");
    assert_int_equal(spool_move_to_bad(&f->spool, "new/sub/a", NULL, "in a folder"), 0);
    assert_string_equal(get(f, "bad/a"), "one");
    assert_string_equal(get(f, "bad/a.why"), "no?recipients\n");
    assert_string_equal(get(f, "bad/a.2"), "two");
    assert_string_equal(get(f, "bad/a.2.why"), "again\n");
    assert_string_equal(get(f, "bad/a.3"), "three");
    assert_string_equal(get(f, "bad/a.3.why"), "in a folder\n");
}

static void bad_takes_many_of_one_name_and_long_names(void **state)
{
    struct fixture *f = *state;
    char name[256], path[300];
    for (int i = 0; i < 60; i++) {
        put(f, "new/a", "x");
        assert_int_equal(spool_move_to_bad(&f->spool, "new/a", NULL, "why"), 0);
    }
    memset(name, 'n', 255);
    name[255] = '\0';
    snprintf(path, sizeof path, "new/%s", name);
    for (int i = 0; i < 3; i++) {
        close(openat(f->spool.new_fd, name, O_CREAT | O_WRONLY, 0600));
        assert_int_equal(spool_move_to_bad(&f->spool, path, NULL, "why"), 0);
    }
}

static void bad_takes_what_cannot_be_opened(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(symlinkat("/etc/passwd", f->spool.new_fd, "link"), 0);
    assert_int_equal(mkfifoat(f->spool.new_fd, "fifo", 0600), 0);
    assert_int_equal(spool_move_to_bad(&f->spool, "new/link", NULL, "symbolic link"), 0);
    assert_int_equal(spool_move_to_bad(&f->spool, "new/fifo", NULL, "FIFO"), 0);
    assert_int_equal(spool_move_to_bad(&f->spool, "new/gone", NULL, "gone"), -ENOENT);
    assert_null(get(f, "bad/gone.why"));
    struct stat st;
    assert_int_equal(fstatat(f->spool.bad_fd, "link", &st, AT_SYMLINK_NOFOLLOW), 0);
    assert_true(S_ISLNK(st.st_mode));
}

static void messages_of_our_own_are_drafted_then_published(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(symlinkat("../lock", f->spool.tmp_fd, "dsn-1.tmp"), 0);
    assert_int_equal(spool_write_draft(&f->spool, "dsn-1", bytes_of("first"), true), 0);
    assert_string_not_equal(get(f, "lock"), "first");
    assert_null(get(f, "new/dsn-1"));
    assert_int_equal(spool_sync_drafts(&f->spool), 0);
    assert_int_equal(spool_publish_draft(&f->spool, "dsn-1"), 0);
    assert_int_equal(spool_sync_new(&f->spool), 0);
    assert_string_equal(get(f, "new/dsn-1"), "first");
    assert_null(get(f, "tmp/dsn-1.tmp"));
    assert_int_equal(spool_publish_draft(&f->spool, "dsn-1"), -ENOENT);
    /* Nothing is overwritten. */
    assert_int_equal(spool_write_draft(&f->spool, "dsn-1", bytes_of("second"), true), 0);
    assert_int_equal(spool_publish_draft(&f->spool, "dsn-1"), 0);
    assert_string_equal(get(f, "new/dsn-1"), "first");
    assert_null(get(f, "tmp/dsn-1.tmp"));
    assert_int_equal(spool_write_draft(&f->spool, "dsn-2", bytes_of("x"), false), 0);
    assert_int_equal(spool_drop_draft(&f->spool, "dsn-2"), 0);
    assert_int_equal(spool_drop_draft(&f->spool, "dsn-2"), -ENOENT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(opening_makes_the_folders),
        TEST(a_second_router_is_refused_and_told_who_holds_it),
        TEST(the_lock_dies_with_its_process),
        TEST(what_is_no_spool_is_refused),
        cmocka_unit_test(names_of_files_in_progress_are_ignored),
        TEST(paths_outside_the_contract_are_refused),
        TEST(only_regular_files_are_opened),
        TEST(a_lease_tells_of_writers_and_keeps_them_out),
        TEST(unlink_removes_only_the_very_file),
        TEST(a_file_that_was_rewritten_in_place_is_another),
        TEST(identity_outlives_a_new_number_of_the_device),
        TEST(move_keeps_identity_and_makes_the_folder),
        TEST(a_folder_that_a_file_has_left_may_be_gone),
        TEST(a_folder_that_has_vanished_is_not_a_file_that_has),
        TEST(move_never_overwrites),
        TEST(bad_files_get_a_reason_and_keep_their_predecessors),
        TEST(bad_takes_many_of_one_name_and_long_names),
        TEST(bad_takes_what_cannot_be_opened),
        TEST(messages_of_our_own_are_drafted_then_published),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
