/* Rules of segments: they roll over under many threads, are compacted and used again; nothing is
 * lost when the disk is full or a sync fails. */
#include "tests/unit/queue/journal_fixture.h"

struct appender {
    struct journal *journal;
    uint64_t first, num;
    pthread_t thread;
    _Atomic bool *done;
};

static void *append_many(void *arg)
{
    struct appender *a = arg;
    for (uint64_t i = 0; i < a->num; i++) {
        uint64_t id = a->first + i;
        assert_true(put_intent(a->journal, id, 1, 0));
        assert_true(
            put_outcome(a->journal, id, 1, 0, id % 2 ? OUTCOME_DELIVERED : OUTCOME_DEFERRED));
        if (id % 4 == 1)
            assert_true(journal_append_removed(a->journal, id));
        if (id % 4 == 0)
            assert_true(put_deferred(a->journal, id, 1, 2));
    }
    return NULL;
}

static void four_threads_roll_over_and_commit_meanwhile(void **state)
{
    struct fixture *f = *state;
    enum { THREADS = 4, EACH = 5000 };
    struct appender appenders[THREADS];
    for (uint64_t i = 0; i < THREADS; i++) {
        appenders[i] = (struct appender){.journal = f->journal, .first = 1 + i * EACH, .num = EACH};
        assert_int_equal(pthread_create(&appenders[i].thread, NULL, append_many, &appenders[i]), 0);
    }
    for (int i = 0; i < 200; i++)
        assert_int_equal(journal_commit(f->journal), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(appenders[i].thread, NULL);
    f->bitmap_len = THREADS * EACH + 1;
    f->bitmap = calloc(1, f->bitmap_len);
    reopen(f);
    assert_int_equal(f->num_seen, THREADS * EACH * 3 / 4);
    for (uint64_t id = 1; id < f->bitmap_len; id++) {
        unsigned want = id % 4 == 1   ? 0
                        : id % 4 == 3 ? 1 + RECIPIENT_DELIVERED
                                      : 1 + RECIPIENT_PENDING;
        if (f->bitmap[id] != want)
            fail_msg("id %llu: %u, not %u", (unsigned long long)id, f->bitmap[id], want);
    }
}

static void dead_segments_are_used_again(void **state)
{
    struct fixture *f = *state;
    assert_true(put_deferred(f->journal, 1, 3, 1)); /* a live old record in the first segment */
    for (uint64_t id = 2; id < 20000; id++) {
        assert_true(put_intent(f->journal, id, 1, 0));
        assert_true(put_outcome(f->journal, id, 1, 0, OUTCOME_DELIVERED));
        assert_true(journal_append_removed(f->journal, id));
        if (id % 100 == 0)
            assert_int_equal(journal_commit(f->journal), 0);
        if (id % 5000 == 0)
            assert_true(num_files(f) < 10);
    }
    reopen(f);
    assert_int_equal(f->num_seen, 1);
    assert_int_equal(f->seen[0].id, 1);
    assert_int_equal(f->seen[0].recipients[0].attempts, 3);
    assert_int_equal(journal_highest_id(f->journal), 19999);
}

/* A start leaves the segment of the run before as it is: a router that is killed again and again
 * must not fill the disk with nearly empty ones, nor read them all at each start. */
static void nearly_empty_segments_of_many_starts_do_not_pile_up(void **state)
{
    struct fixture *f = *state;
    for (uint64_t id = 1; id <= 40; id++) {
        assert_true(put_deferred(f->journal, id, 1, 1));
        reopen(f);
        assert_int_equal(f->num_seen, id);
        assert_true(num_files(f) < 8);
    }
}

static void compaction_keeps_every_live_state(void **state)
{
    struct fixture *f = *state;
    enum { IDS = 500, ROUNDS = 60 };
    for (uint16_t round = 1; round <= ROUNDS; round++)
        for (uint64_t id = 1; id <= IDS; id++) {
            if (id % 10 == 0 && round > 20) {
                if (round == 21)
                    assert_true(journal_append_removed(f->journal, id));
                continue;
            }
            assert_true(put_intent(f->journal, id, round, 0));
            assert_true(put_outcome(f->journal, id, round, 0, OUTCOME_DEFERRED));
            assert_true(put_deferred(f->journal, id, round, 1));
            if (id % 50 == 1)
                assert_int_equal(journal_commit(f->journal), 0);
        }
    for (int i = 0; i < 20; i++)
        assert_int_equal(journal_commit(f->journal), 0);
    assert_true(num_files(f) < 12);
    for (int twice = 0; twice < 2; twice++) {
        reopen(f);
        assert_int_equal(f->num_seen, IDS * 9 / 10);
        for (size_t i = 0; i < SEEN_MAX; i++) {
            assert_int_equal(f->seen[i].recipients[0].attempts, ROUNDS);
            assert_int_equal(f->seen[i].recipients[0].status, RECIPIENT_PENDING);
        }
    }
}

/* The highest id must not be forgotten with the segments that named it. */
static void the_highest_id_outlives_its_segment(void **state)
{
    struct fixture *f = *state;
    uint64_t highest = UINT64_C(1) << 60;
    assert_true(journal_append_removed(f->journal, highest));
    for (uint64_t id = 1; id < 8000; id++) {
        assert_true(put_intent(f->journal, id, 1, 0));
        assert_true(journal_append_removed(f->journal, id));
        if (id % 50 == 0)
            assert_int_equal(journal_commit(f->journal), 0);
    }
    for (int i = 0; i < 3; i++) {
        reopen(f);
        assert_true(journal_highest_id(f->journal) == highest);
    }
}

static void a_failed_sync_is_reported_and_then_repaired(void **state)
{
    struct fixture *f = *state;
    for (uint64_t id = 1; id <= 20; id++)
        assert_true(put_deferred(f->journal, id, 1, 1));
    assert_true(journal_append_removed(f->journal, 20));
    syncs_to_fail = 1;
    assert_int_equal(journal_commit(f->journal), -EIO);
    assert_true(put_deferred(f->journal, 21, 1, 1));
    int result = journal_commit(f->journal);
    for (int i = 0; result != 0 && i < 3; i++)
        result = journal_commit(f->journal);
    assert_int_equal(result, 0);
    /* The file that could not be written is gone, its records are not. */
    struct stat st;
    assert_int_equal(fstatat(f->spool.journal_fd, "00000001.segment", &st, 0), -1);
    reopen(f);
    assert_int_equal(f->num_seen, 20);
    assert_null(find(f, 20));
    assert_non_null(find(f, 21));
}

static void syncs_that_keep_failing_lose_nothing_in_memory(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 6; i++) {
        assert_true(put_deferred(f->journal, (uint64_t)i + 1, 1, 1));
        syncs_to_fail = 100;
        assert_true(journal_commit(f->journal) < 0);
    }
    syncs_to_fail = 0;
    int result = -1;
    for (int i = 0; result != 0 && i < 10; i++)
        result = journal_commit(f->journal);
    assert_int_equal(result, 0);
    reopen(f);
    assert_int_equal(f->num_seen, 6);
}

static void without_sync_no_sync_is_asked_for(void **state)
{
    struct fixture *f = *state;
    f->options.sync = false;
    reopen(f);
    syncs_to_fail = 1;
    for (uint64_t id = 1; id < 3000; id++) {
        assert_true(put_deferred(f->journal, id, 1, 1));
        if (id % 100 == 0)
            assert_int_equal(journal_commit(f->journal), 0);
    }
    assert_int_equal(syncs_to_fail, 1);
    syncs_to_fail = 0;
    reopen(f);
    assert_int_equal(f->num_seen, 2999);
}

/* A tiny disk of its own under journal/; skips without root. */
static void mount_tiny(struct fixture *f, const char *options)
{
    char path[128], why[SPOOL_WHY_MAX];
    snprintf(path, sizeof path, "%s/journal", f->root);
    journal_close(f->journal);
    f->journal = NULL;
    spool_close(&f->spool);
    bool mounted = mount("tmpfs", path, "tmpfs", 0, options) == 0;
    assert_true(spool_open(&f->spool, f->root, true, why));
    if (!mounted) {
        print_message("only root can make a full disk: %s\n", strerror(errno));
        skip();
    }
    open_journal(f);
}

static void remount_tiny(struct fixture *f, const char *options)
{
    char path[128];
    snprintf(path, sizeof path, "%s/journal", f->root);
    assert_int_equal(mount("tmpfs", path, "tmpfs", MS_REMOUNT, options), 0);
}

static int teardown_tiny(void **state)
{
    struct fixture *f = *state;
    char path[128];
    snprintf(path, sizeof path, "%s/journal", f->root);
    if (f->journal)
        journal_close(f->journal);
    f->journal = NULL;
    (void)umount2(path, MNT_DETACH);
    return teardown(state);
}

static void a_full_disk_refuses_and_loses_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 1;
    mount_tiny(f, "size=300k");
    for (; put_deferred(f->journal, id, 1, 1); id++)
        if (id % 100 == 0)
            assert_int_equal(journal_commit(f->journal), 0);
    assert_int_equal(errno, ENOSPC);
    assert_false(put_intent(f->journal, id, 1, 0));
    assert_int_equal(journal_commit(f->journal), 0);
    assert_false(put_intent(f->journal, id, 1, 0));
    remount_tiny(f, "size=600k");
    assert_int_equal(journal_commit(f->journal), 0);
    assert_true(put_intent(f->journal, id, 1, 0));
    reopen(f);
    assert_int_equal(f->num_seen, id);
}

static void no_new_attempt_begins_in_the_last_room(void **state)
{
    struct fixture *f = *state;
    uint64_t id = 1, outcomes = 0;
    mount_tiny(f, "size=100k");
    while (put_intent(f->journal, id, 1, 0))
        id++;
    assert_int_equal(errno, ENOSPC);
    /* A restart on the full disk goes on where the last run stopped. */
    reopen(f);
    assert_int_equal(f->num_seen, id - 1);
    assert_false(put_intent(f->journal, id, 1, 0));
    while (outcomes < id - 1 && put_outcome(f->journal, outcomes + 1, 1, 0, OUTCOME_DELIVERED))
        outcomes++;
    assert_in_range(outcomes, SMALL / 5 / 140, SMALL);
    reopen(f);
    for (uint64_t i = 0; i < outcomes && i < SEEN_MAX; i++)
        assert_int_equal(f->seen[i].recipients[0].status, RECIPIENT_DELIVERED);
}

static void brief_use_goes_on_in_the_newest_segment(void **state)
{
    struct fixture *f = *state;
    assert_true(put_deferred(f->journal, 1, 1, 1));
    journal_close(f->journal);
    unsigned before = num_files(f);
    f->options.brief = true;
    open_journal(f);
    assert_int_equal(f->num_seen, 1);
    uint64_t id = 2;
    assert_true(put_deferred(f->journal, id, 1, 1));
    assert_int_equal(journal_commit(f->journal), 0);
    reopen(f);
    assert_int_equal(f->num_seen, id);
    assert_true(num_files(f) <= before);
    while (f->journal->num_segments < 3)
        assert_true(put_deferred(f->journal, ++id, 1, 1));
    f->options.brief = false;
    reopen(f);
    assert_int_equal(f->num_seen, id);
}

static void two_hundred_thousand_ids_in_seconds(void **state)
{
    struct fixture *f = *state;
    enum { IDS = 200000 };
    f->options.segment_len = 0;
    reopen(f);
    for (uint64_t id = 1; id <= IDS; id++)
        assert_true(put_deferred(f->journal, id * 7919, 1, 1));
    assert_int_equal(journal_commit(f->journal), 0);
    assert_int_equal(f->journal->map.num, IDS);
    assert_true(f->journal->map.cap * sizeof(struct journal_map_entry) <= (size_t)48 * IDS);
    reopen(f);
    assert_int_equal(f->num_seen, IDS);
    assert_int_equal(f->journal->map.num, IDS);
    for (uint64_t id = 1; id <= IDS; id++)
        assert_true(journal_append_removed(f->journal, id * 7919));
    for (int i = 0; i < 40; i++)
        assert_int_equal(journal_commit(f->journal), 0);
    assert_int_equal(f->journal->map.num, 0);
    assert_int_equal(f->journal->map.live_len, 0);
    assert_true(num_files(f) <= 5);
    reopen(f);
    assert_int_equal(f->num_seen, 0);
}

/* A copy of compaction that a `removed` overtook: the id stays dead after its tombstone is freed.
 */
static void a_copy_behind_its_removal_stays_dead(void **state)
{
    struct fixture *f = *state;
    assert_true(put_deferred(f->journal, 1, 1, 1));
    assert_int_equal(journal_commit(f->journal), 0);
    /* Removed, but the journal thread has not seen it yet when it copies. */
    assert_true(journal_append_removed(f->journal, 1));
    struct journal_segment *segment = f->journal->view[0];
    uint64_t offset = JOURNAL_HEAD_LEN, end = segment->scanned;
    assert_true(
        journal_copy_live(f->journal, segment->map, end, &segment->seed, &offset, end, false));
    uint64_t reserved = atomic_load(&segment->reserved);
    assert_int_equal(journal_commit(f->journal), 0);
    assert_int_equal(f->journal->map.num, 0);
    /* A second tombstone stands behind the copy. */
    assert_int_equal(atomic_load(&segment->reserved),
                     reserved + sizeof(struct journal_record_head));
    reopen(f);
    assert_int_equal(f->num_seen, 0);
}

/* Copies what the journal thread believes to count of the first segment, as compaction does. */
static void copy_first_segment(struct fixture *f)
{
    struct journal_segment *segment = f->journal->view[0];
    uint64_t offset = JOURNAL_HEAD_LEN, end = segment->scanned;
    assert_true(
        journal_copy_live(f->journal, segment->map, end, &segment->seed, &offset, end, false));
}

static void a_late_copy_does_not_outrank_what_came_before_it(void **state)
{
    struct fixture *f = *state;
    assert_true(put_deferred(f->journal, 1, 1, 1));
    assert_int_equal(journal_commit(f->journal), 0);
    assert_true(put_deferred(f->journal, 1, 2, 1));
    copy_first_segment(f);
    reopen(f);
    assert_int_equal(f->num_seen, 1);
    assert_int_equal(f->seen[0].recipients[0].attempts, 2);
}

static void a_copy_behind_its_removal_stays_dead_after_a_kill(void **state)
{
    struct fixture *f = *state;
    journal_close(f->journal);
    f->journal = NULL;
    pid_t pid = fork();
    if (pid == 0) {
        open_journal(f);
        assert_true(put_deferred(f->journal, 1, 1, 1));
        assert_int_equal(journal_commit(f->journal), 0);
        assert_true(journal_append_removed(f->journal, 1));
        for (uint64_t id = 2; f->journal->num_segments == 1; id++)
            assert_true(put_intent(f->journal, id, 1, 0));
        copy_first_segment(f);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    open_journal(f);
    assert_null(find(f, 1));
    /* Said once more, in the segment that this start has begun. */
    struct journal_segment *current = atomic_load(&f->journal->current);
    assert_int_equal(atomic_load(&current->reserved),
                     JOURNAL_HEAD_LEN + sizeof(struct journal_record_head));
}

static void a_removal_in_a_failed_segment_still_hides_older_records(void **state)
{
    struct fixture *f = *state;
    assert_true(put_deferred(f->journal, 1, 1, 1));
    for (uint64_t id = 2; f->journal->num_segments == 1; id++)
        assert_true(put_deferred(f->journal, id, 1, 1));
    assert_int_equal(journal_commit(f->journal), 0);
    assert_true(journal_append_removed(f->journal, 1));
    syncs_to_fail = 1;
    int result = journal_commit(f->journal);
    assert_int_equal(result, -EIO);
    for (int i = 0; result != 0 && i < 3; i++)
        result = journal_commit(f->journal);
    assert_int_equal(result, 0);
    reopen(f);
    assert_null(find(f, 1));
    assert_non_null(find(f, 2));
}

static void the_highest_id_is_carried_past_heads_that_do_not_know_it(void **state)
{
    struct fixture *f = *state;
    uint64_t highest = UINT64_C(1) << 60;
    assert_true(journal_append_removed(f->journal, highest));
    /* Segments taken into use before any commit has seen that id. */
    for (uint64_t id = 1; f->journal->num_segments < 4; id++)
        assert_true(journal_append_removed(f->journal, id));
    for (int i = 0; i < 5; i++)
        assert_int_equal(journal_commit(f->journal), 0);
    assert_true(f->journal->view[0]->seed.seq > 1);
    reopen(f);
    assert_true(journal_highest_id(f->journal) == highest);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TINY_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown_tiny)
    const struct CMUnitTest tests[] = {
        TINY_TEST(a_full_disk_refuses_and_loses_nothing),
        TINY_TEST(no_new_attempt_begins_in_the_last_room),
        TEST(four_threads_roll_over_and_commit_meanwhile),
        TEST(dead_segments_are_used_again),
        TEST(nearly_empty_segments_of_many_starts_do_not_pile_up),
        TEST(compaction_keeps_every_live_state),
        TEST(the_highest_id_outlives_its_segment),
        TEST(a_failed_sync_is_reported_and_then_repaired),
        TEST(syncs_that_keep_failing_lose_nothing_in_memory),
        TEST(without_sync_no_sync_is_asked_for),
        TEST(brief_use_goes_on_in_the_newest_segment),
        TEST(two_hundred_thousand_ids_in_seconds),
        TEST(a_copy_behind_its_removal_stays_dead),
        TEST(a_copy_behind_its_removal_stays_dead_after_a_kill),
        TEST(a_late_copy_does_not_outrank_what_came_before_it),
        TEST(a_removal_in_a_failed_segment_still_hides_older_records),
        TEST(the_highest_id_is_carried_past_heads_that_do_not_know_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
