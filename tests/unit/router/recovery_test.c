/* What a start makes of files that no record knows. */
#include "queue/queue_id.h"
#include "router/recovery.h"
#include "tests/unit/cmocka_prelude.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static unsigned num_claims;

static void count_claim(void *ctx, const struct file_identity *identity)
{
    (void)ctx;
    (void)identity;
    num_claims++;
}

/* What FUSE, overlay and some network file systems give: neither inode numbers that statx knows nor
 * types. The test is linked with --wrap=readdir. */
static bool entries_are_vague;
struct dirent *__real_readdir(DIR *dir);
struct dirent *__wrap_readdir(DIR *dir);

struct dirent *__wrap_readdir(DIR *dir)
{
    struct dirent *entry = __real_readdir(dir);
    if (entry && entries_are_vague) {
        entry->d_ino += 1000000;
        entry->d_type = DT_UNKNOWN;
    }
    return entry;
}

static void put_file(const struct spool *spool, const char *path)
{
    int fd = openat(spool->root_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
}

struct fixture {
    char root[32], path[SPOOL_PATH_MAX];
    struct spool spool;
    struct waiting_set known;
    struct journal *journal;
    struct table table;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    entries_are_vague = false;
    num_claims = 0;
    char why[SPOOL_WHY_MAX];
    struct journal_options options = {.sync = true, .segment_len = 65536};
    snprintf(f->root, sizeof f->root, "/tmp/recovery-test-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    assert_true(spool_open(&f->spool, f->root, true, why));
    f->journal = journal_open(&f->spool, &options, waiting_set_on_live, &f->known, why);
    assert_non_null(f->journal);
    table_init(&f->table);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[64];
    table_fini(&f->table);
    journal_close(f->journal);
    spool_close(&f->spool);
    snprintf(command, sizeof command, "rm -rf %s", f->root);
    int status = system(command);
    free(f);
    return status;
}

static void put_deferred(struct fixture *f, uint64_t id)
{
    char folder[SPOOL_PATH_MAX];
    spool_deferred_path(id, f->path);
    snprintf(folder, sizeof folder, "%.*s", (int)strlen("deferred/xx"), f->path);
    assert_int_equal(mkdirat(f->spool.root_fd, folder, 0700), 0);
    put_file(&f->spool, f->path);
}

static void recover(struct fixture *f)
{
    char why[SPOOL_WHY_MAX];
    assert_true(
        recovery_finish(&f->known, &f->spool, &f->table, f->journal, count_claim, NULL, why));
}

/* A journal that was lost or restored, and a clock that was set back: new mail under the id of a
 * file that waits would be confounded with it. */
static void the_id_of_a_file_that_the_journal_does_not_know_is_not_given_again(void **state)
{
    static const uint64_t waiting_id = 1900000000000001, held_id = 1900000000000007;
    struct fixture *f = *state;
    put_deferred(f, waiting_id);
    spool_hold_path(held_id, f->path);
    put_file(&f->spool, f->path);
    assert_int_equal(journal_highest_id(f->journal), 0);
    recover(f);
    assert_non_null(table_find(&f->table, waiting_id));
    assert_true(journal_highest_id(f->journal) == held_id);
}

/* Moved back into new/ it would be taken for new mail, and who was served would be served again. */
static void a_journal_older_than_the_files_does_not_move_them_back_into_new(void **state)
{
    struct fixture *f = *state;
    struct recipient_state recipient = {.status = RECIPIENT_PENDING, .attempts = 1};
    struct journal_message message = {
        .id = 1900000000000001, .path = "new/mail", .num_recipients = 1, .recipients = &recipient};
    put_deferred(f, message.id);
    int fd = openat(f->spool.root_fd, f->path, O_PATH | O_CLOEXEC);
    assert_int_equal(file_identity_read(fd, &message.identity, NULL, NULL), 0);
    close(fd);
    waiting_set_on_live(&f->known, &message);
    recover(f);
    const struct waiting *waiting = table_find(&f->table, message.id);
    assert_non_null(waiting);
    assert_string_equal(waiting->path, f->path);
    assert_int_equal(faccessat(f->spool.root_fd, f->path, F_OK, 0), 0);
}

static void record(struct fixture *f, uint64_t id, const char *path)
{
    struct recipient_state recipient = {.status = RECIPIENT_PENDING, .attempts = 1};
    struct journal_message message = {
        .id = id, .path = path, .num_recipients = 1, .recipients = &recipient};
    assert_int_equal(file_identity_at(f->spool.root_fd, path, &message.identity), 0);
    waiting_set_on_live(&f->known, &message);
}

/* Not met, it would be sent again as new mail. */
static void recorded_files_are_met_where_folders_say_little_of_them(void **state)
{
    struct fixture *f = *state;
    char deferred[SPOOL_PATH_MAX];
    assert_int_equal(mkdirat(f->spool.new_fd, "sub", 0700), 0);
    put_file(&f->spool, "new/a");
    put_file(&f->spool, "new/sub/b");
    put_deferred(f, 1900000000000003);
    snprintf(deferred, sizeof deferred, "%s", f->path);
    record(f, 1900000000000001, "new/a");
    record(f, 1900000000000002, "new/sub/b");
    record(f, 1900000000000003, deferred);
    entries_are_vague = true;
    f->spool.entries_have_inodes = false;
    recover(f);
    assert_int_equal(num_claims, 2);
    for (uint64_t id = 1900000000000001; id <= 1900000000000003; id++)
        assert_true(table_find(&f->table, id)->is_met);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_id_of_a_file_that_the_journal_does_not_know_is_not_given_again),
        TEST(recorded_files_are_met_where_folders_say_little_of_them),
        TEST(a_journal_older_than_the_files_does_not_move_them_back_into_new),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
