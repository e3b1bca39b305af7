/* A binary heap of bare entries by due time, an index by id, and the packed form of their
 * recipients' states.
 * It reads no files and takes no decision. */
#include "queue/table.h"

#include "base/bytes.h"
#include "base/check.h"
#include "base/memory.h"
#include "queue/queue_id.h"

#include <string.h>

enum { BUCKETS_MIN = 256 };

void table_init(struct table *table)
{
    *table = (struct table){0};
}

void table_fini(struct table *table)
{
    for (size_t i = 0; i < table->num_buckets; i++) {
        while (table->buckets[i]) {
            struct waiting *waiting = table->buckets[i];
            table->buckets[i] = waiting->id_next;
            waiting_free(waiting);
        }
    }
    free(table->buckets);
    free(table->heap);
    *table = (struct table){0};
}

static void place(struct table *table, size_t i, struct waiting *waiting)
{
    table->heap[i] = waiting;
    waiting->slot = (uint32_t)i + 1;
}

static void sift_up(struct table *table, size_t i, struct waiting *waiting)
{
    while (i > 0 && table->heap[(i - 1) / 2]->due_wall_ms > waiting->due_wall_ms) {
        place(table, i, table->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(table, i, waiting);
}

static void sift_down(struct table *table, size_t i, struct waiting *waiting)
{
    for (size_t child; (child = 2 * i + 1) < table->num; i = child) {
        if (child + 1 < table->num &&
            table->heap[child + 1]->due_wall_ms < table->heap[child]->due_wall_ms)
            child++;
        if (waiting->due_wall_ms <= table->heap[child]->due_wall_ms)
            break;
        place(table, i, table->heap[child]);
    }
    place(table, i, waiting);
}

static struct waiting **bucket_of(const struct table *table, uint64_t id)
{
    /* Ids are times in microseconds: the multiplication spreads runs of neighbours. */
    return &table->buckets[(id * UINT64_C(0x9e3779b97f4a7c15) >> 32) & (table->num_buckets - 1)];
}

static void set_num_buckets(struct table *table, size_t num)
{
    struct table old = *table;
    table->num_buckets = num;
    table->buckets = mem_zalloc(table->num_buckets, sizeof *table->buckets);
    for (size_t i = 0; i < old.num_buckets; i++) {
        while (old.buckets[i]) {
            struct waiting *waiting = old.buckets[i];
            old.buckets[i] = waiting->id_next;
            waiting->id_next = *bucket_of(table, waiting->id);
            *bucket_of(table, waiting->id) = waiting;
        }
    }
    free(old.buckets);
}

static void set_cap(struct table *table, size_t cap)
{
    table->cap = cap;
    table->heap = mem_realloc(table->heap, cap, sizeof *table->heap);
}

void table_reserve(struct table *table, size_t num)
{
    size_t num_buckets = table->num_buckets ? table->num_buckets : BUCKETS_MIN;
    while (num_buckets < num)
        num_buckets *= 2;
    if (num_buckets > table->num_buckets)
        set_num_buckets(table, num_buckets);
    if (num > table->cap)
        set_cap(table, num);
}

static void add_to_index(struct table *table, struct waiting *waiting)
{
    if (table->num + table->num_held >= table->num_buckets)
        set_num_buckets(table, table->num_buckets ? table->num_buckets * 2 : BUCKETS_MIN);
    struct waiting **bucket = bucket_of(table, waiting->id);
    table->num_in_doubt += waiting->is_in_doubt;
    waiting->id_next = *bucket;
    *bucket = waiting;
}

static void take_from_index(struct table *table, const struct waiting *waiting)
{
    table->num_in_doubt -= waiting->is_in_doubt;
    struct waiting **link = bucket_of(table, waiting->id);
    while (*link != waiting)
        link = &(*link)->id_next;
    *link = waiting->id_next;
}

struct waiting *table_find(const struct table *table, uint64_t id)
{
    struct waiting *waiting = table->num_buckets ? *bucket_of(table, id) : NULL;
    while (waiting && waiting->id != id)
        waiting = waiting->id_next;
    return waiting;
}

static void add_to_heap(struct table *table, struct waiting *waiting)
{
    CHECK(waiting->slot == 0 && table->num < UINT32_MAX);
    if (table->num == table->cap)
        set_cap(table, table->cap ? table->cap * 2 : 64);
    sift_up(table, table->num++, waiting);
}

void table_add(struct table *table, struct waiting *waiting)
{
    add_to_index(table, waiting);
    add_to_heap(table, waiting);
}

void table_add_held(struct table *table, struct waiting *waiting)
{
    CHECK(waiting->slot == 0);
    add_to_index(table, waiting);
    table->num_held++;
}

struct waiting *table_first(const struct table *table)
{
    return table->num ? table->heap[0] : NULL;
}

struct waiting *table_take_first(struct table *table)
{
    struct waiting *first = table_first(table);
    if (!first)
        return NULL;
    take_from_index(table, first);
    first->slot = 0;
    struct waiting *last = table->heap[--table->num];
    if (last != first)
        sift_down(table, 0, last);
    return first;
}

void table_move(struct table *table, struct waiting *waiting, int64_t due_wall_ms)
{
    if (table_holds(waiting)) {
        CHECK(table->num_held > 0);
        table->num_held--;
        waiting->due_wall_ms = due_wall_ms;
        add_to_heap(table, waiting);
        return;
    }
    CHECK(table->heap[waiting->slot - 1] == waiting);
    bool earlier = due_wall_ms < waiting->due_wall_ms;
    waiting->due_wall_ms = due_wall_ms;
    if (earlier)
        sift_up(table, waiting->slot - 1, waiting);
    else
        sift_down(table, waiting->slot - 1, waiting);
}

/* One state, packed: everything but the unused ends of the texts. In memory only, so host byte
 * order does. */
struct packed_state {
    int64_t next_wall_ms;
    int64_t attempted_wall_ms;
    uint16_t attempts;
    uint16_t code;
    uint8_t status, told, kind, phase, in_doubt, hop;
    uint8_t enhanced[3];
    uint8_t text_len, mx_len;
};

static void pack(const struct recipient_state *state, struct buffer *out)
{
    const struct outcome *last = &state->last;
    struct packed_state packed = {
        .next_wall_ms = state->next_wall_ms,
        .attempted_wall_ms = state->attempted_wall_ms,
        .attempts = state->attempts,
        .code = last->code,
        .status = state->status,
        .told = state->told,
        .kind = last->kind,
        .phase = last->phase,
        .in_doubt = last->in_doubt,
        .hop = last->hop,
        .enhanced = {last->enhanced[0], last->enhanced[1], last->enhanced[2]},
        .text_len = (uint8_t)strnlen(last->text, sizeof last->text - 1),
        .mx_len = (uint8_t)strnlen(state->mx, sizeof state->mx - 1),
    };
    buffer_append(out, &packed, sizeof packed);
    buffer_append(out, last->text, packed.text_len);
    buffer_append(out, state->mx, packed.mx_len);
}

struct waiting *waiting_new(const struct journal_message *message)
{
    struct waiting *waiting = mem_zalloc(1, sizeof *waiting);
    waiting->id = message->id;
    waiting->path = mem_strdup(message->path);
    waiting->identity = message->identity;
    /* An intent alone does not tell the arrival; the id does. */
    waiting->arrived_wall_ms =
        message->arrived_wall_ms ? message->arrived_wall_ms : queue_id_wall_ms(message->id);
    waiting->attention_wall_ms = INT64_MAX;
    waiting->recipients_digest = message->recipients_digest;
    waiting->num_recipients = message->num_recipients;
    if (!message->recipients)
        return waiting;
    struct buffer states;
    buffer_init(&states, UINT32_MAX);
    for (uint32_t i = 0; i < message->num_recipients; i++) {
        pack(&message->recipients[i], &states);
        waiting->is_in_doubt |= message->recipients[i].status == RECIPIENT_IN_DOUBT;
    }
    waiting->states = mem_alloc(states.len);
    memcpy(waiting->states, states.at, states.len);
    waiting->states_len = (uint32_t)states.len;
    buffer_fini(&states);
    waiting->due_wall_ms =
        recipients_due_wall_ms(message->recipients, message->num_recipients, false);
    return waiting;
}

void waiting_free(struct waiting *waiting)
{
    if (!waiting)
        return;
    free(waiting->path);
    free(waiting->states);
    free(waiting);
}

void waiting_states(const struct waiting *waiting, struct recipient_state *out)
{
    const uint8_t *at = waiting->states;
    for (uint32_t i = 0; i < waiting->num_recipients; i++) {
        struct packed_state packed;
        out[i] = (struct recipient_state){.status = RECIPIENT_PENDING};
        if (!at)
            continue;
        memcpy(&packed, at, sizeof packed);
        at += sizeof packed;
        out[i].status = packed.status;
        out[i].told = packed.told;
        out[i].attempts = packed.attempts;
        out[i].attempted_wall_ms = packed.attempted_wall_ms;
        out[i].next_wall_ms = packed.next_wall_ms;
        out[i].last = (struct outcome){.kind = packed.kind,
                                       .phase = packed.phase,
                                       .in_doubt = packed.in_doubt != 0,
                                       .hop = packed.hop,
                                       .code = packed.code};
        memcpy(out[i].last.enhanced, packed.enhanced, sizeof packed.enhanced);
        memcpy(out[i].last.text, at, packed.text_len);
        at += packed.text_len;
        memcpy(out[i].mx, at, packed.mx_len);
        at += packed.mx_len;
    }
    CHECK(!at || at == waiting->states + waiting->states_len);
}

bool waiting_fits(const struct waiting *waiting, uint32_t digest, size_t num)
{
    if (waiting->recipients_digest)
        return waiting->recipients_digest == digest && waiting->num_recipients == num;
    return waiting->num_recipients <= num;
}

bool waiting_adopt(struct waiting *waiting, const struct file_identity *identity)
{
    bool is_copy = waiting->identity.size == identity->size &&
                   waiting->identity.mtime_ns == identity->mtime_ns;
    waiting->identity = *identity;
    if (is_copy)
        return true;
    free(waiting->states);
    waiting->states = NULL;
    waiting->states_len = 0;
    waiting->num_recipients = 0;
    waiting->recipients_digest = 0;
    waiting->is_in_doubt = false;
    return false;
}

bool table_adopt(struct table *table, struct waiting *waiting, const struct file_identity *identity)
{
    bool was_in_doubt = waiting->is_in_doubt;
    bool is_copy = waiting_adopt(waiting, identity);
    table->num_in_doubt -= was_in_doubt && !waiting->is_in_doubt;
    return is_copy;
}

void waiting_make_due(struct waiting *waiting)
{
    uint8_t *at = waiting->states;
    for (uint32_t i = 0; at && i < waiting->num_recipients; i++) {
        struct packed_state packed;
        memcpy(&packed, at, sizeof packed);
        packed.next_wall_ms = 0;
        memcpy(at, &packed, sizeof packed);
        at += sizeof packed + packed.text_len + packed.mx_len;
    }
}

int64_t recipients_due_wall_ms(const struct recipient_state *recipients, uint32_t num,
                               bool hold_in_doubt)
{
    int64_t due = INT64_MAX;
    for (uint32_t i = 0; i < num; i++) {
        if (recipients[i].status == RECIPIENT_IN_DOUBT && !hold_in_doubt)
            return 0;
        if (recipients[i].status == RECIPIENT_PENDING && recipients[i].next_wall_ms < due)
            due = recipients[i].next_wall_ms;
    }
    return due == INT64_MAX ? 0 : due;
}

uint32_t recipients_told(const struct recipient_state *recipients, uint32_t num)
{
    uint32_t told = 0;
    for (uint32_t i = 0; i < num; i++) {
        told += recipients[i].status == RECIPIENT_NOTIFIED;
        told += (recipients[i].told & RECIPIENT_TOLD_DELAY) != 0;
        told += (recipients[i].told & RECIPIENT_TOLD_SUCCESS) != 0;
    }
    return told;
}
