/* Two tables of words.
 * What they mean is in docs/commands.md. */
#include "router/queue_words.h"

#include "base/check.h"

#include <string.h>

enum queue_operation queue_operation_of(const char *word)
{
    static const struct {
        const char *word;
        enum queue_operation operation;
    } rows[] = {
        {"hold", QUEUE_HOLD},
        {"release", QUEUE_RELEASE},
        {"retry", QUEUE_RETRY},
        {"remove", QUEUE_REMOVE},
    };
    for (size_t i = 0; word && i < sizeof rows / sizeof *rows; i++)
        if (strcmp(word, rows[i].word) == 0)
            return rows[i].operation;
    return QUEUE_NO_OPERATION;
}

const char *queue_answer_name(enum queue_answer answer)
{
    switch (answer) {
    case QUEUE_DONE:
        return "done";
    case QUEUE_UNKNOWN:
        return "unknown";
    case QUEUE_BUSY:
        return "busy";
    case QUEUE_HELD_ALREADY:
        return "held already";
    case QUEUE_NOT_HELD:
        return "not held";
    case QUEUE_ENDED:
        return "ended";
    case QUEUE_REPLACED:
        return "replaced";
    case QUEUE_FAILED:
        return "failed";
    }
    CHECK(false);
    return "";
}
