/* "queue": an operation on messages by id, answered when all of them have been carried out.
 * The rules of each operation are dispatcher_operator.c's. */
#include "base/memory.h"
#include "queue/queue_id.h"
#include "router/control_command.h"
#include "router/queue_words.h"

struct awaited {
    struct operator_wait wait;
    struct control_call *call; /* borrowed until the last of its messages has ended */
    json_t *results;           /* borrowed */
    size_t index;
};

static void finish(struct control_call *call, json_t *results)
{
    control_answer(call, json_pack("{s:b, s:o}", "ok", 1, "results", results));
}

static void on_end(struct operator_wait *wait, enum queue_answer answer)
{
    struct awaited *awaited = container_of(wait, struct awaited, wait);
    struct control_call *call = awaited->call;
    json_t *results = awaited->results;
    json_object_set_new(json_array_get(results, awaited->index), "result",
                        json_string(queue_answer_name(answer)));
    free(awaited);
    if (--call->num_open == 0)
        finish(call, results);
}

static uint64_t id_at(const json_t *ids, size_t i)
{
    const char *text = json_string_value(json_array_get(ids, i));
    uint64_t id = 0;
    return text && queue_id_parse(bytes_of(text), &id) ? id : 0;
}

static void operate(struct dispatcher *dispatcher, struct control_call *call)
{
    const json_t *ids = json_object_get(call->request, "ids");
    enum queue_operation operation =
        queue_operation_of(json_string_value(json_object_get(call->request, "operation")));
    json_t *results = json_array();
    size_t num = json_array_size(ids);
    for (size_t i = 0; i < num; i++)
        json_array_append_new(results, json_pack("{s:O}", "id", json_array_get(ids, i)));
    call->num_open = (unsigned)num + 1; /* one is ours, until all are on their way */
    for (size_t i = 0; i < num; i++) {
        struct awaited *awaited = mem_zalloc(1, sizeof *awaited);
        *awaited = (struct awaited){
            .wait = {.id = id_at(ids, i), .operation = operation, .on_end = on_end},
            .call = call,
            .results = results,
            .index = i,
        };
        dispatcher_operate_and_wait(dispatcher, &awaited->wait);
    }
    if (--call->num_open == 0)
        finish(call, results);
}

static void run(void *owner, struct control_call *call)
{
    operate(owner, call);
}

void control_queue(struct control_call *call)
{
    const json_t *ids = json_object_get(call->request, "ids");
    const char *word = json_string_value(json_object_get(call->request, "operation"));
    bool ok = json_is_array(ids) && json_array_size(ids) <= QUEUE_IDS_MAX;
    for (size_t i = 0; ok && i < json_array_size(ids); i++)
        ok = id_at(ids, i) != 0;
    if (queue_operation_of(word) == QUEUE_NO_OPERATION) {
        control_refuse(call, "usage", "\"operation\" is hold, release, retry or remove");
        return;
    }
    if (!ok) {
        control_refuse(call, "usage", "\"ids\" is an array of at most 256 queue ids");
        return;
    }
    call->run = run;
    call->item.kind = DISPATCHER_CALL;
    mailbox_post(&call->services->dispatcher->mailbox, &call->item);
}
