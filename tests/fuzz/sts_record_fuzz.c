/* Any text as an MTA-STS TXT record: an id that is taken is one that the grammar allows. */
#include "base/check.h"
#include "tls/sts_record.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sts_record record, again;
    char text[sizeof record + 16] = "v=STSv1; id=";
    if (!sts_record_parse(bytes_make(data, size), &record))
        return 0;
    CHECK(sts_record_is_one(bytes_make(data, size)));
    CHECK(record.id[0] && strspn(record.id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                            "0123456789") == strlen(record.id));
    strcat(text, record.id);
    CHECK(sts_record_parse(bytes_of(text), &again) && strcmp(again.id, record.id) == 0);
    return 0;
}
