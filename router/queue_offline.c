/* A batch of messages: snapshots appended -> committed -> files moved or unlinked, folders synced
 * -> removals appended and committed. Which operation is allowed when is as in
 * dispatcher_operator.c.
 */
#include "router/queue_offline.h"

#include "base/log.h"
#include "base/memory.h"
#include "queue/queue_id.h"
#include "router/message_file.h"
#include "router/recovery.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct step {
    struct waiting *waiting; /* borrowed from the table; NULL: nothing is to be done */
    char to[SPOOL_PATH_MAX]; /* "": the file stays, or goes altogether */
    bool is_removal;
};

/* Pickup's claims: there is no pickup here. */
static void ignore_claim(void *ctx, const struct file_identity *identity)
{
    (void)ctx;
    (void)identity;
}

bool queue_offline_open(struct queue_offline *offline, const struct config *config,
                        char why[SPOOL_WHY_MAX])
{
    struct waiting_set known = {0};
    struct journal_options options = {.sync = true, .brief = true};
    *offline = (struct queue_offline){.config = config};
    if (!spool_open(&offline->spool, config->spool, true, why))
        return false;
    offline->journal = journal_open(&offline->spool, &options, waiting_set_on_live, &known, why);
    if (!offline->journal) {
        waiting_set_fini(&known);
        spool_close(&offline->spool);
        return false;
    }
    table_init(&offline->table);
    if (recovery_finish(&known, &offline->spool, &offline->table, offline->journal, ignore_claim,
                        NULL, why))
        return true;
    queue_offline_close(offline);
    return false;
}

void queue_offline_close(struct queue_offline *offline)
{
    table_fini(&offline->table);
    journal_close(offline->journal);
    spool_close(&offline->spool);
}

static enum queue_answer fail(const struct waiting *waiting, const char *why)
{
    log_error("%s: %s", waiting->path, why);
    return QUEUE_FAILED;
}

/* The whole state of a message whose file is open to us, as an operation leaves it. */
static enum queue_answer append_snapshot(struct queue_offline *offline,
                                         const struct waiting *waiting,
                                         const struct message_file *file,
                                         enum queue_operation operation, const char *path)
{
    const struct address_list *recipients = &file->envelope.recipients;
    uint32_t digest = file->has_envelope ? message_recipients_digest(&file->envelope) : 0;
    if (!file->has_envelope)
        return fail(waiting, file->why);
    struct recipient_state *states = mem_zalloc(recipients->num, sizeof *states);
    if (waiting_fits(waiting, digest, recipients->num))
        waiting_states(waiting, states);
    for (size_t i = 0; i < recipients->num && operation != QUEUE_HOLD; i++) {
        if (states[i].status == RECIPIENT_IN_DOUBT && operation == QUEUE_RELEASE)
            states[i].status = RECIPIENT_PENDING;
        states[i].next_wall_ms = 0;
    }
    struct journal_message snapshot = {
        .id = waiting->id,
        .path = path,
        .identity = file->identity,
        .arrived_wall_ms = waiting->arrived_wall_ms,
        .recipients_digest = digest,
        .num_recipients = (uint32_t)recipients->num,
        .recipients = states,
    };
    bool ok = journal_append_deferred(offline->journal, &snapshot);
    int error = errno;
    free(states);
    return ok ? QUEUE_DONE : fail(waiting, strerror(error));
}

bool queue_offline_record(struct queue_offline *offline, struct waiting *waiting)
{
    struct message_file file;
    int rc = recovery_look_closer(&offline->spool, &offline->table, waiting);
    if (rc == 0)
        rc = message_file_read(&offline->spool, offline->config, waiting->path, &file);
    if (rc < 0)
        return fail(waiting, strerror(-rc)) == QUEUE_DONE;
    enum queue_answer answer = append_snapshot(offline, waiting, &file, QUEUE_HOLD, waiting->path);
    message_file_fini(&file);
    return answer == QUEUE_DONE;
}

static enum queue_answer prepare(struct queue_offline *offline, struct waiting *waiting,
                                 enum queue_operation operation, struct step *step)
{
    struct message_file file;
    bool is_held = spool_path_is_held(waiting->path);
    if (is_held && (operation == QUEUE_HOLD || operation == QUEUE_RETRY))
        return QUEUE_HELD_ALREADY;
    if (!is_held && operation == QUEUE_RELEASE)
        return QUEUE_NOT_HELD;
    *step = (struct step){.waiting = waiting, .is_removal = operation == QUEUE_REMOVE};
    int rc = recovery_look_closer(&offline->spool, &offline->table, waiting);
    if (step->is_removal && (rc == 0 || rc == -ENOENT))
        return QUEUE_DONE;
    if (rc == 0)
        rc = message_file_read(&offline->spool, offline->config, waiting->path, &file);
    if (rc < 0)
        return rc == -ENOENT ? QUEUE_UNKNOWN : fail(waiting, strerror(-rc));
    enum queue_answer answer;
    if (!file_identity_equal(&file.identity, &waiting->identity)) {
        answer = fail(waiting, "not the file that was recorded; see sluice fsck");
    } else {
        if (operation == QUEUE_HOLD)
            spool_hold_path(waiting->id, step->to);
        else
            spool_deferred_path(waiting->id, step->to);
        answer = append_snapshot(offline, waiting, &file, operation, step->to);
    }
    message_file_fini(&file);
    return answer;
}

static int move(const struct spool *spool, struct waiting *waiting, const char *to)
{
    if (strcmp(waiting->path, to) == 0)
        return 0;
    int rc = spool_move(spool, waiting->path, to, &waiting->identity, true);
    if (rc == 0)
        rc = spool_sync_move(spool, waiting->path, to);
    if (rc == 0) {
        free(waiting->path);
        waiting->path = mem_strdup(to);
    }
    return rc;
}

static int remove_file(struct queue_offline *offline, const struct waiting *waiting)
{
    int rc = spool_unlink(&offline->spool, waiting->path, &waiting->identity);
    if (rc == 0)
        rc = spool_sync_left_folder_of(&offline->spool, waiting->path);
    if (rc == -ENOENT)
        rc = 0; /* it is gone already, which was what was wanted */
    if (rc == 0 && !journal_append_removed(offline->journal, waiting->id))
        rc = -errno;
    return rc;
}

static enum queue_answer carry_out(struct queue_offline *offline, const struct step *step)
{
    char id[QUEUE_ID_LEN + 1];
    int rc = step->is_removal ? remove_file(offline, step->waiting)
                              : move(&offline->spool, step->waiting, step->to);
    queue_id_format(step->waiting->id, id);
    if (rc < 0)
        return fail(step->waiting, strerror(-rc));
    if (step->is_removal)
        log_info("%s: %s: removed by an operator", id, step->waiting->path);
    return QUEUE_DONE;
}

static void commit(struct queue_offline *offline, enum queue_answer *answers, size_t num)
{
    int rc = journal_commit(offline->journal);
    if (rc == 0)
        return;
    log_error("cannot commit the journal: %s", strerror(-rc));
    for (size_t i = 0; i < num; i++)
        if (answers[i] == QUEUE_DONE)
            answers[i] = QUEUE_FAILED;
}

void queue_offline_operate(struct queue_offline *offline, enum queue_operation operation,
                           const uint64_t *ids, size_t num, enum queue_answer *out_answers)
{
    struct step *steps = mem_zalloc(num, sizeof *steps);
    for (size_t i = 0; i < num; i++) {
        struct waiting *waiting = table_find(&offline->table, ids[i]);
        out_answers[i] = waiting ? prepare(offline, waiting, operation, &steps[i]) : QUEUE_UNKNOWN;
    }
    commit(offline, out_answers, num);
    for (size_t i = 0; i < num; i++)
        if (out_answers[i] == QUEUE_DONE)
            out_answers[i] = carry_out(offline, &steps[i]);
    if (operation == QUEUE_REMOVE)
        commit(offline, out_answers, num);
    free(steps);
}
