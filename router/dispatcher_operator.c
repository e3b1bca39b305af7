/* What operators ask for: hold, release, retry, remove a message by its id.
 * An entry that has to move is loaded first, with the operation in it, and goes the way of all
 * messages from there: snapshot, commit, rename. Nothing is moved here. */
#include "base/log.h"
#include "base/memory.h"
#include "queue/queue_id.h"
#include "router/dispatcher.h"

/* A message that pickup has in its hands cannot be found for that moment. */
enum { LOOK_AGAIN_MS = 20, LOOK_MS = 10000 };

bool dispatcher_begin_operation(struct message *message)
{
    switch ((enum queue_operation)message->operation) {
    case QUEUE_HOLD:
    case QUEUE_REMOVE:
        return false;
    case QUEUE_RELEASE:
        break;
    case QUEUE_RETRY:
        message->operation = QUEUE_NO_OPERATION;
        return true;
    case QUEUE_NO_OPERATION:
        return true;
    }
    /* First time: the doubt is resolved and the file goes to deferred/. Second time: it is there.
     */
    message->was_released = !message->was_held;
    if (message->was_released) {
        message->operation = QUEUE_NO_OPERATION;
        return true;
    }
    for (size_t i = 0; i < message->envelope.recipients.num; i++) {
        struct recipient_state *state = &message->recipients[i];
        if (state->status == RECIPIENT_IN_DOUBT)
            state->status = RECIPIENT_PENDING;
        state->next_wall_ms = 0;
    }
    return false;
}

/* Whether what was asked for is done, now that the message is this entry, or never will be. */
static bool has_ended(const struct operator_wait *wait, const struct waiting *waiting,
                      enum queue_answer *out)
{
    bool is_held = spool_path_is_held(waiting->path);
    *out = QUEUE_DONE;
    if ((wait->operation == QUEUE_HOLD && is_held) ||
        (wait->operation == QUEUE_RELEASE && !is_held))
        return true;
    *out = QUEUE_REPLACED;
    return waiting->operation != wait->operation;
}

/* Those on their way that concern this message, as a list. */
static struct operator_wait *take_waits(struct dispatcher *dispatcher, uint64_t id)
{
    struct operator_wait *taken = NULL;
    for (struct operator_wait **link = &dispatcher->waits; *link;) {
        struct operator_wait *wait = *link;
        if (!wait->is_accepted || wait->id != id) {
            link = &wait->next;
            continue;
        }
        *link = wait->next;
        wait->next = taken;
        taken = wait;
    }
    return taken;
}

static void look_at_waits(struct dispatcher *dispatcher, const struct waiting *waiting)
{
    struct operator_wait *taken = dispatcher->waits ? take_waits(dispatcher, waiting->id) : NULL;
    while (taken) {
        struct operator_wait *wait = taken;
        enum queue_answer answer;
        taken = wait->next;
        if (has_ended(wait, waiting, &answer)) {
            wait->on_end(wait, answer);
            continue;
        }
        wait->next = dispatcher->waits;
        dispatcher->waits = wait;
    }
}

void dispatcher_add_entry(struct dispatcher *dispatcher, struct waiting *waiting, bool held)
{
    if (waiting->operation == QUEUE_RETRY) {
        waiting_make_due(waiting);
        waiting->due_wall_ms = 0;
        waiting->operation = QUEUE_NO_OPERATION;
    }
    if (held && !waiting->operation)
        table_add_held(&dispatcher->table, waiting);
    else
        dispatcher_add_waiting(dispatcher, waiting);
    look_at_waits(dispatcher, waiting);
}

static enum queue_answer operate_on_waiting(struct dispatcher *dispatcher, struct waiting *waiting,
                                            enum queue_operation operation)
{
    bool is_held = spool_path_is_held(waiting->path);
    bool is_asked = waiting->operation == QUEUE_HOLD;
    if (is_held && (operation == QUEUE_HOLD || operation == QUEUE_RETRY))
        return QUEUE_HELD_ALREADY;
    if (operation == QUEUE_RELEASE && !is_held && !is_asked)
        return QUEUE_NOT_HELD;
    if (operation == QUEUE_RETRY || (operation == QUEUE_RELEASE && !is_held)) {
        waiting_make_due(waiting);
        waiting->site_hash = 0;
        waiting->operation = QUEUE_NO_OPERATION;
    } else {
        waiting->operation = (uint8_t)operation;
    }
    dispatcher_wake_waiting(dispatcher, waiting);
    return QUEUE_DONE;
}

static enum queue_answer operate_on_message(struct message *message, enum queue_operation operation)
{
    bool is_held = message->was_held || message->item.kind == MESSAGE_HOLD;
    bool is_asked = message->operation == QUEUE_HOLD;
    if (is_held && (operation == QUEUE_HOLD || operation == QUEUE_RETRY))
        return QUEUE_HELD_ALREADY;
    if (operation == QUEUE_RELEASE && !is_held && !is_asked)
        return QUEUE_NOT_HELD;
    bool is_taken_back = operation == QUEUE_RELEASE && !is_held;
    message->operation = (uint8_t)(is_taken_back ? QUEUE_RETRY : operation);
    return QUEUE_DONE;
}

enum queue_answer dispatcher_operate(struct dispatcher *dispatcher, enum queue_operation operation,
                                     uint64_t id)
{
    static const char *const words[] = {"", "hold", "release", "retry", "remove"};
    enum queue_answer answer = dispatcher->num_loads ? QUEUE_BUSY : QUEUE_UNKNOWN;
    struct message *message = dispatcher->loaded;
    char text[QUEUE_ID_LEN + 1];
    if (dispatcher->stopping)
        return QUEUE_BUSY;
    while (message && message->id != id)
        message = message->loaded_next;
    struct waiting *waiting = message ? NULL : table_find(&dispatcher->table, id);
    if (message)
        answer = operate_on_message(message, operation);
    else if (waiting)
        answer = operate_on_waiting(dispatcher, waiting, operation);
    queue_id_format(id, text);
    if (answer == QUEUE_DONE)
        log_info("%s: %s, as asked for by an operator", text, words[operation]);
    if (answer == QUEUE_DONE && waiting)
        look_at_waits(dispatcher, waiting);
    return answer;
}

static void begin(struct dispatcher *dispatcher, struct operator_wait *wait)
{
    enum queue_answer answer = dispatcher_operate(dispatcher, wait->operation, wait->id);
    struct waiting *waiting = table_find(&dispatcher->table, wait->id);
    wait->is_accepted = answer == QUEUE_DONE;
    bool looks_on =
        answer == QUEUE_BUSY && !dispatcher->stopping && dispatcher->loop.now_ms < wait->give_up_ms;
    if (looks_on)
        loop_arm(&dispatcher->loop, &dispatcher->operator_timer, LOOK_AGAIN_MS);
    bool goes_on = wait->is_accepted && wait->operation != QUEUE_RETRY &&
                   (!waiting || !has_ended(wait, waiting, &answer));
    if (!looks_on && !goes_on) {
        wait->on_end(wait, answer);
        return;
    }
    wait->next = dispatcher->waits;
    dispatcher->waits = wait;
}

void dispatcher_operate_and_wait(struct dispatcher *dispatcher, struct operator_wait *wait)
{
    wait->give_up_ms = dispatcher->loop.now_ms + LOOK_MS;
    begin(dispatcher, wait);
}

void dispatcher_look_for_operations(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    struct dispatcher *dispatcher = container_of(timer, struct dispatcher, operator_timer);
    struct operator_wait *all = dispatcher->waits;
    dispatcher->waits = NULL;
    while (all) {
        struct operator_wait *wait = all;
        all = wait->next;
        if (!wait->is_accepted) {
            begin(dispatcher, wait);
            continue;
        }
        wait->next = dispatcher->waits;
        dispatcher->waits = wait;
    }
}

void dispatcher_operation_ended(struct dispatcher *dispatcher, uint64_t id, bool is_removed)
{
    struct operator_wait *done = take_waits(dispatcher, id);
    while (done) {
        struct operator_wait *wait = done;
        done = wait->next;
        bool is_done = is_removed && wait->operation == QUEUE_REMOVE;
        wait->on_end(wait, is_done ? QUEUE_DONE : QUEUE_ENDED);
    }
}

void dispatcher_end_waits(struct dispatcher *dispatcher)
{
    while (dispatcher->waits) {
        struct operator_wait *wait = dispatcher->waits;
        dispatcher->waits = wait->next;
        wait->on_end(wait, QUEUE_BUSY);
    }
}
