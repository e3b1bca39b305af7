/* Recipients' states and wishes -> who is told what, and the request from which a DSN is made.
 * The form of a DSN is queue/dsn.c's; where it is put is the journal thread's. */
#include "router/report.h"

#include "base/log.h"
#include "base/memory.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

enum { FRAME_MAX = 64 * 1024 /* of a DSN without recipients and original */ };

static bool has_null_sender(const struct message *message)
{
    return message->envelope.sender.mailbox[0] == '\0';
}

/* RFC 3461 4.1: without a word of the sender, failures and delays. */
static bool wants(const struct message *message, size_t i, enum dsn_notify what)
{
    uint8_t notify = message->envelope.recipients.items[i].notify;
    return notify ? (notify & what) != 0 : what != NOTIFY_SUCCESS;
}

bool report_action(const struct message *message, size_t i, enum dsn_action *out)
{
    const struct recipient_state *state = &message->recipients[i];
    if (has_null_sender(message))
        return false;
    switch ((enum recipient_status)state->status) {
    case RECIPIENT_BOUNCED:
        *out = DSN_FAILED;
        return wants(message, i, NOTIFY_FAILURE);
    case RECIPIENT_DELIVERED:
        *out = state->last.hop == HOP_FINAL ? DSN_DELIVERED : DSN_RELAYED;
        return (state->last.hop == HOP_FINAL || state->last.hop == HOP_RELAYED) &&
               !(state->told & RECIPIENT_TOLD_SUCCESS) && wants(message, i, NOTIFY_SUCCESS);
    case RECIPIENT_PENDING:
        *out = DSN_DELAYED;
        return message->warns && wants(message, i, NOTIFY_DELAY);
    case RECIPIENT_IN_DOUBT:
    case RECIPIENT_NOTIFIED:
        break;
    }
    return false;
}

bool report_is_due(const struct message *message)
{
    enum dsn_action action;
    for (size_t i = 0; i < message->envelope.recipients.num; i++)
        if (report_action(message, i, &action))
            return true;
    return false;
}

/* Once a message: whoever was warned of one recipient was warned. */
int64_t report_warn_wall_ms(const struct message *message, const struct config *config)
{
    if (config->retry.warn_after_ms == 0 || has_null_sender(message))
        return INT64_MAX;
    for (size_t i = 0; i < message->envelope.recipients.num; i++)
        if (message->recipients[i].told & RECIPIENT_TOLD_DELAY)
            return INT64_MAX;
    int64_t warn = message->arrived_wall_ms + config->retry.warn_after_ms;
    return warn < message->expiry_wall_ms ? warn : INT64_MAX;
}

void report_mark(struct message *message)
{
    if (has_null_sender(message))
        return;
    for (size_t i = 0; i < message->envelope.recipients.num; i++) {
        struct recipient_state *state = &message->recipients[i];
        enum dsn_action action;
        bool tells = report_action(message, i, &action);
        if (state->status == RECIPIENT_BOUNCED)
            state->status = RECIPIENT_NOTIFIED;
        else if (tells && action == DSN_DELAYED)
            state->told |= RECIPIENT_TOLD_DELAY;
        else if (tells)
            state->told |= RECIPIENT_TOLD_SUCCESS;
    }
    message->warns = false;
}

/* The recipients that have an action, and what recipients_told() will say after report_mark(): that
 * only rises, so no two reports of a message have the same number, and a restart can tell from the
 * journal whether a report was recorded. */
static size_t collect(struct message *message, struct dsn_recipient *rows)
{
    uint32_t num_recipients = (uint32_t)message->envelope.recipients.num;
    size_t num = 0;
    message->event = recipients_told(message->recipients, num_recipients);
    for (uint32_t i = 0; i < num_recipients; i++) {
        const struct address *address = &message->envelope.recipients.items[i];
        const struct recipient_state *state = &message->recipients[i];
        enum dsn_action action;
        bool tells = report_action(message, i, &action);
        message->event += tells || state->status == RECIPIENT_BOUNCED;
        if (!tells)
            continue;
        rows[num++] = (struct dsn_recipient){
            .action = action,
            .mailbox = address->mailbox,
            .orcpt = address->orcpt,
            .outcome = &state->last,
            .remote_mta = state->mx,
            .attempted_wall_ms = state->attempted_wall_ms,
            .retry_until_wall_ms = message->expiry_wall_ms,
        };
    }
    return num;
}

/* Octets [from, to) of the file, as far as there is room. */
static bool append_range(const struct message *message, int fd, uint64_t from, uint64_t to,
                         struct buffer *out)
{
    uint64_t room = out->max - out->len;
    to = to - from > room ? from + room : to;
    if (message->content.file.at)
        return buffer_append(out, message->content.file.at + from, (size_t)(to - from));
    while (from < to) {
        uint8_t *at = buffer_reserve(out, (size_t)(to - from));
        ssize_t n = at ? pread(fd, at, (size_t)(to - from), (off_t)from) : 0;
        if (n < 0)
            return false;
        if (n == 0) {
            errno = ESTALE;
            return false;
        }
        out->len += (size_t)n;
        from += (uint64_t)n;
    }
    return true;
}

/* The file up to `end` without what never leaves. */
static bool append_original(const struct message *message, int fd, uint64_t end, struct buffer *out)
{
    const struct envelope *envelope = &message->envelope;
    uint64_t at = 0;
    for (size_t i = 0; i < envelope->num_cuts && envelope->cuts[i].offset < end; i++) {
        if (!append_range(message, fd, at, envelope->cuts[i].offset, out))
            return false;
        at = envelope->cuts[i].offset + envelope->cuts[i].len;
    }
    return at >= end || append_range(message, fd, at, end, out);
}

static int open_original(const struct message *message, const struct spool *spool)
{
    struct spool_file file;
    int rc = spool_open_message(spool, message->path, false, &file);
    if (rc == 0 && file_identity_equal(&file.identity, &message->identity))
        return file.fd;
    if (rc == 0)
        close(file.fd);
    errno = rc < 0 ? -rc : ESTALE;
    return -1;
}

static uint64_t len_without_cuts(const struct envelope *envelope, uint64_t len)
{
    for (size_t i = 0; i < envelope->num_cuts; i++)
        len -= envelope->cuts[i].len;
    return len;
}

/* RFC 3461 4.3: all of it only where that was asked for, and not beyond what we care to return. A
 * bounce without its original is better than none. */
static void read_original(const struct message *message, const struct spool *spool,
                          bool *out_is_whole, struct buffer *out)
{
    const struct envelope *envelope = &message->envelope;
    uint64_t len = message->content.file_len;
    bool wants_whole = envelope->ret == RET_FULL && !envelope->require_tls; /* RFC 8689 5 */
    *out_is_whole = wants_whole && len_without_cuts(envelope, len) <= out->max;
    uint64_t end = *out_is_whole ? len : envelope->header_end;
    int fd = -1;
    bool ok = message->content.file.at || (fd = open_original(message, spool)) >= 0;
    if (!ok || !append_original(message, fd, end, out)) {
        log_warning("%s: %s cannot be read for a bounce, which goes without it: %s",
                    message->id_text, message->path, strerror(errno));
        buffer_clear(out);
    }
    if (fd >= 0)
        close(fd);
    /* Cut short by the bound, its last line would be a lie. */
    bool is_cut = !*out_is_whole && out->len == out->max;
    while (is_cut && out->len && out->at[out->len - 1] != '\n')
        out->len--;
}

bool report_compose(struct message *message, const struct config *config, const struct spool *spool,
                    int64_t now_wall_ms, struct buffer *out)
{
    struct dsn_recipient *rows = mem_zalloc(message->envelope.recipients.num, sizeof *rows);
    struct buffer original;
    size_t num = collect(message, rows);
    bool ok = num > 0, is_whole = false;
    buffer_init(&original, config->queue.dsn_original_max);
    if (ok)
        read_original(message, spool, &is_whole, &original);
    struct dsn_request request = {
        .reporting_mta = config->hostname,
        .id = message->id,
        .event = message->event,
        .sender = message->envelope.sender.mailbox,
        .envid = message->envelope.envid,
        .arrived_wall_ms = message->arrived_wall_ms,
        .now_wall_ms = now_wall_ms,
        .require_tls = message->envelope.require_tls,
        .needs_utf8 = message->envelope.needs_utf8,
        .original = buffer_bytes(&original),
        .is_whole = is_whole,
        .recipients = rows,
        .num_recipients = num,
    };
    buffer_init(out, FRAME_MAX + 2 * original.len + num * DSN_RECIPIENT_MAX);
    ok = ok && dsn_compose(&request, out);
    if (num && !ok)
        log_error("%s: the report to its sender cannot be written", message->id_text);
    buffer_fini(&original);
    free(rows);
    return ok;
}
