/* What operators ask for: which answer, and what an entry or a loaded message carries from then on.
 * The way to hold/ and back is walked in tests/e2e/doubt_test.py. */
#include "base/memory.h"
#include "router/dispatcher.h"
#include "tests/unit/cmocka_prelude.h"

struct fixture {
    struct config_snapshot *snapshot;
    struct dispatcher dispatcher;
};

static int set_up(void **state)
{
    struct fixture *fixture = mem_zalloc(1, sizeof *fixture);
    char why[CONFIG_WHY_MAX];
    struct config *config = config_parse("hostname = \"us.test\"", "test.conf", why);
    assert_non_null(config);
    fixture->snapshot = config_snapshot_new(config, why);
    assert_non_null(fixture->snapshot);
    struct dispatcher_services services = {.config = config, .snapshot = fixture->snapshot};
    assert_true(dispatcher_init(&fixture->dispatcher, &services));
    *state = fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    dispatcher_fini(&fixture->dispatcher);
    config_snapshot_unref(fixture->snapshot);
    free(fixture);
    return 0;
}

static struct waiting *add(struct fixture *fixture, uint64_t id, const char *path, uint8_t status)
{
    struct recipient_state recipient = {.status = status, .next_wall_ms = INT64_MAX - 1};
    struct journal_message message = {
        .id = id, .path = path, .num_recipients = 1, .recipients = &recipient};
    struct waiting *waiting = waiting_new(&message);
    dispatcher_add_entry(&fixture->dispatcher, waiting, spool_path_is_held(path));
    return waiting;
}

static void a_message_that_waits_is_held_and_taken_back(void **state)
{
    struct fixture *fixture = *state;
    struct dispatcher *dispatcher = &fixture->dispatcher;
    struct waiting *waiting = add(fixture, 7, "deferred/07/x", RECIPIENT_PENDING);
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_RELEASE, 7), QUEUE_NOT_HELD);
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_HOLD, 7), QUEUE_DONE);
    assert_int_equal(waiting->operation, QUEUE_HOLD);
    assert_int_equal(waiting->due_wall_ms, 0); /* loaded now, to be moved */
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_RELEASE, 7), QUEUE_DONE);
    assert_int_equal(waiting->operation, QUEUE_NO_OPERATION);
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_REMOVE, 7), QUEUE_DONE);
    assert_int_equal(waiting->operation, QUEUE_REMOVE);
}

static void a_retry_is_due_at_once(void **state)
{
    struct fixture *fixture = *state;
    struct recipient_state recipient;
    struct waiting *waiting = add(fixture, 7, "deferred/07/x", RECIPIENT_PENDING);
    waiting->site_hash = 5;
    assert_int_equal(dispatcher_operate(&fixture->dispatcher, QUEUE_RETRY, 7), QUEUE_DONE);
    waiting_states(waiting, &recipient);
    assert_int_equal(recipient.next_wall_ms, 0);
    assert_int_equal(waiting->due_wall_ms, 0);
    assert_int_equal(waiting->site_hash, 0);
}

static void a_held_message_only_leaves_by_release_or_remove(void **state)
{
    struct fixture *fixture = *state;
    struct dispatcher *dispatcher = &fixture->dispatcher;
    struct waiting *waiting = add(fixture, 7, "hold/x", RECIPIENT_IN_DOUBT);
    assert_true(table_holds(waiting));
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_RETRY, 7), QUEUE_HELD_ALREADY);
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_HOLD, 7), QUEUE_HELD_ALREADY);
    assert_true(table_holds(waiting));
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_RELEASE, 7), QUEUE_DONE);
    assert_false(table_holds(waiting));
    assert_ptr_equal(table_first(&dispatcher->table), waiting);
}

static void an_id_that_may_be_on_its_way_is_busy(void **state)
{
    struct fixture *fixture = *state;
    struct dispatcher *dispatcher = &fixture->dispatcher;
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_HOLD, 7), QUEUE_UNKNOWN);
    dispatcher->num_loads = 1;
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_HOLD, 7), QUEUE_BUSY);
    dispatcher->num_loads = 0;
    dispatcher->stopping = true;
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_HOLD, 7), QUEUE_BUSY);
}

static void a_loaded_message_carries_the_wish(void **state)
{
    struct fixture *fixture = *state;
    struct dispatcher *dispatcher = &fixture->dispatcher;
    struct message message = {.id = 7, .path = (char *)(uintptr_t) "new/a"};
    dispatcher->loaded = &message;
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_HOLD, 7), QUEUE_DONE);
    assert_int_equal(message.operation, QUEUE_HOLD);
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_REMOVE, 7), QUEUE_DONE);
    assert_int_equal(message.operation, QUEUE_REMOVE);
    message.operation = QUEUE_NO_OPERATION;
    message.item.kind = MESSAGE_HOLD; /* on its way to hold/ */
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_RETRY, 7), QUEUE_HELD_ALREADY);
    assert_int_equal(dispatcher_operate(dispatcher, QUEUE_RELEASE, 7), QUEUE_DONE);
    assert_int_equal(message.operation, QUEUE_RELEASE);
    dispatcher->loaded = NULL;
}

static void a_release_resolves_the_doubt_and_moves_before_it_tries(void **state)
{
    (void)state;
    struct address address = {0};
    struct recipient_state recipient = {.status = RECIPIENT_IN_DOUBT, .next_wall_ms = 5};
    struct message message = {.was_held = true,
                              .envelope.recipients = {.items = &address, .num = 1},
                              .recipients = &recipient,
                              .operation = QUEUE_RELEASE};
    assert_false(dispatcher_begin_operation(&message));
    assert_int_equal(recipient.status, RECIPIENT_PENDING);
    assert_int_equal(recipient.next_wall_ms, 0);
    assert_int_equal(message.operation, QUEUE_RELEASE);
    message.was_held = false;
    assert_true(dispatcher_begin_operation(&message));
    assert_int_equal(message.operation, QUEUE_NO_OPERATION);
    assert_true(message.was_released);
}

struct awaited {
    struct operator_wait wait;
    int num_ends;
    enum queue_answer answer;
};

static void on_end(struct operator_wait *wait, enum queue_answer answer)
{
    struct awaited *awaited = container_of(wait, struct awaited, wait);
    awaited->num_ends++;
    awaited->answer = answer;
}

static struct awaited await(struct dispatcher *dispatcher, enum queue_operation operation,
                            struct awaited *awaited)
{
    awaited->wait = (struct operator_wait){.id = 7, .operation = operation, .on_end = on_end};
    dispatcher_operate_and_wait(dispatcher, &awaited->wait);
    return *awaited;
}

/* As dispatcher_message_back() does with what the journal thread has carried out. */
static void come_back(struct fixture *fixture, const char *path)
{
    table_fini(&fixture->dispatcher.table);
    table_init(&fixture->dispatcher.table);
    add(fixture, 7, path, RECIPIENT_PENDING);
}

static void a_wait_ends_when_the_message_is_where_it_was_sent(void **state)
{
    struct fixture *fixture = *state;
    struct awaited hold = {0}, release = {0};
    add(fixture, 7, "deferred/07/x", RECIPIENT_PENDING);
    assert_int_equal(await(&fixture->dispatcher, QUEUE_HOLD, &hold).num_ends, 0);
    come_back(fixture, "hold/x");
    assert_int_equal(hold.num_ends, 1);
    assert_int_equal(hold.answer, QUEUE_DONE);
    assert_int_equal(await(&fixture->dispatcher, QUEUE_RELEASE, &release).num_ends, 0);
    come_back(fixture, "deferred/07/x");
    assert_int_equal(release.num_ends, 1);
    assert_int_equal(release.answer, QUEUE_DONE);
    assert_int_equal(hold.num_ends, 1);
}

static void a_wait_for_what_another_operation_took_back_ends(void **state)
{
    struct fixture *fixture = *state;
    struct awaited hold = {0}, release = {0};
    add(fixture, 7, "deferred/07/x", RECIPIENT_PENDING);
    await(&fixture->dispatcher, QUEUE_HOLD, &hold);
    await(&fixture->dispatcher, QUEUE_RELEASE, &release);
    assert_int_equal(hold.num_ends, 1);
    assert_int_equal(hold.answer, QUEUE_REPLACED);
    assert_int_equal(release.num_ends, 1);
    assert_int_equal(release.answer, QUEUE_DONE);
}

static void a_message_that_ends_was_removed_or_came_first(void **state)
{
    struct fixture *fixture = *state;
    struct awaited hold = {0}, remove = {0};
    struct message message = {.id = 7, .path = (char *)(uintptr_t) "new/a"};
    fixture->dispatcher.loaded = &message;
    await(&fixture->dispatcher, QUEUE_HOLD, &hold);
    await(&fixture->dispatcher, QUEUE_REMOVE, &remove);
    fixture->dispatcher.loaded = NULL;
    dispatcher_operation_ended(&fixture->dispatcher, 8, true);
    assert_int_equal(hold.num_ends + remove.num_ends, 0);
    dispatcher_operation_ended(&fixture->dispatcher, 7, true);
    assert_int_equal(hold.answer, QUEUE_ENDED);
    assert_int_equal(remove.answer, QUEUE_DONE);
    assert_int_equal(hold.num_ends + remove.num_ends, 2);
}

static void what_is_being_loaded_is_looked_for_again(void **state)
{
    struct fixture *fixture = *state;
    struct dispatcher *dispatcher = &fixture->dispatcher;
    struct awaited hold = {0}, never = {0};
    dispatcher->num_loads = 1;
    assert_int_equal(await(dispatcher, QUEUE_HOLD, &hold).num_ends, 0);
    dispatcher_look_for_operations(&dispatcher->operator_timer, 0);
    assert_int_equal(hold.num_ends, 0);
    dispatcher->num_loads = 0;
    add(fixture, 7, "deferred/07/x", RECIPIENT_PENDING);
    assert_int_equal(hold.num_ends, 0);
    dispatcher_look_for_operations(&dispatcher->operator_timer, 0);
    assert_int_equal(table_find(&dispatcher->table, 7)->operation, QUEUE_HOLD);
    come_back(fixture, "hold/x");
    assert_int_equal(hold.answer, QUEUE_DONE);
    table_fini(&dispatcher->table);
    dispatcher->num_loads = 1;
    await(dispatcher, QUEUE_HOLD, &never);
    dispatcher->loop.now_ms += 60000;
    dispatcher_look_for_operations(&dispatcher->operator_timer, 0);
    assert_int_equal(never.num_ends, 1);
    assert_int_equal(never.answer, QUEUE_BUSY);
}

static void whoever_still_waits_at_the_end_is_told_so(void **state)
{
    struct fixture *fixture = *state;
    struct awaited hold = {0}, late = {0};
    add(fixture, 7, "deferred/07/x", RECIPIENT_PENDING);
    await(&fixture->dispatcher, QUEUE_HOLD, &hold);
    fixture->dispatcher.stopping = true;
    dispatcher_end_waits(&fixture->dispatcher);
    assert_int_equal(hold.answer, QUEUE_BUSY);
    assert_int_equal(await(&fixture->dispatcher, QUEUE_HOLD, &late).answer, QUEUE_BUSY);
    assert_int_equal(hold.num_ends + late.num_ends, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_message_that_waits_is_held_and_taken_back, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_retry_is_due_at_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_held_message_only_leaves_by_release_or_remove, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_id_that_may_be_on_its_way_is_busy, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_loaded_message_carries_the_wish, set_up, tear_down),
        cmocka_unit_test(a_release_resolves_the_doubt_and_moves_before_it_tries),
        TEST(a_wait_ends_when_the_message_is_where_it_was_sent),
        TEST(a_wait_for_what_another_operation_took_back_ends),
        TEST(a_message_that_ends_was_removed_or_came_first),
        TEST(what_is_being_loaded_is_looked_for_again),
        TEST(whoever_still_waits_at_the_end_is_told_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
