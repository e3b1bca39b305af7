/* Replay of a segment with arbitrary content.
 * The first octet chooses: even, the rest is what the segment holds behind its head; odd, the rest
 * is cut into records (a length in units of 8 octets, then the record behind its sum) that get
 * valid marks and sums, so that the payloads are reached. */
#include "base/check.h"
#include "base/memory.h"
#include "queue/journal_replay.h"

#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { IMAGE_LEN = JOURNAL_SEGMENT_LEN_MIN, SUM_END = 16 };

static void check_live(void *ctx, const struct journal_message *message)
{
    uint64_t *last_id = ctx;
    CHECK(message->id > *last_id || *last_id == 0);
    *last_id = message->id;
    CHECK(strlen(message->path) < SPOOL_PATH_MAX);
    CHECK(message->num_recipients <= JOURNAL_RECIPIENTS_MAX);
    for (uint32_t i = 0; i < message->num_recipients; i++) {
        const struct recipient_state *r = &message->recipients[i];
        CHECK(r->status <= RECIPIENT_NOTIFIED && r->last.kind <= OUTCOME_RETURNED);
        CHECK(strnlen(r->last.text, OUTCOME_TEXT_MAX) < OUTCOME_TEXT_MAX);
    }
}

/* What was decoded is encoded again and must read the same. */
static void check_round_trip(const uint8_t *image, size_t len)
{
    struct journal_scratch scratch = {0}, again_scratch = {0};
    struct journal_record record, again;
    struct buffer out;
    buffer_init(&out, 1 << 22);
    if (journal_record_decode(bytes_make(image, len), &scratch, &record) &&
        journal_record_encode(&record, &out)) {
        CHECK(journal_record_decode(buffer_bytes(&out), &again_scratch, &again));
        CHECK(again.id == record.id && again.num == record.num && again.kind == record.kind);
        CHECK(again.path_len == record.path_len &&
              (again.path_len == 0 || memcmp(again.path, record.path, record.path_len) == 0));
    }
    buffer_fini(&out);
    journal_scratch_fini(&scratch);
    journal_scratch_fini(&again_scratch);
}

static void store_records(uint8_t *image, const struct journal_seed *seed, struct bytes in)
{
    uint64_t at = JOURNAL_HEAD_LEN;
    while (in.len > 1) {
        size_t body = (size_t)in.at[0] * 8, len;
        in = bytes_from(in, 1);
        body = body < sizeof(struct journal_record_head) - SUM_END
                   ? sizeof(struct journal_record_head) - SUM_END
                   : body;
        len = SUM_END + body;
        if (at + len > IMAGE_LEN - JOURNAL_HEAD_LEN)
            break;
        struct bytes part = bytes_first(in, body);
        if (part.len)
            memcpy(image + at + SUM_END, part.at, part.len);
        in = bytes_from(in, part.len);
        uint64_t mark = journal_record_seal(image + at, len, seed, at);
        memcpy(image + at, &mark, sizeof mark);
        check_round_trip(image + at, len);
        at += len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct journal_segment_head head;
    struct journal_replay replay;
    struct bytes in = bytes_from(bytes_make(data, size), 1);
    uint8_t *image = mem_zalloc(1, IMAGE_LEN);
    uint64_t last_id = 0;
    journal_head_make(&head, 1, UINT64_C(0x4141414142424242), IMAGE_LEN, 0);
    memcpy(image, &head, sizeof head);
    struct journal_seed seed = {.seq = head.seq, .salt = head.salt};
    if (size && data[0] % 2)
        store_records(image, &seed, in);
    else if (in.len)
        memcpy(image + JOURNAL_HEAD_LEN, in.at,
               in.len < IMAGE_LEN - JOURNAL_HEAD_LEN ? in.len : IMAGE_LEN - JOURNAL_HEAD_LEN);
    int fd = memfd_create("segment", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, image, IMAGE_LEN) == IMAGE_LEN);
    journal_replay_init(&replay);
    CHECK(journal_replay_add(&replay, fd, 1));
    journal_replay_walk(&replay);
    journal_replay_run(&replay,
                       &(struct journal_replay_calls){.on_live = check_live, .ctx = &last_id});
    journal_replay_fini(&replay);
    free(image);
    return 0;
}
