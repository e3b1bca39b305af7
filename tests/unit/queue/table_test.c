/* The table of waiting messages: order by due time, states that come back as they went in. */
#include "base/memory.h"
#include "queue/table.h"
#include "tests/unit/cmocka_prelude.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct waiting *entry(uint64_t id, int64_t due_wall_ms)
{
    struct journal_message message = {.id = id, .path = "deferred/aa/x", .num_recipients = 1};
    struct waiting *waiting = waiting_new(&message);
    waiting->due_wall_ms = due_wall_ms;
    return waiting;
}

static void entries_come_out_in_order_of_due_time(void **state)
{
    (void)state;
    struct table table;
    struct waiting *moved = NULL;
    table_init(&table);
    srandom(3);
    for (uint64_t i = 0; i < 1000; i++) {
        struct waiting *waiting = entry(i, random() % 500);
        table_add(&table, waiting);
        if (i % 7 == 0)
            table_move(&table, waiting, random() % 500);
        moved = waiting;
    }
    table_move(&table, moved, -1);
    assert_ptr_equal(table_first(&table), moved);
    int64_t last = -1;
    size_t num = 0;
    for (struct waiting *waiting; (waiting = table_take_first(&table)); num++) {
        assert_true(waiting->due_wall_ms >= last);
        last = waiting->due_wall_ms;
        waiting_free(waiting);
    }
    assert_int_equal(num, 1000);
    table_fini(&table);
}

static void entries_are_found_by_id_whether_they_wait_or_are_held(void **state)
{
    (void)state;
    struct table table;
    table_init(&table);
    assert_null(table_find(&table, 1));
    for (uint64_t id = 1; id <= 1000; id++) {
        if (id % 3 == 0)
            table_add_held(&table, entry(id, 0));
        else
            table_add(&table, entry(id, (int64_t)id));
    }
    assert_int_equal(table.num, 667);
    assert_int_equal(table.num_held, 333);
    for (uint64_t id = 1; id <= 1000; id++) {
        assert_int_equal(table_find(&table, id)->id, id);
        assert_int_equal(table_holds(table_find(&table, id)), id % 3 == 0);
    }
    assert_null(table_find(&table, 1001));
    /* Held ones are never due, until they are given a time. */
    table_move(&table, table_find(&table, 999), 0);
    assert_int_equal(table.num_held, 332);
    for (size_t left = 668; left; left--) {
        struct waiting *first = table_take_first(&table);
        assert_int_equal(left == 668, first->id == 999);
        assert_null(table_find(&table, first->id));
        waiting_free(first);
    }
    assert_null(table_take_first(&table));
    assert_non_null(table_find(&table, 3));
    table_fini(&table);
}

static void room_made_in_advance_moves_no_entry(void **state)
{
    (void)state;
    struct table table;
    table_init(&table);
    table_reserve(&table, 0);
    table_add(&table, entry(1, 0));
    table_reserve(&table, 3000);
    size_t num_buckets = table.num_buckets, cap = table.cap;
    assert_int_equal(table_find(&table, 1)->id, 1);
    for (uint64_t id = 2; id <= 3000; id++)
        table_add(&table, entry(id, 0));
    assert_int_equal(table.num_buckets, num_buckets);
    assert_int_equal(table.cap, cap);
    table_reserve(&table, 10);
    assert_int_equal(table.num_buckets, num_buckets);
    table_add(&table, entry(3001, 0));
    for (uint64_t id = 1; id <= 3001; id++)
        assert_int_equal(table_find(&table, id)->id, id);
    table_fini(&table);
}

static void recipients_that_wait_can_be_made_due(void **state)
{
    (void)state;
    struct recipient_state in[2] = {
        {.status = RECIPIENT_PENDING, .attempts = 2, .next_wall_ms = 99, .last.text = "busy"},
        {.status = RECIPIENT_PENDING, .attempts = 3, .next_wall_ms = 98, .last.text = "later"}};
    struct recipient_state out[2];
    struct journal_message message = {
        .id = 5, .path = "new/a", .num_recipients = 2, .recipients = in};
    struct waiting *waiting = waiting_new(&message);
    waiting_make_due(waiting);
    waiting_states(waiting, out);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(out[i].next_wall_ms, 0);
        assert_int_equal(out[i].attempts, in[i].attempts);
        assert_string_equal(out[i].last.text, in[i].last.text);
    }
    waiting_free(waiting);
}

static void each_word_to_the_sender_counts(void **state)
{
    (void)state;
    struct recipient_state r[4] = {
        {.status = RECIPIENT_NOTIFIED, .told = RECIPIENT_TOLD_DELAY},
        {.status = RECIPIENT_DELIVERED, .told = RECIPIENT_TOLD_DELAY | RECIPIENT_TOLD_SUCCESS},
        {.status = RECIPIENT_BOUNCED},
        {.status = RECIPIENT_PENDING, .told = RECIPIENT_TOLD_DELAY}};
    assert_int_equal(recipients_told(r, 4), 5);
    assert_int_equal(recipients_told(r + 2, 1), 0);
}

static void states_come_back_as_they_went_in(void **state)
{
    (void)state;
    struct recipient_state in[3] = {
        {.status = RECIPIENT_PENDING,
         .attempts = 7,
         .told = RECIPIENT_TOLD_DELAY,
         .next_wall_ms = 123456789012,
         .attempted_wall_ms = 123456789000,
         .mx = "mx1.example.net",
         .last = {.kind = OUTCOME_DEFERRED,
                  .phase = PHASE_RCPT,
                  .in_doubt = true,
                  .hop = HOP_RELAYED,
                  .code = 451,
                  .enhanced = {4, 7, 1},
                  .text = "greylisted"}},
        {.status = RECIPIENT_DELIVERED, .attempts = 1},
        {.status = RECIPIENT_PENDING, .next_wall_ms = 99},
    };
    memset(in[2].last.text, 'x', sizeof in[2].last.text - 1);
    struct recipient_state out[3];
    struct journal_message message = {
        .id = 5, .path = "new/a", .num_recipients = 3, .recipients = in};
    struct waiting *waiting = waiting_new(&message);
    assert_int_equal(waiting->due_wall_ms, 99);
    waiting_states(waiting, out);
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(out[i].status, in[i].status);
        assert_int_equal(out[i].attempts, in[i].attempts);
        assert_int_equal(out[i].next_wall_ms, in[i].next_wall_ms);
        assert_int_equal(out[i].told, in[i].told);
        assert_int_equal(out[i].attempted_wall_ms, in[i].attempted_wall_ms);
        assert_string_equal(out[i].mx, in[i].mx);
        assert_int_equal(out[i].last.hop, in[i].last.hop);
        assert_int_equal(out[i].last.code, in[i].last.code);
        assert_int_equal(out[i].last.in_doubt, in[i].last.in_doubt);
        assert_memory_equal(out[i].last.enhanced, in[i].last.enhanced, 3);
        assert_string_equal(out[i].last.text, in[i].last.text);
    }
    waiting_free(waiting);
}

static void a_message_in_doubt_or_finished_is_due_at_once(void **state)
{
    (void)state;
    struct recipient_state doubt[2] = {{.status = RECIPIENT_PENDING, .next_wall_ms = 1000},
                                       {.status = RECIPIENT_IN_DOUBT, .next_wall_ms = 5000}};
    struct recipient_state done[1] = {{.status = RECIPIENT_DELIVERED, .next_wall_ms = 5000}};
    assert_int_equal(recipients_due_wall_ms(doubt, 2, false), 0);
    assert_int_equal(recipients_due_wall_ms(doubt, 2, true), 1000);
    assert_int_equal(recipients_due_wall_ms(&doubt[1], 1, true), 0);
    assert_int_equal(recipients_due_wall_ms(doubt, 1, false), 1000);
    assert_int_equal(recipients_due_wall_ms(done, 1, false), 0);
}

static void an_entry_of_which_only_an_intent_is_known_arrived_when_its_id_was_given(void **state)
{
    (void)state;
    struct recipient_state doubt = {.status = RECIPIENT_IN_DOUBT, .attempts = 1};
    struct journal_message message = {
        .id = 1795000000123456, .path = "new/a", .num_recipients = 1, .recipients = &doubt};
    struct waiting *waiting = waiting_new(&message);
    assert_int_equal(waiting->arrived_wall_ms, 1795000000123);
    waiting_free(waiting);
}

static void all_recipients_become_due_whatever_host_they_were_tried_at(void **state)
{
    (void)state;
    struct recipient_state in[3] = {
        {.next_wall_ms = 70}, {.next_wall_ms = 80}, {.next_wall_ms = 9}};
    struct recipient_state out[3];
    struct journal_message message = {.path = "x", .num_recipients = 3, .recipients = in};
    strcpy(in[0].mx, "mx1.example.net");
    strcpy(in[1].mx, "a");
    struct waiting *waiting = waiting_new(&message);
    waiting_make_due(waiting);
    waiting_states(waiting, out);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(out[i].next_wall_ms, 0);
        assert_string_equal(out[i].mx, in[i].mx);
    }
    waiting_free(waiting);
}

static void a_copy_keeps_its_states_and_another_file_does_not(void **state)
{
    (void)state;
    struct recipient_state in[1] = {{.attempts = 4}};
    struct file_identity identity = {.ino = 1, .mtime_ns = 2, .size = 3};
    struct journal_message message = {.path = "deferred/aa/x",
                                      .identity = identity,
                                      .recipients_digest = 5,
                                      .num_recipients = 1,
                                      .recipients = in};
    struct waiting *waiting = waiting_new(&message);
    identity.ino = 10;
    assert_true(waiting_adopt(waiting, &identity));
    assert_int_equal(waiting->identity.ino, 10);
    assert_non_null(waiting->states);
    identity.mtime_ns++;
    assert_false(waiting_adopt(waiting, &identity));
    assert_true(file_identity_equal(&waiting->identity, &identity));
    assert_null(waiting->states);
    assert_true(waiting_fits(waiting, 77, 1));
    waiting_free(waiting);
}

static void entries_in_doubt_are_counted(void **state)
{
    (void)state;
    struct recipient_state in[2] = {{.status = RECIPIENT_DELIVERED},
                                    {.status = RECIPIENT_IN_DOUBT}};
    struct journal_message message = {
        .path = "deferred/aa/x", .identity = {.ino = 1}, .num_recipients = 2, .recipients = in};
    struct table table;
    table_init(&table);
    for (message.id = 1; message.id <= 4; message.id++)
        table_add(&table, waiting_new(&message));
    in[1].status = RECIPIENT_PENDING;
    message.id = 5;
    table_add_held(&table, waiting_new(&message));
    assert_int_equal(table.num_in_doubt, 4);
    /* Of another file under the name nothing is known. */
    struct file_identity other = {.ino = 2, .size = 9};
    assert_false(table_adopt(&table, table_find(&table, 2), &other));
    assert_false(table_adopt(&table, table_find(&table, 5), &other));
    assert_int_equal(table.num_in_doubt, 3);
    while (table.num)
        waiting_free(table_take_first(&table));
    assert_int_equal(table.num_in_doubt, 0);
    table_fini(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_come_out_in_order_of_due_time),
        cmocka_unit_test(entries_are_found_by_id_whether_they_wait_or_are_held),
        cmocka_unit_test(entries_in_doubt_are_counted),
        cmocka_unit_test(room_made_in_advance_moves_no_entry),
        cmocka_unit_test(recipients_that_wait_can_be_made_due),
        cmocka_unit_test(states_come_back_as_they_went_in),
        cmocka_unit_test(all_recipients_become_due_whatever_host_they_were_tried_at),
        cmocka_unit_test(a_copy_keeps_its_states_and_another_file_does_not),
        cmocka_unit_test(each_word_to_the_sender_counts),
        cmocka_unit_test(an_entry_of_which_only_an_intent_is_known_arrived_when_its_id_was_given),
        cmocka_unit_test(a_message_in_doubt_or_finished_is_due_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
