/* Any text as NOTIFY, ORCPT and xtext: what is taken comes back the same after a turn over the
 * wire.
 */
#include "base/check.h"
#include "base/memory.h"
#include "queue/dsn_option.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_notify(struct bytes text)
{
    uint8_t notify = 0, again = 0;
    char printed[DSN_NOTIFY_TEXT];
    if (!dsn_notify_parse(text, &notify))
        return;
    dsn_notify_print(notify, printed);
    CHECK(dsn_notify_parse(bytes_of(printed), &again) && again == notify && notify != 0);
}

static void check_xtext(struct bytes text)
{
    struct buffer decoded, encoded, back;
    buffer_init(&decoded, SIZE_MAX);
    buffer_init(&encoded, SIZE_MAX);
    buffer_init(&back, SIZE_MAX);
    if (!xtext_decode(text, &decoded)) {
        buffer_clear(&decoded);
        buffer_append_bytes(&decoded, text);
    }
    xtext_encode(buffer_bytes(&decoded), &encoded);
    CHECK(xtext_decode(buffer_bytes(&encoded), &back));
    CHECK(bytes_equal(buffer_bytes(&back), buffer_bytes(&decoded)));
    buffer_fini(&decoded);
    buffer_fini(&encoded);
    buffer_fini(&back);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes text = bytes_make(data, size);
    char *orcpt = dsn_orcpt_parse(text);
    for (const char *at = orcpt; at && *at; at++)
        CHECK(*at >= ' ' && *at <= '~');
    free(orcpt);
    check_notify(text);
    check_xtext(text);
    return 0;
}
