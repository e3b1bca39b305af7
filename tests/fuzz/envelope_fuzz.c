/* Any file as a message: the envelope is whole, the header section's end is found in any portions,
 * and no Bcc is in what would be sent. */
#include "base/check.h"
#include "queue/content.h"
#include "queue/header_field.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { RECIPIENTS_MAX = 50 };

static void check_wire(struct bytes file, const struct envelope *envelope)
{
    struct content content = {
        .file = file, .file_len = file.len, .cuts = envelope->cuts, .num_cuts = envelope->num_cuts};
    struct content_scan scan;
    struct content_reader reader;
    struct buffer wire;
    struct bytes run;
    content_scan_init(&scan, envelope, CONTENT_LONG_FOLD);
    content_scan_feed(&scan, file);
    content.class = content_scan_end(&scan, 0);
    buffer_init(&wire, SIZE_MAX);
    content_reader_init(&reader, &content, CONTENT_CHUNKS, -1);
    while (content_reader_next(&reader, &run) == CONTENT_MORE)
        buffer_append_bytes(&wire, run);
    content_reader_fini(&reader);
    struct header_field field = header_field_at(buffer_bytes(&wire), 0);
    while (field.line == HEADER_FIELD || field.line == HEADER_OTHER) {
        CHECK(field.name_id != HEADER_NAME_BCC && field.name_id != HEADER_NAME_RESENT_BCC &&
              field.name_id != HEADER_NAME_RETURN_PATH);
        field = header_field_at(buffer_bytes(&wire), field.offset + field.len);
    }
    buffer_fini(&wire);
}

static void check_envelope(struct bytes file, const struct envelope *envelope)
{
    uint64_t end = 0;
    CHECK(envelope->sender.mailbox);
    CHECK(envelope->recipients.num > 0 && envelope->recipients.num <= RECIPIENTS_MAX);
    for (size_t i = 0; i < envelope->recipients.num; i++) {
        CHECK(envelope->recipients.items[i].domain[0]);
        for (size_t k = 0; k < i; k++)
            CHECK(!address_equal(&envelope->recipients.items[i], &envelope->recipients.items[k]));
    }
    for (size_t i = 0; i < envelope->num_cuts; i++) {
        CHECK(envelope->cuts[i].len && (i == 0 || envelope->cuts[i].offset > end));
        end = envelope->cuts[i].offset + envelope->cuts[i].len;
        CHECK(end <= file.len);
    }
    CHECK(envelope->header_end <= file.len);
    check_wire(file, envelope);
}

/* In portions of `step` the end is where it is in one piece. */
static void check_header_end(struct bytes file, size_t step)
{
    size_t whole = envelope_header_end(file, 0), end = 0, from = 0;
    for (size_t len = step; !end && from < file.len; len += step) {
        end = envelope_header_end(bytes_first(file, len), from);
        from = len < file.len ? len : file.len;
    }
    CHECK(end == whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct envelope_limits limits = {.max_recipients = RECIPIENTS_MAX};
    struct bytes file = bytes_make(data, size);
    struct envelope envelope;
    char why[ENVELOPE_WHY_MAX];
    if (envelope_parse(file, &limits, &envelope, why)) {
        check_envelope(file, &envelope);
        envelope_fini(&envelope);
    } else {
        CHECK(why[0] && strlen(why) < ENVELOPE_WHY_MAX && !strchr(why, '\n'));
    }
    check_header_end(file, 1 + size % 7);
    return 0;
}
