/* A segment that is gone: noticed by the gap that it leaves, said in words, and only then. */
#include "journal_fixture.h"

enum { LOG_MAX = 4096 };

/* Opens the journal again; what it says goes to out. */
static void open_and_listen(struct fixture *f, char out[LOG_MAX])
{
    char path[96];
    snprintf(path, sizeof path, "%s/log", f->root);
    int log = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600), before = dup(2);
    assert_true(log >= 0 && before >= 0 && dup2(log, 2) == 2);
    open_journal(f);
    assert_int_equal(dup2(before, 2), 2);
    close(before);
    ssize_t len = pread(log, out, LOG_MAX - 1, 0);
    assert_true(len >= 0);
    out[len] = '\0';
    close(log);
}

/* Three segments with live records, and the journal closed. */
static void fill_three(struct fixture *f)
{
    uint64_t id = 1;
    while (f->journal->num_segments < 3) {
        assert_true(put_deferred(f->journal, id++, 1, 2));
        assert_int_equal(journal_commit(f->journal), 0);
    }
    f->last_id = id - 1;
    journal_close(f->journal);
    f->journal = NULL;
}

static void a_missing_segment_is_named_in_the_log(void **state)
{
    struct fixture *f = *state;
    char log[LOG_MAX];
    fill_three(f);
    uint64_t num = f->last_id;
    assert_int_equal(unlinkat(f->spool.journal_fd, "00000002.segment", 0), 0);
    open_and_listen(f, log);
    assert_non_null(strstr(log, "missing: 1 segment between 00000001.segment (sequence number 1) "
                                "and 00000003.segment (3)"));
    /* The rest is read. */
    assert_in_range(f->num_seen, 1, num - 1);
    assert_non_null(find(f, 1));
    assert_int_equal(f->last_id, num);
}

static void nothing_is_missing_after_many_starts(void **state)
{
    struct fixture *f = *state;
    char log[LOG_MAX];
    for (uint64_t id = 1; id < 30; id++) {
        /* Every other start stores nothing, so its segment goes at the next. */
        if (id % 2)
            assert_true(put_deferred(f->journal, id, 1, 1));
        journal_close(f->journal);
        open_and_listen(f, log);
        assert_null(strstr(log, "missing"));
    }
}

static void a_segment_that_was_rescued_is_not_missed(void **state)
{
    struct fixture *f = *state;
    char log[LOG_MAX];
    assert_true(put_deferred(f->journal, 1, 1, 1));
    reopen(f);
    /* The second fails, and so does the one that its records go to. */
    for (uint64_t id = 2; id < 5; id++) {
        assert_true(put_deferred(f->journal, id, 1, 1));
        syncs_to_fail = 2;
        assert_true(journal_commit(f->journal) < 0);
    }
    syncs_to_fail = 0;
    int result = -1;
    for (int i = 0; result != 0 && i < 10; i++)
        result = journal_commit(f->journal);
    assert_int_equal(result, 0);
    assert_true(f->journal->segments[1]->seed.seq > 2);
    journal_close(f->journal);
    open_and_listen(f, log);
    assert_null(strstr(log, "missing"));
    assert_int_equal(f->num_seen, 4);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_missing_segment_is_named_in_the_log),
        TEST(nothing_is_missing_after_many_starts),
        TEST(a_segment_that_was_rescued_is_not_missed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
