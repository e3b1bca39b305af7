/* From a selection to ids, and ids in batches to the router or to the spool itself.
 * What operations do is in dispatcher_operator.c and queue_offline.c. */
#include "router/cli_queue_operate.h"

#include "base/memory.h"
#include "queue/queue_id.h"
#include "router/control_client.h"
#include "router/queue_offline.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

static const char *const verbs[] = {"", "hold", "release", "retry", "remove"};

struct operation {
    const struct config *config;
    const struct queue_request *request;
    uint64_t *ids; /* owned */
    size_t num, cap;
    size_t num_unnamed; /* selected, but without an id yet */
    bool all_done;
};

bool queue_request_is_clear(const struct queue_request *request)
{
    bool selects = request->selection->sender || request->selection->recipient_domain;
    int ways = (request->num_ids > 0) + selects + request->all;
    for (size_t i = 0; i < request->num_ids; i++) {
        uint64_t id;
        if (queue_id_parse(bytes_of(request->ids[i]), &id))
            continue;
        fprintf(stderr, "sluice queue: %s: not a queue id\n", request->ids[i]);
        return false;
    }
    if (ways == 1)
        return true;
    fprintf(stderr, "sluice queue %s: %s\n", verbs[request->operation],
            ways ? "ids, a selection or --all, but only one of them"
                 : "which messages? ids, --sender, --recipient-domain or --all");
    return false;
}

static void add_id(struct operation *operation, uint64_t id)
{
    if (operation->num == operation->cap) {
        operation->cap = operation->cap ? operation->cap * 2 : 64;
        operation->ids = mem_realloc(operation->ids, operation->cap, sizeof *operation->ids);
    }
    operation->ids[operation->num++] = id;
}

/* Of a selection only what the operation can mean: RELEASE those that are held, HOLD and RETRY
 * those that are not. Ids that were named are always tried, so that the answer says what is wrong.
 */
static void select_row(void *ctx, json_t *row)
{
    struct operation *operation = ctx;
    const char *text = json_string_value(json_object_get(row, "id"));
    bool is_held = json_is_string(json_object_get(row, "held"));
    enum queue_operation what = operation->request->operation;
    uint64_t id;
    if ((what == QUEUE_RELEASE && !is_held) ||
        ((what == QUEUE_HOLD || what == QUEUE_RETRY) && is_held))
        return;
    if (text && queue_id_parse(bytes_of(text), &id))
        add_id(operation, id);
    else
        operation->num_unnamed++;
}

static int collect_ids(struct operation *operation)
{
    const struct queue_request *request = operation->request;
    for (size_t i = 0; i < request->num_ids; i++) {
        uint64_t id = 0;
        if (queue_id_parse(bytes_of(request->ids[i]), &id))
            add_id(operation, id);
    }
    if (request->num_ids)
        return EX_OK;
    return queue_list(operation->config, request->selection, select_row, operation);
}

static void report(struct operation *operation, const char *id, const char *result)
{
    operation->all_done &= strcmp(result, "done") == 0;
    if (operation->request->json)
        printf("{\"id\":\"%s\",\"result\":\"%s\"}\n", id, result);
    else
        printf("%s %s: %s\n", id, verbs[operation->request->operation], result);
}

static json_t *request_of(const struct operation *operation, size_t from, size_t num)
{
    json_t *ids = json_array();
    for (size_t i = from; i < from + num; i++) {
        char text[QUEUE_ID_LEN + 1];
        queue_id_format(operation->ids[i], text);
        json_array_append_new(ids, json_string(text));
    }
    return json_pack("{s:s, s:s, s:o}", "command", "queue", "operation",
                     verbs[operation->request->operation], "ids", ids);
}

/* An operation waits for what its message has under way, as long as that takes. */
static int ask_router(struct operation *operation, struct control_client *client, size_t from,
                      size_t num)
{
    json_t *request = request_of(operation, from, num);
    json_t *answer = control_client_ask(client, request, 0);
    const char *error = json_string_value(json_object_get(answer, "error"));
    size_t i;
    json_t *result;
    json_decref(request);
    if (!answer || error) {
        fprintf(stderr, "sluice queue: %s\n", error ? error : client->why);
        json_decref(answer);
        return EX_TEMPFAIL;
    }
    json_array_foreach(json_object_get(answer, "results"), i, result)
    {
        const char *id = json_string_value(json_object_get(result, "id"));
        const char *word = json_string_value(json_object_get(result, "result"));
        report(operation, id ? id : "?", word ? word : "?");
    }
    json_decref(answer);
    return EX_OK;
}

static void work_offline(struct operation *operation, struct queue_offline *offline, size_t from,
                         size_t num)
{
    enum queue_answer answers[QUEUE_IDS_MAX];
    queue_offline_operate(offline, operation->request->operation, operation->ids + from, num,
                          answers);
    for (size_t i = 0; i < num; i++) {
        char id[QUEUE_ID_LEN + 1];
        queue_id_format(operation->ids[from + i], id);
        report(operation, id, queue_answer_name(answers[i]));
    }
}

static size_t batch_at(const struct operation *operation, size_t from)
{
    size_t rest = operation->num - from;
    return rest < QUEUE_IDS_MAX ? rest : QUEUE_IDS_MAX;
}

static int run_offline(struct operation *operation)
{
    struct queue_offline offline;
    char why[SPOOL_WHY_MAX];
    if (!queue_offline_open(&offline, operation->config, why)) {
        fprintf(stderr, "sluice queue: %s\n", why);
        return EX_TEMPFAIL;
    }
    for (size_t at = 0; at < operation->num; at += batch_at(operation, at))
        work_offline(operation, &offline, at, batch_at(operation, at));
    queue_offline_close(&offline);
    return EX_OK;
}

static int run_all(struct operation *operation)
{
    struct control_client client;
    int code = control_client_open(&client, operation->config->spool);
    if (code == EX_UNAVAILABLE)
        return run_offline(operation);
    if (code)
        fprintf(stderr, "sluice queue: %s\n", client.why);
    for (size_t at = 0; code == EX_OK && at < operation->num; at += batch_at(operation, at))
        code = ask_router(operation, &client, at, batch_at(operation, at));
    control_client_close(&client);
    return code;
}

int queue_request_run(const struct config *config, const struct queue_request *request)
{
    struct operation operation = {.config = config, .request = request, .all_done = true};
    int code = collect_ids(&operation);
    if (code == EX_OK && operation.num)
        code = run_all(&operation);
    free(operation.ids);
    if (operation.num_unnamed)
        fprintf(stderr, "sluice queue: %zu messages have no id yet: no router has taken them\n",
                operation.num_unnamed);
    if (fflush(stdout) != 0)
        return EX_IOERR;
    if (code == EX_OK && (!operation.all_done || operation.num_unnamed))
        code = EX_DATAERR;
    return code;
}
