/* Rules of the journal: what was stored comes back after a kill and after damage; states merge. */
#include "queue/journal_format.h"
#include "tests/unit/queue/journal_fixture.h"

static void a_new_journal_is_empty(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(f->num_seen, 0);
    assert_int_equal(journal_highest_id(f->journal), 0);
    assert_int_equal(journal_commit(f->journal), 0);
    reopen(f);
    assert_int_equal(f->num_seen, 0);
}

static void records_come_back_as_they_were(void **state)
{
    struct fixture *f = *state;
    assert_true(put_deferred(f->journal, 10, 2, 3));
    assert_true(put_outcome(f->journal, 11, 1, 4, OUTCOME_BOUNCED));
    assert_true(put_intent(f->journal, 12, 1, 0));
    assert_true(put_deferred(f->journal, 13, 1, 1));
    assert_true(journal_append_removed(f->journal, 13));
    reopen(f);
    assert_int_equal(f->num_seen, 3);
    assert_int_equal(journal_highest_id(f->journal), 13);
    const struct seen *s = find(f, 10);
    struct file_identity identity = identity_for(10);
    struct outcome wait = outcome_of(OUTCOME_DEFERRED, "wait");
    assert_string_equal(s->path, path_for(10));
    assert_true(file_identity_equal(&s->identity, &identity));
    assert_int_equal(s->arrived_wall_ms, 99);
    assert_int_equal(s->digest, 0xabcdef01);
    assert_int_equal(s->num, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(s->recipients[i].status, RECIPIENT_PENDING);
        assert_int_equal(s->recipients[i].attempts, 2);
        assert_int_equal(s->recipients[i].next_wall_ms, 1000 + i);
        assert_int_equal(s->recipients[i].last.code, wait.code);
        assert_memory_equal(s->recipients[i].last.enhanced, wait.enhanced, 3);
        assert_string_equal(s->recipients[i].last.text, "wait");
    }
    s = find(f, 11);
    assert_int_equal(s->num, 5);
    assert_int_equal(s->recipients[4].status, RECIPIENT_BOUNCED);
    assert_int_equal(s->recipients[3].status, RECIPIENT_PENDING);
    assert_int_equal(s->recipients[3].last.kind, OUTCOME_NONE);
    assert_int_equal(s->arrived_wall_ms, 12345);
    s = find(f, 12);
    assert_int_equal(s->recipients[0].status, RECIPIENT_IN_DOUBT);
}

/* A script of records for one recipient and the state that they mean. */
struct step {
    char what; /* i intent, o outcome, d deferred */
    uint32_t attempt;
    enum outcome_kind kind;
};

static void states_merge_by_attempt(void **state)
{
    struct fixture *f = *state;
    static const struct {
        struct step steps[6];
        enum recipient_status status;
        uint16_t attempts;
    } rows[] = {
        {{{'i', 1, 0}}, RECIPIENT_IN_DOUBT, 1},
        {{{'i', 1, 0}, {'o', 1, OUTCOME_DELIVERED}}, RECIPIENT_DELIVERED, 1},
        {{{'o', 1, OUTCOME_DELIVERED}, {'i', 1, 0}}, RECIPIENT_DELIVERED, 1},
        {{{'i', 1, 0}, {'o', 1, OUTCOME_DEFERRED}}, RECIPIENT_PENDING, 1},
        {{{'i', 1, 0}, {'o', 1, OUTCOME_DEFERRED}, {'i', 2, 0}}, RECIPIENT_IN_DOUBT, 2},
        {{{'i', 1, 0}, {'o', 1, OUTCOME_BOUNCED}}, RECIPIENT_BOUNCED, 1},
        /* Stored by two threads, the later attempt first. */
        {{{'o', 2, OUTCOME_DELIVERED}, {'o', 1, OUTCOME_DEFERRED}}, RECIPIENT_DELIVERED, 2},
        {{{'o', 2, OUTCOME_DEFERRED}, {'i', 1, 0}, {'o', 1, OUTCOME_DEFERRED}},
         RECIPIENT_PENDING,
         2},
        /* An attempt that is not counted gives its number back. */
        {{{'i', 1, 0}, {'o', 1, OUTCOME_RETURNED}}, RECIPIENT_PENDING, 0},
        {{{'i', 1, 0}, {'o', 1, OUTCOME_RETURNED}, {'i', 1, 0}}, RECIPIENT_IN_DOUBT, 1},
        {{{'i', 1, 0}, {'o', 1, OUTCOME_RETURNED}, {'i', 1, 0}, {'o', 1, OUTCOME_DELIVERED}},
         RECIPIENT_DELIVERED,
         1},
        /* A snapshot replaces what came before it. */
        {{{'i', 1, 0}, {'d', 1, 0}}, RECIPIENT_PENDING, 1},
        {{{'o', 1, OUTCOME_DEFERRED}, {'d', 1, 0}, {'i', 2, 0}}, RECIPIENT_IN_DOUBT, 2},
        {{{'d', 1, 0}, {'i', 2, 0}, {'o', 2, OUTCOME_DELIVERED}}, RECIPIENT_DELIVERED, 2},
        {{{'d', 1, 0}, {'i', 2, 0}, {'o', 2, OUTCOME_DEFERRED}, {'d', 2, 0}}, RECIPIENT_PENDING, 2},
    };
    enum { NUM = sizeof rows / sizeof *rows };
    for (uint64_t id = 1; id <= NUM; id++)
        for (const struct step *s = rows[id - 1].steps; s->what; s++) {
            if (s->what == 'i')
                assert_true(put_intent(f->journal, id, s->attempt, 0));
            else if (s->what == 'o')
                assert_true(put_outcome(f->journal, id, s->attempt, 0, s->kind));
            else
                assert_true(put_deferred(f->journal, id, (uint16_t)s->attempt, 1));
        }
    reopen(f);
    for (uint64_t id = 1; id <= NUM; id++) {
        const struct seen *s = find(f, id);
        assert_non_null(s);
        if (s->recipients[0].status != rows[id - 1].status ||
            s->recipients[0].attempts != rows[id - 1].attempts)
            fail_msg("row %d: status %d attempts %d", (int)id - 1, s->recipients[0].status,
                     s->recipients[0].attempts);
    }
}

static bool put_intent_of_file(struct journal *journal, const struct file_identity *identity)
{
    uint32_t index = 1;
    return journal_append_intent(journal, 5, path_for(5), identity, 1, &index, 1);
}

/* The first recipient has the old file only. A copy (a restored backup) is the same mail. */
static void what_is_known_of_a_file_does_not_count_for_another(void **state)
{
    struct fixture *f = *state;
    struct file_identity identity = identity_for(5);
    assert_true(put_deferred(f->journal, 5, 1, 2));
    assert_true(put_outcome(f->journal, 5, 2, 0, OUTCOME_DELIVERED));
    identity.ino++;
    assert_true(put_intent_of_file(f->journal, &identity));
    reopen(f);
    assert_int_equal(find(f, 5)->recipients[0].status, RECIPIENT_DELIVERED);
    identity.mtime_ns++;
    assert_true(put_intent_of_file(f->journal, &identity));
    reopen(f);
    const struct seen *s = find(f, 5);
    assert_true(file_identity_equal(&s->identity, &identity));
    assert_int_equal(s->digest, 0);
    assert_int_equal(s->recipients[0].status, RECIPIENT_PENDING);
    assert_int_equal(s->recipients[0].attempts, 0);
    assert_int_equal(s->recipients[1].status, RECIPIENT_IN_DOUBT);
}

static void every_status_survives_a_snapshot(void **state)
{
    struct fixture *f = *state;
    struct recipient_state recipients[5] = {0};
    struct journal_message message = {
        .id = 5, .path = "deferred/aa/x", .num_recipients = 5, .recipients = recipients};
    for (uint8_t i = 0; i < 5; i++)
        recipients[i].status = i;
    assert_true(journal_append_deferred(f->journal, &message));
    reopen(f);
    for (uint8_t i = 0; i < 5; i++)
        assert_int_equal(f->seen[0].recipients[i].status, i);
}

static void texts_of_any_length_survive(void **state)
{
    struct fixture *f = *state;
    static const size_t lens[] = {0, 1, 7, 238, 239};
    char text[OUTCOME_TEXT_MAX + 1] = "";
    for (uint64_t id = 1; id < 6; id++) {
        size_t len = lens[id - 1];
        memset(text, 'a', len);
        text[len] = '\0';
        struct recipient_state r[3] = {{.last = outcome_of(OUTCOME_DEFERRED, text)},
                                       {.last = outcome_of(OUTCOME_DEFERRED, text)},
                                       {.last = outcome_of(OUTCOME_DEFERRED, "other")}};
        struct journal_message message = {
            .id = id, .path = "new/a", .num_recipients = 3, .recipients = r};
        assert_true(journal_append_deferred(f->journal, &message));
    }
    reopen(f);
    for (uint64_t id = 1; id < 6; id++) {
        const struct seen *s = find(f, id);
        assert_int_equal(strlen(s->recipients[0].last.text), lens[id - 1]);
        assert_string_equal(s->recipients[0].last.text, s->recipients[1].last.text);
        assert_string_equal(s->recipients[2].last.text, "other");
    }
}

static void the_host_and_the_time_of_the_last_attempt_survive(void **state)
{
    struct fixture *f = *state;
    struct recipient_state r[4] = {{.told = RECIPIENT_TOLD_DELAY, .attempted_wall_ms = 5},
                                   {.last = outcome_of(OUTCOME_DELIVERED, "ok")}};
    struct journal_message message = {
        .id = 2, .path = "new/a", .num_recipients = 4, .recipients = r};
    r[1].last.hop = HOP_FINAL;
    memset(r[0].mx, 'h', sizeof r[0].mx - 1);
    memset(r[1].mx, 'h', sizeof r[1].mx - 1);
    snprintf(r[3].mx, sizeof r[3].mx, "other.example");
    assert_true(journal_append_deferred(f->journal, &message));
    assert_true(put_outcome(f->journal, 1, 1, 0, OUTCOME_BOUNCED));
    reopen(f);
    const struct recipient_state *bounced = &find(f, 1)->recipients[0];
    assert_string_equal(bounced->mx, "mx.example.net");
    assert_int_equal(bounced->attempted_wall_ms, 777);
    for (int i = 0; i < 4; i++) {
        const struct recipient_state *seen = &find(f, 2)->recipients[i];
        assert_string_equal(seen->mx, r[i].mx);
        assert_int_equal(seen->told, r[i].told);
        assert_int_equal(seen->attempted_wall_ms, r[i].attempted_wall_ms);
        assert_int_equal(seen->last.hop, r[i].last.hop);
    }
}

/* What a version without JOURNAL_EXTENDED stored: the same octets up to the path. */
static void records_of_an_earlier_version_are_read(void **state)
{
    (void)state;
    struct recipient_state r = {.attempts = 3, .told = RECIPIENT_TOLD_DELAY, .mx = "mx"};
    struct journal_record out, record = {.kind = JOURNAL_DEFERRED,
                                         .id = 1,
                                         .path = "new/a",
                                         .path_len = 5,
                                         .num = 1,
                                         .recipients = &r};
    struct journal_scratch scratch = {0};
    struct journal_record_head head;
    struct buffer image;
    buffer_init(&image, 4096);
    assert_true(journal_record_encode(&record, &image));
    memcpy(&head, image.at, sizeof head);
    head.flags = 0;
    memcpy(image.at, &head, sizeof head);
    size_t path_end = (size_t)((uint8_t *)memmem(image.at, image.len, "new/a", 5) - image.at) + 5;
    assert_true(journal_record_decode(bytes_make(image.at, path_end), &scratch, &out));
    assert_int_equal(out.recipients[0].attempts, 3);
    assert_int_equal(out.recipients[0].told, 0);
    assert_string_equal(out.recipients[0].mx, "");
    assert_memory_equal(out.path, "new/a", 5);
    journal_scratch_fini(&scratch);
    buffer_fini(&image);
}

static void what_fits_no_segment_is_refused(void **state)
{
    struct fixture *f = *state;
    uint32_t num = 70000;
    struct recipient_state *recipients = calloc(num, sizeof *recipients);
    struct journal_message message = {
        .id = 1, .path = "new/a", .num_recipients = num, .recipients = recipients};
    errno = 0;
    assert_false(journal_append_deferred(f->journal, &message));
    assert_int_equal(errno, EMSGSIZE);
    message.num_recipients = 1000;
    assert_true(journal_append_deferred(f->journal, &message));
    free(recipients);
    reopen(f);
    assert_int_equal(f->num_seen, 1);
    assert_int_equal(f->seen[0].num, 1000);
}

static void a_reader_sees_what_the_owner_stored(void **state)
{
    struct fixture *f = *state;
    char why[SPOOL_WHY_MAX];
    for (uint64_t id = 1; id <= 3000; id++)
        assert_true(put_deferred(f->journal, id, 1, 1));
    f->num_seen = f->last_id = 0;
    assert_true(journal_read(&f->spool, on_live, f, why));
    assert_int_equal(f->num_seen, 3000);
    assert_true(put_deferred(f->journal, 3001, 1, 1));
}

/* Kill: a child stores and dies without closing; what it confirmed through the pipe must be there.
 */
static void what_was_stored_survives_a_kill(void **state)
{
    struct fixture *f = *state;
    journal_close(f->journal);
    f->journal = NULL;
    for (unsigned round = 0; round < 12; round++) {
        int fds[2];
        uint64_t confirmed = 0, id;
        assert_int_equal(pipe(fds), 0);
        pid_t pid = fork();
        if (pid == 0) {
            open_journal(f);
            for (id = 1;; id++) {
                if (!put_intent(f->journal, id, round + 1, 0) ||
                    !put_outcome(f->journal, id, round + 1, 0, OUTCOME_DEFERRED) ||
                    (id % 512 == 0 && journal_commit(f->journal) != 0) ||
                    write(fds[1], &id, sizeof id) != sizeof id)
                    _exit(1);
            }
        }
        close(fds[1]);
        while (confirmed < 300 + round * 517 && read(fds[0], &id, sizeof id) == sizeof id)
            confirmed = id;
        assert_int_equal(kill(pid, SIGKILL), 0);
        while (read(fds[0], &id, sizeof id) == sizeof id)
            confirmed = id;
        close(fds[0]);
        assert_int_equal(waitpid(pid, NULL, 0), pid);
        assert_true(confirmed >= 300 + round * 517);
        open_journal(f);
        assert_true(f->num_seen >= confirmed);
        assert_int_equal(f->seen[0].recipients[0].attempts, round + 1);
        assert_int_equal(f->seen[0].recipients[0].status, RECIPIENT_PENDING);
        journal_close(f->journal);
        f->journal = NULL;
    }
    open_journal(f);
}

/* The segment file that holds records (the first one that was made). */
static int open_segment(struct fixture *f, const char *name)
{
    int fd = openat(f->spool.journal_fd, name, O_RDWR);
    assert_true(fd >= 0);
    return fd;
}

static void drop_journal(struct fixture *f)
{
    journal_close(f->journal);
    f->journal = NULL;
}

static const uint64_t first_offset = JOURNAL_HEAD_LEN;

static uint64_t record_len(int fd, uint64_t offset)
{
    uint64_t mark = 0;
    assert_int_equal(pread(fd, &mark, 8, (off_t)offset), 8);
    return (uint32_t)mark;
}

/* A worker that was killed in mid-store: its room is reserved, its mark is not set. */
static void a_hole_loses_only_its_own_record(void **state)
{
    struct fixture *f = *state;
    static const uint8_t zeros[40];
    for (uint64_t id = 1; id <= 5; id++)
        assert_true(put_deferred(f->journal, id, 1, 1));
    drop_journal(f);
    int fd = open_segment(f, "00000001.segment");
    uint64_t second = first_offset + record_len(fd, first_offset);
    assert_int_equal(pwrite(fd, zeros, 8, (off_t)second), 8);
    close(fd);
    open_journal(f);
    assert_int_equal(f->num_seen, 4);
    assert_null(find(f, 2));
    assert_non_null(find(f, 5));
}

static void a_torn_tail_ends_the_segment_quietly(void **state)
{
    struct fixture *f = *state;
    for (uint64_t id = 1; id <= 5; id++)
        assert_true(put_deferred(f->journal, id, 1, 1));
    drop_journal(f);
    int fd = open_segment(f, "00000001.segment");
    uint64_t at = first_offset;
    for (int i = 0; i < 4; i++)
        at += record_len(fd, at);
    assert_int_equal(ftruncate(fd, (off_t)at + 60), 0);
    close(fd);
    open_journal(f);
    assert_int_equal(f->num_seen, 4);
    assert_true(put_deferred(f->journal, 6, 1, 1));
    reopen(f);
    assert_int_equal(f->num_seen, 5);
}

static void any_flipped_bit_costs_one_record_at_most(void **state)
{
    struct fixture *f = *state;
    for (uint64_t id = 1; id <= 6; id++)
        assert_true(put_deferred(f->journal, id, 1, 1));
    drop_journal(f);
    int fd = open_segment(f, "00000001.segment");
    uint64_t from = first_offset + record_len(fd, first_offset);
    uint64_t len = record_len(fd, from);
    for (uint64_t bit = 0; bit < len * 8; bit += 3) {
        uint8_t octet;
        off_t at = (off_t)(from + bit / 8);
        struct journal_replay replay;
        char why[SPOOL_WHY_MAX];
        assert_int_equal(pread(fd, &octet, 1, at), 1);
        octet ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(pwrite(fd, &octet, 1, at), 1);
        journal_replay_init(&replay);
        assert_true(journal_replay_load(&replay, f->spool.journal_fd, JOURNAL_REPLAY_READ, why));
        f->num_seen = f->last_id = 0;
        journal_replay_run(&replay, &(struct journal_replay_calls){.on_live = on_live, .ctx = f});
        assert_int_equal(f->num_seen, 5);
        assert_int_equal(replay.num_damaged, 1);
        assert_null(find(f, 2));
        journal_replay_fini(&replay);
        octet ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(pwrite(fd, &octet, 1, at), 1);
    }
    close(fd);
    open_journal(f);
    assert_int_equal(f->num_seen, 6);
}

static void one_damaged_head_costs_nothing_and_both_set_the_file_aside(void **state)
{
    struct fixture *f = *state;
    struct stat st;
    assert_true(put_deferred(f->journal, 1, 1, 1));
    drop_journal(f);
    int fd = open_segment(f, "00000001.segment");
    assert_int_equal(pwrite(fd, "damage", 6, 16), 6);
    open_journal(f);
    assert_int_equal(f->num_seen, 1);
    drop_journal(f);
    assert_int_equal(pwrite(fd, "damage", 6, SMALL - JOURNAL_HEAD_LEN + 16), 6);
    close(fd);
    open_journal(f);
    assert_int_equal(f->num_seen, 0);
    assert_int_equal(fstatat(f->spool.journal_fd, "00000001.segment.damaged", &st, 0), 0);
}

/* Octets of a record in a text that a stranger sent must not become one. */
static void a_record_inside_a_text_is_no_record(void **state)
{
    struct fixture *f = *state;
    uint8_t copy[160];
    assert_true(put_deferred(f->journal, 1, 1, 1));
    int fd = open_segment(f, "00000001.segment");
    assert_true(pread(fd, copy, sizeof copy, (off_t)first_offset) == sizeof copy);
    /* Moved to another place of the same segment it is as if forged with a known salt. */
    assert_true(put_deferred(f->journal, 2, 1, 1));
    assert_true(put_deferred(f->journal, 3, 1, 1));
    drop_journal(f);
    uint64_t second = first_offset + record_len(fd, first_offset);
    size_t len = record_len(fd, first_offset);
    assert_true(len <= sizeof copy);
    assert_int_equal(pwrite(fd, copy, len, (off_t)second), len);
    close(fd);
    open_journal(f);
    assert_int_equal(f->num_seen, 2);
    assert_non_null(find(f, 1));
    assert_non_null(find(f, 3));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_new_journal_is_empty),
        TEST(records_come_back_as_they_were),
        TEST(states_merge_by_attempt),
        TEST(what_is_known_of_a_file_does_not_count_for_another),
        TEST(every_status_survives_a_snapshot),
        TEST(texts_of_any_length_survive),
        TEST(the_host_and_the_time_of_the_last_attempt_survive),
        cmocka_unit_test(records_of_an_earlier_version_are_read),
        TEST(what_fits_no_segment_is_refused),
        TEST(a_reader_sees_what_the_owner_stored),
        TEST(what_was_stored_survives_a_kill),
        TEST(a_hole_loses_only_its_own_record),
        TEST(a_torn_tail_ends_the_segment_quietly),
        TEST(any_flipped_bit_costs_one_record_at_most),
        TEST(one_damaged_head_costs_nothing_and_both_set_the_file_aside),
        TEST(a_record_inside_a_text_is_no_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
