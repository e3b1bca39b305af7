/* The messages of the script, and reading them back out of files.
 *
 * Each recipient's address occurs in one message only, so an address says which message is meant.
 */
#ifndef SLUICE_TESTS_POWERCUT_MESSAGE_H
#define SLUICE_TESTS_POWERCUT_MESSAGE_H

#include "base/bytes.h"

enum { MESSAGE_RECIPIENTS_MAX = 4, MESSAGES_MAX = 4096 };

enum message_drop {
    DROP_RENAME_SYNCED, /* written in tmp/, file synced, renamed, new/ synced */
    DROP_COPY_SYNCED,   /* written in place, file synced, new/ synced */
    DROP_RENAME,        /* the same without any sync */
    DROP_COPY,
    DROP_LINK_SYNCED, /* linked into new/, unlinked from tmp/, both synced */
    DROP_SUBFOLDER,   /* as the first, in new/sub */
    DROP_KINDS
};

struct script_message {
    char name[32]; /* of the file */
    enum message_drop drop;
    bool null_sender;
    bool is_bad; /* no envelope can be read */
    unsigned num_recipients;
    char recipients[MESSAGE_RECIPIENTS_MAX][96];
    struct buffer text; /* owned */
};

/* Number i of the script, below MESSAGES_MAX: always the same. Any thread; lives on. */
const struct script_message *message_get(unsigned i);

/* What a file holds, by its octets. */
enum content_kind {
    CONTENT_OTHER,   /* nothing, or a part of something */
    CONTENT_MESSAGE, /* all of a message of the script */
    CONTENT_DSN
};
enum content_kind message_recognise(struct bytes content, unsigned *out_number);
/* Each recipient that a DSN reports. */
void message_each_reported(struct bytes content, void (*each)(void *ctx, const char *address),
                           void *ctx);

#endif
