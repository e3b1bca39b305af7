/* Writes and reads the format of the header.
 * It opens no file: session_store.c does. */
#include "tls/session_file.h"

#include "base/check.h"
#include "base/memory.h"

#include <openssl/bytestring.h>
#include <openssl/err.h>
#include <openssl/mem.h>
#include <openssl/sha.h>

static const char magic[8] = {'S', 'L', 'T', 'L', 'S', 'E', 'S', 'S'};

static void put_number(struct buffer *out, uint64_t number, unsigned len)
{
    for (unsigned i = len; i-- > 0;)
        CHECK(buffer_append_byte(out, (uint8_t)(number >> (8 * i))));
}

static void set_number(struct buffer *out, size_t at, uint32_t number)
{
    for (unsigned i = 0; i < 4; i++)
        out->at[at + i] = (uint8_t)(number >> (24 - 8 * i));
}

void session_file_put_head(struct buffer *out, int64_t now_ms)
{
    CHECK(buffer_append(out, magic, sizeof magic));
    put_number(out, SESSION_FILE_VERSION, 4);
    put_number(out, (uint64_t)now_ms, 8);
}

static bool put_item(struct buffer *out, const struct session_saved_item *item)
{
    uint8_t *bytes = NULL;
    size_t len = 0;
    bool ok = SSL_SESSION_to_bytes(item->session, &bytes, &len) && len <= SESSION_FILE_SESSION_MAX;
    if (ok) {
        put_number(out, (uint64_t)item->stored_ms, 8);
        put_number(out, (uint64_t)item->verified_until_ms, 8);
        put_number(out, item->spent, 1);
        put_number(out, len, 4);
        CHECK(buffer_append(out, bytes, len));
    }
    OPENSSL_free(bytes); /* which wipes it */
    ERR_clear_error();
    return ok;
}

bool session_file_put_record(struct buffer *out, const struct session_saved *saved)
{
    size_t begin = out->len;
    size_t label_len = strlen(saved->label);
    uint8_t num = 0;
    put_number(out, 0, 4);
    CHECK(buffer_append(out, saved->key.digest, sizeof saved->key.digest));
    put_number(out, (uint64_t)saved->used_ms, 8);
    put_number(out, label_len, 2);
    CHECK(buffer_append(out, saved->label, label_len));
    size_t num_at = out->len;
    put_number(out, 0, 1);
    for (unsigned i = 0; i < saved->num; i++)
        num += put_item(out, &saved->items[i]);
    out->at[num_at] = num;
    set_number(out, begin, (uint32_t)(out->len - begin - 4));
    if (num == 0)
        out->len = begin;
    return num > 0;
}

enum session_file_state session_file_open(struct bytes file, struct bytes *out_records)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    uint32_t version;
    CBS head;
    CBS_init(&head, file.at, file.len);
    if (!CBS_skip(&head, sizeof magic) || memcmp(file.at, magic, sizeof magic) != 0 ||
        !CBS_get_u32(&head, &version))
        return SESSION_FILE_CORRUPT;
    if (version != SESSION_FILE_VERSION)
        return SESSION_FILE_OTHER_VERSION;
    if (file.len < SESSION_FILE_HEAD_LEN + SESSION_FILE_TAIL_LEN)
        return SESSION_FILE_CORRUPT;
    SHA256(file.at, file.len - sizeof digest, digest);
    if (memcmp(digest, file.at + file.len - sizeof digest, sizeof digest) != 0)
        return SESSION_FILE_CORRUPT;
    *out_records = bytes_make(file.at + SESSION_FILE_HEAD_LEN,
                              file.len - SESSION_FILE_HEAD_LEN - SESSION_FILE_TAIL_LEN);
    return SESSION_FILE_GOOD;
}

static bool get_item(CBS *from, struct session_file_item *out)
{
    uint64_t stored_ms, verified_until_ms;
    uint8_t spent;
    uint32_t len;
    CBS session;
    if (!CBS_get_u64(from, &stored_ms) || !CBS_get_u64(from, &verified_until_ms) ||
        !CBS_get_u8(from, &spent) || spent > 1 || !CBS_get_u32(from, &len) ||
        len > SESSION_FILE_SESSION_MAX || !CBS_get_bytes(from, &session, len) ||
        stored_ms > INT64_MAX / 2 || verified_until_ms > INT64_MAX)
        return false;
    *out = (struct session_file_item){.stored_ms = (int64_t)stored_ms,
                                      .verified_until_ms = (int64_t)verified_until_ms,
                                      .spent = spent,
                                      .session = bytes_make(CBS_data(&session), CBS_len(&session))};
    return true;
}

static bool get_record(CBS *from, struct session_file_record *out)
{
    uint64_t used_ms;
    uint16_t label_len;
    uint8_t num;
    CBS label;
    if (!CBS_copy_bytes(from, out->key.digest, sizeof out->key.digest) ||
        !CBS_get_u64(from, &used_ms) || used_ms > INT64_MAX || !CBS_get_u16(from, &label_len) ||
        label_len > SESSION_LABEL_MAX || !CBS_get_bytes(from, &label, label_len) ||
        !CBS_get_u8(from, &num) || num > SESSION_TICKETS_MAX)
        return false;
    out->used_ms = (int64_t)used_ms;
    out->label = bytes_make(CBS_data(&label), CBS_len(&label));
    out->num = num;
    for (unsigned i = 0; i < num; i++)
        if (!get_item(from, &out->items[i]))
            return false;
    return CBS_len(from) == 0 && bytes_find(out->label, 0) == out->label.len;
}

bool session_file_next(struct bytes *records, struct session_file_record *out)
{
    uint32_t len;
    CBS all, one;
    CBS_init(&all, records->at, records->len);
    if (!CBS_get_u32(&all, &len) || len > SESSION_FILE_RECORD_MAX ||
        !CBS_get_bytes(&all, &one, len) || !get_record(&one, out))
        return false;
    *records = bytes_make(CBS_data(&all), CBS_len(&all));
    return true;
}

struct place {
    int64_t used_ms;
    size_t offset;
};

static int compare_places(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    return x->used_ms < y->used_ms ? -1 : x->used_ms > y->used_ms;
}

/* Where records begin, the least recently used first. Owned by the caller. */
static struct place *list_places(struct bytes records, size_t *out_num)
{
    struct session_file_record record;
    struct place *places = NULL;
    size_t num = 0, cap = 0;
    struct bytes rest = records;
    for (size_t offset = 0; session_file_next(&rest, &record); offset = records.len - rest.len) {
        if (num == cap) {
            cap = cap ? 2 * cap : 64;
            places = mem_realloc(places, cap, sizeof *places);
        }
        places[num++] = (struct place){record.used_ms, offset};
    }
    if (num > 0)
        qsort(places, num, sizeof *places, compare_places);
    *out_num = num;
    return places;
}

static void restore_one(struct session_cache *cache, SSL_CTX *ssl_ctx,
                        const struct session_file_record *record, int64_t now_ms,
                        struct session_file_counts *out)
{
    struct session_saved saved = {.key = record->key, .used_ms = record->used_ms};
    memcpy(saved.label, record->label.at, record->label.len);
    for (unsigned i = 0; i < record->num; i++) {
        const struct session_file_item *item = &record->items[i];
        SSL_SESSION *session = SSL_SESSION_from_bytes(item->session.at, item->session.len, ssl_ctx);
        if (session)
            saved.items[saved.num++] = (struct session_saved_item){
                session, item->stored_ms, item->verified_until_ms, item->spent};
    }
    ERR_clear_error();
    unsigned num = session_cache_restore(cache, &saved, now_ms);
    out->destinations += num > 0;
    out->sessions += num;
    out->left_out += record->num - num;
}

void session_file_restore(struct session_cache *cache, SSL_CTX *ssl_ctx, struct bytes records,
                          int64_t now_ms, struct session_file_counts *out)
{
    struct session_file_record record;
    size_t num;
    struct place *places = list_places(records, &num);
    *out = (struct session_file_counts){0};
    for (size_t i = 0; i < num; i++) {
        struct bytes at = bytes_from(records, places[i].offset);
        CHECK(session_file_next(&at, &record));
        restore_one(cache, ssl_ctx, &record, now_ms, out);
    }
    free(places);
}
