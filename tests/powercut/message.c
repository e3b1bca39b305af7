/* The script's messages: every kind of fate with every way to drop. */
#include "tests/powercut/message.h"

#include "base/check.h"

#include <pthread.h>
#include <stdio.h>

struct pattern {
    const char *fates[MESSAGE_RECIPIENTS_MAX]; /* see peer.h; NULL: no more */
    bool null_sender;
    bool is_bad;
    size_t len; /* of the content; 0: short */
};

static const struct pattern patterns[] = {
    {.fates = {"ok"}},
    {.fates = {"ok", "ok"}},
    {.fates = {"ok", "later", "no"}},
    {.fates = {"later"}},
    {.fates = {"no"}},
    {.fates = {"ok"}, .len = 9000},
    {.fates = {"no"}, .null_sender = true},
    {.fates = {"dotno"}},
    {.fates = {"cut"}},
    {.fates = {"wait"}},
    {.fates = {"later", "no", "ok", "ok"}, .len = 5000},
    {.is_bad = true},
};
enum { NUM_PATTERNS = sizeof patterns / sizeof *patterns };

static void make(unsigned i, struct script_message *out)
{
    const struct pattern *pattern = &patterns[i % NUM_PATTERNS];
    *out = (struct script_message){.drop = (enum message_drop)((i + i / NUM_PATTERNS) % DROP_KINDS),
                                   .null_sender = pattern->null_sender,
                                   .is_bad = pattern->is_bad};
    snprintf(out->name, sizeof out->name, "m%04u.eml", i);
    buffer_init(&out->text, 1 << 20);
    if (!pattern->is_bad && pattern->null_sender)
        buffer_append_str(&out->text, "X-Sender: <>\n");
    else if (!pattern->is_bad)
        buffer_printf(&out->text, "X-Sender: from-m%04u@back.test\n", i);
    for (unsigned r = 0; r < MESSAGE_RECIPIENTS_MAX && pattern->fates[r]; r++) {
        snprintf(out->recipients[r], sizeof out->recipients[r], "%s-m%04u-%u@%s.test",
                 pattern->fates[r], i, r, r % 2 ? "b" : "a");
        buffer_printf(&out->text, "X-Receiver: %s\n", out->recipients[r]);
        out->num_recipients++;
    }
    buffer_printf(&out->text, "Subject: script m%04u\nDate: Tue, 1 Jan 2030 00:00:00 +0000\n\n", i);
    while (out->text.len < pattern->len)
        buffer_printf(&out->text, "m%04u at %zu\n", i, out->text.len);
    buffer_append_str(&out->text, "end\n");
}

const struct script_message *message_get(unsigned i)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static struct script_message messages[MESSAGES_MAX];
    CHECK(i < MESSAGES_MAX);
    pthread_mutex_lock(&mutex);
    if (messages[i].name[0] == '\0')
        make(i, &messages[i]);
    pthread_mutex_unlock(&mutex);
    return &messages[i];
}

/* Position behind the next occurrence of text, or SIZE_MAX. */
static size_t find_text(struct bytes content, const char *text)
{
    const void *at = content.len ? memmem(content.at, content.len, text, strlen(text)) : NULL;
    return at ? (size_t)((const uint8_t *)at - content.at) + strlen(text) : SIZE_MAX;
}

enum content_kind message_recognise(struct bytes content, unsigned *out_number)
{
    char digits[5] = "";
    uint64_t number;
    if (find_text(content, "\nFinal-Recipient: ") != SIZE_MAX)
        return CONTENT_DSN;
    size_t at = find_text(content, "Subject: script m");
    if (at == SIZE_MAX || content.len < at + 4)
        return CONTENT_OTHER;
    memcpy(digits, content.at + at, 4);
    if (!bytes_to_u64(bytes_of(digits), MESSAGES_MAX - 1, &number))
        return CONTENT_OTHER;
    *out_number = (unsigned)number;
    bool is_whole = bytes_equal(content, buffer_bytes(&message_get((unsigned)number)->text));
    return is_whole ? CONTENT_MESSAGE : CONTENT_OTHER;
}

void message_each_reported(struct bytes content, void (*each)(void *ctx, const char *address),
                           void *ctx)
{
    for (size_t at; (at = find_text(content, "\nFinal-Recipient: ")) != SIZE_MAX;) {
        char address[96];
        content = bytes_from(content, at);
        struct bytes line = bytes_first(content, bytes_find(content, '\n'));
        line = bytes_trim(bytes_from(line, bytes_find(line, ';') + 1));
        snprintf(address, sizeof address, "%.*s", (int)line.len, (const char *)line.at);
        each(ctx, address);
    }
}
