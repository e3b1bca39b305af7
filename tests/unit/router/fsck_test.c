/* Each kind of difference between journal and files: found, repaired where there is a repair, and
 * then gone. What a router makes of a repaired spool is in tests/e2e/fsck_test.py. */
#include "base/clock.h"
#include "queue/queue_id.h"
#include "queue/waiting_set.h"
#include "router/fsck.h"
#include "tests/unit/cmocka_prelude.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

static const char mail[] = "X-Sender: <s@o.test>\nX-Receiver: <r@d.test>\nSubject: a\n\nText.\n";
static const uint64_t known_id = 1600000000000001; /* of the one message that is recorded */

struct fixture {
    char root[32], deferred[SPOOL_PATH_MAX]; /* where the recorded message lies */
    int root_fd;
    struct config *config;
    struct fsck fsck;
};

static void put(struct fixture *f, const char *path, const char *text)
{
    int fd = openat(f->root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void put_deferred(struct fixture *f, uint64_t id)
{
    char path[SPOOL_PATH_MAX], folder[SPOOL_PATH_MAX];
    spool_deferred_path(id, path);
    snprintf(folder, sizeof folder, "%.*s", (int)strlen("deferred/xx"), path);
    (void)mkdirat(f->root_fd, folder, 0700);
    put(f, path, mail);
}

static void record(struct fixture *f, const struct spool *spool)
{
    char why[SPOOL_WHY_MAX];
    struct journal_options options = {.sync = true, .segment_len = 65536};
    struct recipient_state recipient = {.status = RECIPIENT_PENDING, .attempts = 1};
    struct journal_message message = {
        .id = known_id, .path = f->deferred, .num_recipients = 1, .recipients = &recipient};
    struct waiting_set none = {0};
    struct journal *journal = journal_open(spool, &options, waiting_set_on_live, &none, why);
    assert_non_null(journal);
    assert_int_equal(file_identity_at(f->root_fd, f->deferred, &message.identity), 0);
    assert_true(journal_append_deferred(journal, &message));
    assert_int_equal(journal_commit(journal), 0);
    journal_close(journal);
    waiting_set_fini(&none);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char why[CONFIG_WHY_MAX + SPOOL_WHY_MAX], text[128];
    struct spool spool;
    snprintf(f->root, sizeof f->root, "/tmp/fsck-test-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    snprintf(text, sizeof text, "hostname = \"sender.test\"\nspool = \"%s\"\n", f->root);
    f->config = config_parse(text, "test", why);
    assert_non_null(f->config);
    assert_true(spool_open(&spool, f->root, true, why));
    f->root_fd = open(f->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    spool_deferred_path(known_id, f->deferred);
    put_deferred(f, known_id);
    record(f, &spool);
    spool_close(&spool);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[64];
    fsck_fini(&f->fsck);
    config_free(f->config);
    close(f->root_fd);
    snprintf(command, sizeof command, "rm -rf %s", f->root);
    int status = system(command);
    free(f);
    return status;
}

static void find(struct fixture *f)
{
    char why[SPOOL_WHY_MAX];
    fsck_fini(&f->fsck);
    assert_int_equal(fsck_find(&f->fsck, f->config, why), EX_OK);
}

static void assert_only(struct fixture *f, enum fsck_kind kind)
{
    find(f);
    assert_int_equal(f->fsck.num, 1);
    assert_int_equal(f->fsck.findings[0].kind, kind);
}

static void repair(struct fixture *f)
{
    char why[SPOOL_WHY_MAX];
    assert_int_equal(fsck_repair(&f->fsck, why), EX_OK);
}

/* The one difference of this kind goes with its repair. */
static void assert_repairs(struct fixture *f, enum fsck_kind kind)
{
    assert_only(f, kind);
    assert_non_null(fsck_kind_text(kind)->repair);
    repair(f);
    assert_true(f->fsck.findings[0].repaired);
    find(f);
    assert_int_equal(f->fsck.num, 0);
}

/* The one difference of this kind stays, and is said to. */
static void assert_leaves(struct fixture *f, enum fsck_kind kind)
{
    assert_only(f, kind);
    assert_null(fsck_kind_text(kind)->repair);
    repair(f);
    assert_false(f->fsck.findings[0].repaired);
    assert_only(f, kind);
}

static void nothing_differs_in_a_sound_spool(void **state)
{
    find(*state);
    assert_int_equal(((struct fixture *)*state)->fsck.num, 0);
}

static void an_unknown_file_is_recorded(void **state)
{
    put_deferred(*state, known_id + 1);
    assert_repairs(*state, FSCK_UNKNOWN_FILE);
}

static void an_unknown_held_file_is_recorded(void **state)
{
    char path[SPOOL_PATH_MAX];
    spool_hold_path(known_id + 1, path);
    put(*state, path, mail);
    assert_repairs(*state, FSCK_UNKNOWN_HELD);
}

static void the_entry_of_a_missing_file_is_forgotten(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(unlinkat(f->root_fd, f->deferred, 0), 0);
    assert_repairs(f, FSCK_MISSING_FILE);
}

/* As a restored backup: another inode, the same size and time. */
static void a_copy_takes_the_place_of_the_recorded_file(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_int_equal(fstatat(f->root_fd, f->deferred, &st, 0), 0);
    put(f, "tmp/copy.tmp", mail);
    const struct timespec times[2] = {st.st_atim, st.st_mtim};
    assert_int_equal(utimensat(f->root_fd, "tmp/copy.tmp", times, 0), 0);
    assert_int_equal(renameat(f->root_fd, "tmp/copy.tmp", f->root_fd, f->deferred), 0);
    assert_repairs(f, FSCK_COPY);
}

static void another_file_under_the_id_is_recorded(void **state)
{
    struct fixture *f = *state;
    put(f, f->deferred, "X-Sender: <s@o.test>\nX-Receiver: <other@d.test>\n\nOther text.\n");
    assert_repairs(f, FSCK_OTHER_FILE);
}

static void a_file_in_the_wrong_folder_is_moved(void **state)
{
    struct fixture *f = *state;
    char held[SPOOL_PATH_MAX];
    spool_hold_path(known_id, held);
    assert_int_equal(renameat(f->root_fd, f->deferred, f->root_fd, held), 0);
    assert_repairs(f, FSCK_WRONG_FOLDER);
    assert_int_equal(faccessat(f->root_fd, f->deferred, F_OK, 0), 0);
}

static void the_second_file_of_an_id_gets_its_own(void **state)
{
    char held[SPOOL_PATH_MAX];
    spool_hold_path(known_id, held);
    put(*state, held, mail);
    assert_repairs(*state, FSCK_KNOWN_TWICE);
}

static void a_file_without_an_id_gets_one(void **state)
{
    put(*state, "hold/no-id", mail);
    assert_repairs(*state, FSCK_NO_ID);
}

/* The clock may have been set back since the ids were given, and the journal may not know them. */
static void an_id_that_is_given_is_above_those_of_unknown_files(void **state)
{
    struct fixture *f = *state;
    uint64_t future_id = (uint64_t)clock_wall_us() + 86400 * UINT64_C(1000000);
    put_deferred(f, future_id);
    put(f, "hold/no-id", mail);
    find(f);
    assert_int_equal(f->fsck.num, 2);
    repair(f);
    find(f);
    assert_int_equal(f->fsck.num, 0);
    char path[SPOOL_PATH_MAX];
    spool_hold_path(future_id + 1, path);
    assert_int_equal(faccessat(f->root_fd, path, F_OK, 0), 0);
}

static void a_bad_file_without_a_reason_gets_one(void **state)
{
    put(*state, "bad/x", mail);
    assert_repairs(*state, FSCK_BAD_WITHOUT_WHY);
}

static void a_reason_without_a_file_is_left(void **state)
{
    put(*state, "bad/x.why", "why\n");
    assert_leaves(*state, FSCK_WHY_WITHOUT_FILE);
}

static void an_old_file_in_tmp_is_left(void **state)
{
    struct fixture *f = *state;
    const struct timespec old[2] = {{.tv_sec = 1}, {.tv_sec = 1}};
    put(f, "tmp/half", "half");
    assert_int_equal(utimensat(f->root_fd, "tmp/half", old, 0), 0);
    assert_leaves(f, FSCK_OLD_IN_TMP);
}

static void a_segment_that_was_set_aside_is_left(void **state)
{
    put(*state, "journal/00000009.segment.damaged", "?");
    assert_leaves(*state, FSCK_SEGMENT_SET_ASIDE);
}

static void the_socket_of_a_router_that_was_killed_is_removed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(mknodat(f->root_fd, "control", S_IFSOCK | 0600, 0), 0);
    assert_repairs(f, FSCK_CONTROL_LEFT);
}

static void a_missing_folder_is_made(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(unlinkat(f->root_fd, "hold", AT_REMOVEDIR), 0);
    assert_repairs(f, FSCK_FOLDER_MISSING);
}

static void a_folder_that_others_may_write_in_is_closed(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(fchmodat(f->root_fd, "bad", 0777, 0), 0);
    assert_repairs(f, FSCK_FOLDER_OPEN);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_differs_in_a_sound_spool),
        TEST(an_unknown_file_is_recorded),
        TEST(an_unknown_held_file_is_recorded),
        TEST(the_entry_of_a_missing_file_is_forgotten),
        TEST(a_copy_takes_the_place_of_the_recorded_file),
        TEST(another_file_under_the_id_is_recorded),
        TEST(a_file_in_the_wrong_folder_is_moved),
        TEST(the_second_file_of_an_id_gets_its_own),
        TEST(a_file_without_an_id_gets_one),
        TEST(an_id_that_is_given_is_above_those_of_unknown_files),
        TEST(a_bad_file_without_a_reason_gets_one),
        TEST(a_reason_without_a_file_is_left),
        TEST(an_old_file_in_tmp_is_left),
        TEST(a_segment_that_was_set_aside_is_left),
        TEST(the_socket_of_a_router_that_was_killed_is_removed),
        TEST(a_missing_folder_is_made),
        TEST(a_folder_that_others_may_write_in_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
