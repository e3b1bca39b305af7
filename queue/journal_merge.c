/* Merging the records of one message, the rules of which are in the header.
 * It reads no files and knows nothing of other messages. */
#include "queue/journal_merge.h"

#include "base/memory.h"

void journal_merge_fini(struct journal_merge *merge)
{
    free(merge->recipients);
    free(merge->marks);
    merge->recipients = NULL;
    merge->marks = NULL;
    merge->cap = 0;
}

void journal_merge_begin(struct journal_merge *merge, uint64_t id)
{
    merge->path[0] = '\0';
    merge->message = (struct journal_message){.id = id, .path = merge->path};
}

static void reserve(struct journal_merge *merge, uint32_t num)
{
    if (num <= merge->cap)
        return;
    merge->recipients = mem_realloc(merge->recipients, num, sizeof *merge->recipients);
    merge->marks = mem_realloc(merge->marks, num, sizeof *merge->marks);
    merge->cap = num;
}

/* Before its first `deferred` the number of recipients is not known: as many as were named. */
static void grow(struct journal_merge *merge, uint32_t num)
{
    uint32_t before = merge->message.num_recipients;
    if (num <= before)
        return;
    reserve(merge, num);
    memset(&merge->recipients[before], 0, (num - before) * sizeof *merge->recipients);
    memset(&merge->marks[before], 0, (num - before) * sizeof *merge->marks);
    merge->message.num_recipients = num;
}

static uint16_t saturate(uint32_t attempt)
{
    return attempt < UINT16_MAX ? (uint16_t)attempt : UINT16_MAX;
}

static bool is_final(const struct recipient_state *r)
{
    return r->status == RECIPIENT_DELIVERED || r->status == RECIPIENT_BOUNCED ||
           r->status == RECIPIENT_NOTIFIED;
}

static void add_intent(struct journal_merge *merge, uint32_t index, uint32_t attempt)
{
    grow(merge, index + 1);
    struct journal_merge_mark *mark = &merge->marks[index];
    if (attempt > mark->answered || (attempt == mark->answered && mark->returned))
        mark->open = attempt > mark->open ? attempt : mark->open;
}

static void add_outcome(struct journal_merge *merge, const struct journal_record *record,
                        uint32_t i)
{
    const struct outcome *outcome = &record->outcomes[i];
    uint32_t index = record->indexes[i], attempt = record->attempt;
    grow(merge, index + 1);
    struct recipient_state *r = &merge->recipients[index];
    struct journal_merge_mark *mark = &merge->marks[index];
    bool is_newest = attempt >= mark->answered;
    if (attempt >= mark->open)
        mark->open = 0;
    if (is_newest) {
        mark->answered = attempt;
        mark->returned = outcome->kind == OUTCOME_RETURNED || outcome->kind == OUTCOME_NONE;
    }
    if (outcome->kind == OUTCOME_RETURNED || outcome->kind == OUTCOME_NONE ||
        r->status == RECIPIENT_DELIVERED || r->status == RECIPIENT_NOTIFIED)
        return;
    if (outcome->kind == OUTCOME_DELIVERED)
        r->status = RECIPIENT_DELIVERED;
    else if (outcome->kind == OUTCOME_BOUNCED)
        r->status = RECIPIENT_BOUNCED;
    else if (!is_newest || is_final(r))
        return;
    else
        r->status = outcome->in_doubt ? RECIPIENT_IN_DOUBT : RECIPIENT_PENDING;
    r->attempts = saturate(attempt);
    r->next_wall_ms = 0;
    r->attempted_wall_ms = record->attempted_wall_ms;
    r->last = *outcome;
    if (record->mx.len)
        memcpy(r->mx, record->mx.at, record->mx.len);
    r->mx[record->mx.len] = '\0';
}

static void add_deferred(struct journal_merge *merge, const struct journal_record *record)
{
    reserve(merge, record->num);
    merge->message.num_recipients = record->num;
    merge->message.recipients_digest = record->digest;
    if (record->num == 0)
        return;
    memcpy(merge->recipients, record->recipients, record->num * sizeof *merge->recipients);
    memset(merge->marks, 0, record->num * sizeof *merge->marks);
}

/* As waiting_adopt() judges: of the same size and time it is a copy, whose recipients' states hold.
 */
static bool is_of_another_file(const struct journal_merge *merge,
                               const struct journal_record *record)
{
    const struct file_identity *known = &merge->message.identity;
    return merge->path[0] &&
           (known->size != record->identity.size || known->mtime_ns != record->identity.mtime_ns);
}

/* The file was replaced and taken up under its id: recipients of the old one do not have it. */
static void forget_states(struct journal_merge *merge)
{
    merge->message.num_recipients = 0;
    merge->message.recipients_digest = 0;
}

void journal_merge_add(struct journal_merge *merge, const struct journal_record *record)
{
    struct journal_message *message = &merge->message;
    if (is_of_another_file(merge, record))
        forget_states(merge);
    if (record->kind == JOURNAL_DEFERRED)
        add_deferred(merge, record);
    else
        for (uint32_t i = 0; i < record->num; i++)
            if (record->kind == JOURNAL_INTENT)
                add_intent(merge, record->indexes[i], record->attempt);
            else
                add_outcome(merge, record, i);
    message->identity = record->identity;
    if (record->arrived_wall_ms != 0)
        message->arrived_wall_ms = record->arrived_wall_ms;
    memcpy(merge->path, record->path, record->path_len);
    merge->path[record->path_len] = '\0';
}

const struct journal_message *journal_merge_end(struct journal_merge *merge)
{
    for (uint32_t i = 0; i < merge->message.num_recipients; i++) {
        if (merge->marks[i].open == 0 || is_final(&merge->recipients[i]))
            continue;
        merge->recipients[i].status = RECIPIENT_IN_DOUBT;
        merge->recipients[i].attempts = saturate(merge->marks[i].open);
    }
    merge->message.recipients = merge->recipients;
    return &merge->message;
}
