/* Reads as much of a file as holds its header section, and parses the envelope.
 * Pickup does the same its own way, because it keeps the content. */
#include "router/message_file.h"

#include <stdio.h>
#include <unistd.h>

enum { HEAD_STEP = 64 * 1024 };

/* Within bounds; false when the header section does not end within them. */
static bool read_head(int fd, struct buffer *head)
{
    size_t searched = 0;
    for (;;) {
        uint8_t *to = buffer_reserve(head, HEAD_STEP);
        ssize_t n = to ? pread(fd, to, HEAD_STEP, (off_t)head->len) : 0;
        if (n <= 0)
            return head->len > 0 && n == 0 && to;
        head->len += (size_t)n;
        if (envelope_header_end(buffer_bytes(head), searched))
            return true;
        searched = head->len;
    }
}

static void parse(int fd, const struct config *config, struct message_file *out)
{
    const struct envelope_limits limits = {.max_recipients = config->pickup.max_recipients};
    struct buffer head;
    snprintf(out->why, sizeof out->why, "its header section cannot be read");
    buffer_init(&head, config->pickup.max_header_size + HEAD_STEP);
    out->has_envelope = read_head(fd, &head) &&
                        envelope_parse(buffer_bytes(&head), &limits, &out->envelope, out->why);
    buffer_fini(&head);
}

int message_file_read(const struct spool *spool, const struct config *config, const char *path,
                      struct message_file *out)
{
    *out = (struct message_file){.has_envelope = false};
    struct spool_file file;
    int result = spool_open_message(spool, path, false, &file);
    if (result != 0)
        return result;
    out->identity = file.identity;
    parse(file.fd, config, out);
    close(file.fd);
    return 0;
}

void message_file_fini(struct message_file *file)
{
    if (file->has_envelope)
        envelope_fini(&file->envelope);
    file->has_envelope = false;
}
