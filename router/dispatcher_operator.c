/* What operators ask for: hold, release, retry, remove a message by its id.
 * An entry that has to move is loaded first, with the operation in it, and goes the way of all
 * messages from there: snapshot, commit, rename. Nothing is moved here. */
#include "base/log.h"
#include "queue/queue_id.h"
#include "router/dispatcher.h"

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
    message->was_released = !spool_path_is_held(message->path);
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
    bool is_held = spool_path_is_held(message->path) || message->item.kind == MESSAGE_HOLD;
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
    return answer;
}
