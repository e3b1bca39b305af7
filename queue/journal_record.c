/* Journal records: to octets and back, checksums, finding the next valid one.
 * Pure: no files, no threads, no meaning of what the records say. */
#include "base/check.h"
#include "base/memory.h"
#include "queue/journal_format.h"

/* Each step is a bijection of the running value for a given word and of the word for a given value,
 * so damage within one aligned word never goes unseen; other damage does with 2^-64. */
static uint64_t sum_words(uint64_t sum, const uint8_t *at, size_t len)
{
    for (size_t i = 0; i + 8 <= len; i += 8) {
        uint64_t word;
        memcpy(&word, at + i, 8);
        sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
        sum ^= sum >> 29;
    }
    sum *= UINT64_C(0xbf58476d1ce4e5b9);
    return sum ^ sum >> 32;
}

enum { SUM_END = 16 }; /* offset in a record of what the sum covers: all behind mark and sum */

static uint64_t record_sum(const uint8_t *image, size_t len, const struct journal_seed *seed,
                           uint64_t offset)
{
    uint64_t words[3] = {seed->salt, journal_order(seed->seq, offset), len};
    return sum_words(sum_words(JOURNAL_MAGIC, (const uint8_t *)words, sizeof words),
                     image + SUM_END, len - SUM_END);
}

static uint32_t tag_of(const struct journal_seed *seed)
{
    return (uint32_t)(seed->salt >> 32);
}

void journal_head_make(struct journal_segment_head *head, uint64_t seq, uint64_t salt, uint64_t len,
                       uint64_t highest_id)
{
    /* A tag of 0 could be mistaken for octets that were never written. */
    if (salt >> 32 == 0)
        salt |= UINT64_C(1) << 63;
    *head = (struct journal_segment_head){
        .magic = JOURNAL_MAGIC, .seq = seq, .salt = salt, .len = len, .highest_id = highest_id};
    head->sum = sum_words(JOURNAL_MAGIC, (const uint8_t *)head, sizeof *head - 8);
}

bool journal_head_is_valid(const struct journal_segment_head *head)
{
    return head->magic == JOURNAL_MAGIC && head->seq > 0 && head->seq <= UINT32_MAX &&
           head->len >= JOURNAL_SEGMENT_LEN_MIN && head->len <= JOURNAL_SEGMENT_LEN_MAX &&
           head->sum == sum_words(JOURNAL_MAGIC, (const uint8_t *)head, sizeof *head - 8);
}

static void append_identity(struct buffer *out, const struct file_identity *identity)
{
    buffer_append(out, &identity->dev, 8);
    buffer_append(out, &identity->ino, 8);
    buffer_append(out, &identity->btime_ns, 8);
    buffer_append(out, &identity->mtime_ns, 8);
    buffer_append(out, &identity->size, 8);
}

static void append_outcome(struct buffer *out, const struct outcome *outcome,
                           const struct outcome *before)
{
    size_t text_len = strnlen(outcome->text, OUTCOME_TEXT_MAX - 1);
    bool same = before && text_len && strncmp(before->text, outcome->text, OUTCOME_TEXT_MAX) == 0;
    buffer_append_byte(out, outcome->kind);
    buffer_append_byte(out, outcome->phase);
    buffer_append_byte(out, outcome->in_doubt);
    buffer_append(out, &outcome->code, 2);
    buffer_append(out, outcome->enhanced, 3);
    buffer_append_byte(out, same ? JOURNAL_SAME_TEXT : (uint8_t)text_len);
    if (!same)
        buffer_append(out, outcome->text, text_len);
}

static void append_recipients(struct buffer *out, const struct journal_record *record)
{
    for (uint32_t i = 0; i < record->num; i++) {
        const struct recipient_state *r = &record->recipients[i];
        buffer_append_byte(out, r->status);
        buffer_append(out, &r->attempts, 2);
        buffer_append(out, &r->next_wall_ms, 8);
        append_outcome(out, &r->last, i ? &record->recipients[i - 1].last : NULL);
    }
}

static void append_mx(struct buffer *out, struct bytes mx)
{
    mx = bytes_first(mx, RECIPIENT_MX_MAX - 1);
    buffer_append_byte(out, (uint8_t)mx.len);
    buffer_append(out, mx.at, mx.len);
}

static void append_outcome_extension(struct buffer *out, const struct journal_record *record)
{
    buffer_append(out, &record->attempted_wall_ms, 8);
    for (uint32_t i = 0; i < record->num; i++)
        buffer_append_byte(out, record->outcomes[i].hop);
    append_mx(out, record->mx);
}

static void append_recipients_extension(struct buffer *out, const struct journal_record *record)
{
    for (uint32_t i = 0; i < record->num; i++) {
        const struct recipient_state *r = &record->recipients[i];
        bool same = i && r->mx[0] && strcmp(r->mx, record->recipients[i - 1].mx) == 0;
        buffer_append_byte(out, r->told);
        buffer_append(out, &r->attempted_wall_ms, 8);
        buffer_append_byte(out, r->last.hop);
        if (same)
            buffer_append_byte(out, JOURNAL_SAME_TEXT);
        else
            append_mx(out, bytes_of(r->mx));
    }
}

static void append_payload(struct buffer *out, const struct journal_record *record)
{
    append_identity(out, &record->identity);
    if (record->kind != JOURNAL_INTENT)
        buffer_append(out, &record->arrived_wall_ms, 8);
    if (record->kind == JOURNAL_DEFERRED) {
        buffer_append(out, &record->digest, 4);
        append_recipients(out, record);
    } else {
        buffer_append(out, &record->attempt, 4);
        for (uint32_t i = 0; i < record->num; i++) {
            buffer_append(out, &record->indexes[i], 4);
            if (record->kind == JOURNAL_OUTCOME)
                append_outcome(out, &record->outcomes[i], i ? &record->outcomes[i - 1] : NULL);
        }
    }
    buffer_append(out, record->path, record->path_len);
    if (record->kind == JOURNAL_DEFERRED)
        append_recipients_extension(out, record);
    else if (record->kind == JOURNAL_OUTCOME)
        append_outcome_extension(out, record);
}

/* status, attempts, next, outcome; told, end of the attempt, hop, mx: as in journal_format.h. */
_Static_assert((uint64_t)JOURNAL_MESSAGE_RECIPIENTS_MAX *(1 + 2 + 8 + 9 + OUTCOME_TEXT_MAX + 1 + 8 +
                                                          1 + RECIPIENT_MX_MAX) <
                   JOURNAL_SEGMENT_LEN - 4096 - SPOOL_PATH_MAX,
               "a snapshot of a message fits into a segment");

bool journal_record_encode(const struct journal_record *record, struct buffer *out)
{
    static const uint8_t zeros[JOURNAL_ALIGN];
    size_t start = out->len;
    bool has_more = record->kind == JOURNAL_OUTCOME || record->kind == JOURNAL_DEFERRED;
    uint8_t extended = has_more ? JOURNAL_EXTENDED : 0;
    struct journal_record_head head = {.id = record->id,
                                       .order = record->order,
                                       .kind = (uint8_t)record->kind,
                                       .flags = record->flags | extended,
                                       .path_len = (uint16_t)record->path_len,
                                       .num = record->num};
    if (record->num > JOURNAL_RECIPIENTS_MAX || record->path_len >= SPOOL_PATH_MAX)
        return false;
    buffer_append(out, &head, sizeof head);
    if (journal_kind_has_payload(record->kind))
        append_payload(out, record);
    buffer_append(out, zeros, -(out->len - start) % JOURNAL_ALIGN);
    return !out->overflow;
}

uint64_t journal_record_seal(uint8_t *image, size_t len, const struct journal_seed *seed,
                             uint64_t offset)
{
    struct journal_record_head head;
    CHECK(len >= sizeof head && len % JOURNAL_ALIGN == 0 && len <= UINT32_MAX);
    memcpy(&head, image, sizeof head);
    if (!(head.flags & JOURNAL_COPY))
        head.order = journal_order(seed->seq, offset);
    memcpy(image, &head, sizeof head);
    head.sum = record_sum(image, len, seed, offset);
    memcpy(image + offsetof(struct journal_record_head, sum), &head.sum, 8);
    return (uint64_t)tag_of(seed) << 32 | len;
}

size_t journal_record_check(const uint8_t *at, size_t have, uint64_t offset,
                            const struct journal_seed *seed, struct journal_record_head *out)
{
    if (have < sizeof *out)
        return 0;
    memcpy(out, at, sizeof *out);
    size_t len = (uint32_t)out->mark;
    if (out->mark >> 32 != tag_of(seed) || len < sizeof *out || len % JOURNAL_ALIGN != 0 ||
        len > have)
        return 0;
    return out->sum == record_sum(at, len, seed, offset) ? len : 0;
}

bool journal_record_next(const uint8_t *image, size_t limit, const struct journal_seed *seed,
                         uint64_t *offset, struct journal_record_head *out, bool *out_skipped)
{
    uint64_t start = *offset;
    for (; *offset + sizeof *out <= limit; *offset += JOURNAL_ALIGN) {
        if (journal_record_check(image + *offset, limit - *offset, *offset, seed, out)) {
            *out_skipped |= *offset != start;
            return true;
        }
    }
    return false;
}

/* A cursor over a payload: once a read fails, all that follow give zeros. */
struct reader {
    struct bytes rest;
    bool failed;
};

static void take(struct reader *reader, void *out, size_t len)
{
    if (reader->rest.len < len)
        reader->failed = true;
    if (reader->failed) {
        memset(out, 0, len);
        return;
    }
    memcpy(out, reader->rest.at, len);
    reader->rest = bytes_from(reader->rest, len);
}

static uint8_t take_byte(struct reader *reader)
{
    uint8_t value;
    take(reader, &value, 1);
    return value;
}

static void take_outcome(struct reader *reader, struct outcome *out, const struct outcome *before)
{
    /* What lies behind the text stays as it is: it costs more than all else to clear it. */
    out->kind = take_byte(reader);
    out->phase = take_byte(reader);
    out->in_doubt = take_byte(reader) != 0;
    out->hop = HOP_UNKNOWN;
    take(reader, &out->code, 2);
    take(reader, out->enhanced, 3);
    uint8_t text_len = take_byte(reader);
    if (text_len == JOURNAL_SAME_TEXT && before) {
        memcpy(out->text, before->text, sizeof out->text);
    } else if (text_len >= OUTCOME_TEXT_MAX) {
        reader->failed = true;
        out->text[0] = '\0';
    } else {
        take(reader, out->text, text_len);
        out->text[text_len] = '\0';
    }
    if (out->kind > OUTCOME_RETURNED || out->phase > PHASE_FINAL)
        reader->failed = true;
}

static void scratch_grow(struct journal_scratch *scratch, uint32_t num)
{
    if (num <= scratch->cap)
        return;
    scratch->indexes = mem_realloc(scratch->indexes, num, sizeof *scratch->indexes);
    scratch->outcomes = mem_realloc(scratch->outcomes, num, sizeof *scratch->outcomes);
    scratch->recipients = mem_realloc(scratch->recipients, num, sizeof *scratch->recipients);
    scratch->cap = num;
}

void journal_scratch_fini(struct journal_scratch *scratch)
{
    free(scratch->indexes);
    free(scratch->outcomes);
    free(scratch->recipients);
    *scratch = (struct journal_scratch){0};
}

static void take_recipients(struct reader *reader, struct journal_scratch *scratch, uint32_t num)
{
    for (uint32_t i = 0; i < num && !reader->failed; i++) {
        struct recipient_state *r = &scratch->recipients[i];
        r->status = take_byte(reader);
        take(reader, &r->attempts, 2);
        take(reader, &r->next_wall_ms, 8);
        take_outcome(reader, &r->last, i ? &scratch->recipients[i - 1].last : NULL);
        r->told = 0;
        r->attempted_wall_ms = 0;
        r->mx[0] = '\0';
        if (r->status > RECIPIENT_NOTIFIED)
            reader->failed = true;
    }
}

static void take_indexes(struct reader *reader, struct journal_scratch *scratch,
                         enum journal_kind kind, uint32_t num)
{
    for (uint32_t i = 0; i < num && !reader->failed; i++) {
        take(reader, &scratch->indexes[i], 4);
        if (kind == JOURNAL_OUTCOME)
            take_outcome(reader, &scratch->outcomes[i], i ? &scratch->outcomes[i - 1] : NULL);
        if (scratch->indexes[i] >= JOURNAL_RECIPIENTS_MAX)
            reader->failed = true;
    }
}

static void take_hop(struct reader *reader, struct outcome *out)
{
    out->hop = take_byte(reader);
    if (out->hop > HOP_FINAL)
        reader->failed = true;
}

static void take_outcome_extension(struct reader *reader, struct journal_scratch *scratch,
                                   struct journal_record *out)
{
    take(reader, &out->attempted_wall_ms, 8);
    for (uint32_t i = 0; i < out->num && !reader->failed; i++)
        take_hop(reader, &scratch->outcomes[i]);
    size_t mx_len = take_byte(reader);
    if (mx_len >= RECIPIENT_MX_MAX || mx_len > reader->rest.len)
        reader->failed = true;
    out->mx = reader->failed ? (struct bytes){0} : bytes_first(reader->rest, mx_len);
}

static void take_mx(struct reader *reader, char out[RECIPIENT_MX_MAX], const char *before)
{
    uint8_t len = take_byte(reader);
    if (len == JOURNAL_SAME_TEXT && before) {
        memcpy(out, before, RECIPIENT_MX_MAX);
    } else if (len < RECIPIENT_MX_MAX) {
        take(reader, out, len);
        out[len] = '\0';
    } else {
        reader->failed = true;
        out[0] = '\0';
    }
}

static void take_recipients_extension(struct reader *reader, struct journal_scratch *scratch,
                                      uint32_t num)
{
    for (uint32_t i = 0; i < num && !reader->failed; i++) {
        struct recipient_state *r = &scratch->recipients[i];
        r->told = take_byte(reader);
        take(reader, &r->attempted_wall_ms, 8);
        take_hop(reader, &r->last);
        take_mx(reader, r->mx, i ? scratch->recipients[i - 1].mx : NULL);
    }
}

static void take_extension(struct reader *reader, struct journal_scratch *scratch,
                           struct journal_record *out)
{
    if (reader->rest.len < out->path_len)
        reader->failed = true;
    reader->rest = bytes_from(reader->rest, out->path_len);
    if (!(out->flags & JOURNAL_EXTENDED))
        return;
    if (out->kind == JOURNAL_DEFERRED)
        take_recipients_extension(reader, scratch, out->num);
    else if (out->kind == JOURNAL_OUTCOME)
        take_outcome_extension(reader, scratch, out);
}

static void take_payload(struct reader *reader, struct journal_scratch *scratch,
                         struct journal_record *out)
{
    take(reader, &out->identity.dev, 8);
    take(reader, &out->identity.ino, 8);
    take(reader, &out->identity.btime_ns, 8);
    take(reader, &out->identity.mtime_ns, 8);
    take(reader, &out->identity.size, 8);
    if (out->kind != JOURNAL_INTENT)
        take(reader, &out->arrived_wall_ms, 8);
    if (out->kind == JOURNAL_DEFERRED) {
        take(reader, &out->digest, 4);
        take_recipients(reader, scratch, out->num);
    } else {
        take(reader, &out->attempt, 4);
        take_indexes(reader, scratch, out->kind, out->num);
    }
}

bool journal_record_decode(struct bytes image, struct journal_scratch *scratch,
                           struct journal_record *out)
{
    struct journal_record_head head;
    struct reader reader = {.rest = image};
    take(&reader, &head, sizeof head);
    *out = (struct journal_record){.kind = head.kind,
                                   .flags = head.flags,
                                   .id = head.id,
                                   .order = head.order,
                                   .num = head.num,
                                   .path_len = head.path_len};
    if (reader.failed || head.kind < JOURNAL_INTENT || head.kind > JOURNAL_RESCUED)
        return false;
    if (!journal_kind_has_payload(head.kind)) {
        out->num = 0;
        out->path_len = 0;
        return true;
    }
    /* Each recipient takes four octets at least, so this also bounds what is allocated. */
    if (head.num > JOURNAL_RECIPIENTS_MAX || head.num > image.len / 4 ||
        head.path_len >= SPOOL_PATH_MAX)
        return false;
    scratch_grow(scratch, head.num);
    out->indexes = scratch->indexes;
    out->outcomes = scratch->outcomes;
    out->recipients = scratch->recipients;
    take_payload(&reader, scratch, out);
    out->path = (const char *)reader.rest.at;
    take_extension(&reader, scratch, out);
    return !reader.failed;
}
