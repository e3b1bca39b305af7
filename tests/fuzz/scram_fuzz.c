/* SCRAM: the server's two messages, parted by a line feed. */
#include "base/check.h"
#include "tls/scram.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes all = bytes_make(data, size);
    struct bytes first = bytes_first(all, bytes_find(all, '\n'));
    struct bytes last = bytes_from(all, first.len + 1);
    struct scram scram;
    struct buffer out;
    buffer_init(&out, 8 * SCRAM_MESSAGE_MAX);
    scram_begin(&scram, "user", "rOprNGfwEbeRWgbNEkqO", &out);
    buffer_clear(&out);
    bool answers = !scram_answer(&scram, first, "pencil", &out);
    CHECK(answers == (out.len > 0) && !out.overflow);
    if (answers)
        (void)!scram_check(&scram, last);
    scram_fini(&scram);
    buffer_fini(&out);
    return 0;
}
