/* From a file of the spool to a loaded message: open rules, settling, envelope, classification,
 * trace fields. What cannot be accepted goes to bad/ with a reason; nothing is ever deleted here.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "queue/header_field.h"
#include "router/pickup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { UNREADABLE_WAIT_MS = 60000, READ_STEP = 64 * 1024 };

/* LOAD_BAD: it is in bad/ now; where it cannot be moved there, it is looked at again. */
static enum load_result refuse(struct pickup *pickup, const char *path,
                               const struct file_identity *identity, const char *reason,
                               int64_t *out_wait_ms)
{
    int rc = spool_move_to_bad(pickup->services.spool, path, identity, reason);
    *out_wait_ms = UNREADABLE_WAIT_MS;
    if (rc < 0) {
        log_error("%s: cannot be accepted (%s) and cannot be moved to bad/: %s", path, reason,
                  strerror(-rc));
        return rc == -ENOENT ? LOAD_GONE : LOAD_LATER;
    }
    log_warning("%s: moved to bad/: %s", path, reason);
    return LOAD_BAD;
}

/* What an error at open or read means: the file's fault, or the system's, which may pass. */
static enum load_result judge_error(struct pickup *pickup, const char *path, int error,
                                    int64_t *out_wait_ms)
{
    char reason[SPOOL_WHY_MAX];
    *out_wait_ms = PAUSE_RETRY_MS;
    switch (error) {
    case ENOENT:
        return LOAD_GONE;
    case ELOOP:
        return refuse(pickup, path, NULL, "a symbolic link is not a message", out_wait_ms);
    case EINVAL:
    case ENXIO:
    case ENODEV:
        return refuse(pickup, path, NULL, "not a regular file", out_wait_ms);
    case EACCES:
    case EPERM:
        snprintf(reason, sizeof reason, "cannot be read: %s", strerror(error));
        return refuse(pickup, path, NULL, reason, out_wait_ms);
    default:
        /* Of the system, or of this file alone (a bad sector): then the others go on. */
        if (pause_error_is_a_limit(error)) {
            pauses_begin(pickup->services.pauses, PAUSE_LIMITS, error, clock_wall_ms());
        } else {
            log_error("%s: %s; tried again later", path, strerror(error));
            *out_wait_ms = UNREADABLE_WAIT_MS;
        }
        return LOAD_LATER;
    }
}

static bool has_been_still(struct pickup *pickup, struct candidate *candidate,
                           const struct file_identity *now)
{
    int64_t settle_ms = pickup->services.config->pickup.settle_ms;
    if (!file_identity_equal(&candidate->seen, now)) {
        candidate->seen = *now;
        candidate->first_ms = pickup->loop.now_ms;
    }
    int64_t age_ms = clock_wall_ms() - now->mtime_ns / 1000000;
    return age_ms >= settle_ms || pickup->loop.now_ms - candidate->first_ms >= settle_ms;
}

/* Appends what the file has up to octet `until`. 0; -errno; -ESTALE when it ends before. */
static int read_until(int fd, uint64_t until, struct buffer *to)
{
    while (to->len < until) {
        size_t step = (size_t)(until - to->len);
        uint8_t *at = buffer_reserve(to, step);
        ssize_t n = at ? pread(fd, at, step, (off_t)to->len) : 0;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -ESTALE;
        to->len += (size_t)n;
    }
    return 0;
}

/* A file that is streamed: reads only what holds its header section, at most limit octets. */
static int read_head(int fd, uint64_t size, uint64_t limit, struct buffer *head)
{
    uint64_t most = size < limit ? size : limit;
    size_t searched = 0;
    while (head->len < most) {
        uint64_t until = head->len + READ_STEP < most ? head->len + READ_STEP : most;
        int rc = read_until(fd, until, head);
        if (rc < 0)
            return rc;
        if (envelope_header_end(buffer_bytes(head), searched))
            break;
        searched = head->len;
    }
    return 0;
}

static bool scan_file(int fd, struct message *message, enum content_long_lines long_lines)
{
    struct content_scan scan;
    content_scan_init(&scan, &message->envelope, long_lines);
    if (message->content.file.at) {
        content_scan_feed(&scan, message->content.file);
    } else {
        uint8_t *window = mem_alloc(READ_STEP);
        uint64_t at = 0;
        ssize_t n = 1;
        while (at < message->identity.size && n > 0) {
            n = pread(fd, window, READ_STEP, (off_t)at);
            if (n > 0)
                content_scan_feed(&scan, bytes_make(window, (size_t)n));
            at += n > 0 ? (uint64_t)n : 0;
        }
        free(window);
        if (at < message->identity.size)
            return false;
    }
    message->content.class = content_scan_end(&scan, message->content.prefix.len);
    return true;
}

/* RFC 5321 4.4: the trace field; Date and Message-ID where a header envelope lacks them, as
 * sendmail -t does. The same at each load, because all of it comes from the arrival. */
static void make_prefix(const struct pickup *pickup, struct message *message)
{
    const char *hostname = pickup->services.config->hostname;
    struct buffer prefix;
    buffer_init(&prefix, 4096);
    buffer_printf(&prefix, "Received: by %s (sluice) id %s;\r\n\t", hostname, message->id_text);
    header_date_append(&prefix, message->arrived_wall_ms);
    buffer_append_str(&prefix, "\r\n");
    if (!message->envelope.is_explicit && !message->envelope.has_date) {
        buffer_append_str(&prefix, "Date: ");
        header_date_append(&prefix, message->arrived_wall_ms);
        buffer_append_str(&prefix, "\r\n");
    }
    if (!message->envelope.is_explicit && !message->envelope.has_message_id)
        buffer_printf(&prefix, "Message-ID: <%s@%s>\r\n", message->id_text, hostname);
    if (message->envelope.lacks_header)
        buffer_append_str(&prefix, "\r\n");
    message->content.prefix = buffer_bytes(&prefix);
}

static void set_times(const struct pickup *pickup, struct message *message)
{
    const struct envelope *envelope = &message->envelope;
    int64_t deadline = envelope->deadline_wall_ms;
    if (envelope->deadline_after_ms)
        deadline = message->arrived_wall_ms + envelope->deadline_after_ms;
    message->expiry_wall_ms =
        retry_expiry_wall_ms(&pickup->services.config->retry, message->arrived_wall_ms,
                             envelope->sender.mailbox[0] == '\0', deadline);
}

static bool fits_budget(const struct pickup *pickup, uint64_t size)
{
    return size <= pickup->services.config->queue.content_inline_max &&
           pickup->memory_len + size <= pickup->services.config->queue.content_memory;
}

/* Parses the envelope out of what was read. */
static enum load_result parse(struct pickup *pickup, const char *path, struct bytes head,
                              struct message *message, int64_t *out_wait_ms)
{
    const struct config *config = pickup->services.config;
    const struct envelope_limits limits = {.max_recipients = config->pickup.max_recipients};
    char why[ENVELOPE_WHY_MAX];
    size_t header_end = envelope_header_end(head, 0);
    size_t header_len = header_end ? header_end : head.len;
    if (header_len > config->pickup.max_header_size ||
        (!header_end && head.len < message->identity.size))
        return refuse(pickup, path, &message->identity,
                      "the header section is larger than pickup.max_header_size", out_wait_ms);
    if (!envelope_parse(head, &limits, &message->envelope, why))
        return refuse(pickup, path, &message->identity, why, out_wait_ms);
    message->has_envelope = true;
    return LOAD_DONE;
}

static void derive(struct pickup *pickup, struct message *message)
{
    message->content.file_len = message->identity.size;
    message->content.cuts = message->envelope.cuts;
    message->content.num_cuts = message->envelope.num_cuts;
    message->content.long_lines = pickup->services.config->queue.long_lines;
    message->recipients_digest = message_recipients_digest(&message->envelope);
    message->recipients = mem_zalloc(message->envelope.recipients.num, sizeof *message->recipients);
    make_prefix(pickup, message);
    set_times(pickup, message);
}

/* Under a lease nobody can have changed it. */
static bool is_unchanged(const struct spool_file *file)
{
    struct file_identity now;
    return file->leased || (file_identity_read(file->fd, &now, NULL, NULL) == 0 &&
                            file_identity_equal(&now, &file->identity));
}

/* Reads, parses and classifies an open file whose identity is in message. */
static enum load_result fill(struct pickup *pickup, const struct spool_file *file, const char *path,
                             struct message *message, int64_t *out_wait_ms)
{
    const struct config *config = pickup->services.config;
    int fd = file->fd;
    uint64_t size = message->identity.size;
    bool whole = fits_budget(pickup, size);
    struct buffer head;
    buffer_init(&head, whole ? size : SIZE_MAX); /* no more memory than it needs */
    int rc = whole ? read_until(fd, size, &head)
                   : read_head(fd, size, config->pickup.max_header_size + 1, &head);
    *out_wait_ms = config->pickup.settle_ms + 1;
    enum load_result result = LOAD_LATER; /* -ESTALE: it shrank while it was read */
    if (rc == 0)
        result = parse(pickup, path, buffer_bytes(&head), message, out_wait_ms);
    else if (rc != -ESTALE)
        result = judge_error(pickup, path, -rc, out_wait_ms);
    if (result != LOAD_DONE || !whole) {
        buffer_fini(&head);
    } else {
        message->content.file = buffer_bytes(&head);
        message->memory_len = size;
    }
    if (result != LOAD_DONE)
        return result;
    derive(pickup, message);
    if (!scan_file(fd, message, config->queue.long_lines) || !is_unchanged(file))
        return LOAD_LATER; /* it changes while it is read */
    return LOAD_DONE;
}

static struct message *new_message(const char *path, uint64_t id)
{
    struct message *message = mem_zalloc(1, sizeof *message);
    message->path = mem_strdup(path);
    message->id = id;
    queue_id_format(id, message->id_text);
    return message;
}

/* Rules for files that were just found. LOAD_DONE: go on. */
static enum load_result check_new(struct pickup *pickup, struct candidate *candidate,
                                  const struct spool_file *file, int64_t *out_wait_ms)
{
    const struct file_identity *identity = &file->identity;
    bool still = has_been_still(pickup, candidate, identity);
    *out_wait_ms = pickup->services.config->pickup.settle_ms + 1;
    if (pickup_is_claimed(pickup, identity))
        return LOAD_KNOWN;
    if (!candidate->is_complete && (!still || file->has_writer))
        return LOAD_LATER;
    if (file->nlink > 1)
        return still ? refuse(pickup, candidate->path, identity,
                              "the file still has another hard link after the settling time",
                              out_wait_ms)
                     : LOAD_LATER;
    if (identity->size == 0)
        return still ? refuse(pickup, candidate->path, identity, "the file is empty", out_wait_ms)
                     : LOAD_LATER;
    if (identity->size > pickup->services.config->pickup.max_message_size)
        return refuse(pickup, candidate->path, identity,
                      "the file is larger than pickup.max_message_size", out_wait_ms);
    return LOAD_DONE;
}

static enum load_result load_open_file(struct pickup *pickup, const struct spool_file *file,
                                       struct message *message, struct message **out,
                                       int64_t *out_wait_ms)
{
    message->identity = file->identity;
    enum load_result result = fill(pickup, file, message->path, message, out_wait_ms);
    if (result == LOAD_DONE)
        *out = message;
    else
        message_free(message);
    return result;
}

enum load_result pickup_load_new(struct pickup *pickup, struct candidate *candidate,
                                 struct message **out, int64_t *out_wait_ms)
{
    struct spool_file file;
    /* Of a file that a scan found nobody said that it is complete. */
    int rc =
        spool_open_message(pickup->services.spool, candidate->path, !candidate->is_complete, &file);
    if (rc < 0)
        return judge_error(pickup, candidate->path, -rc, out_wait_ms);
    enum load_result result = check_new(pickup, candidate, &file, out_wait_ms);
    if (result == LOAD_DONE) {
        int64_t now_us = clock_wall_us();
        struct message *message = new_message(candidate->path, queue_id_next(&pickup->ids, now_us));
        message->arrived_wall_ms = now_us / 1000;
        message->was_new = true;
        result = load_open_file(pickup, &file, message, out, out_wait_ms);
    }
    close(file.fd);
    return result;
}

/* What the journal knew of its recipients. An envelope that parses differently than when it was
 * recorded (another version of this program) starts anew: a double is better than a loss, and it is
 * said. */
static void restore_states(const struct waiting *waiting, struct message *message)
{
    if (!waiting->states)
        return;
    if (!waiting_fits(waiting, message->recipients_digest, message->envelope.recipients.num)) {
        log_warning("%s: the envelope is not the one that was recorded; every recipient is tried",
                    message->id_text);
        return;
    }
    waiting_states(waiting, message->recipients);
}

enum load_result pickup_load_waiting(struct pickup *pickup, struct waiting *waiting,
                                     struct message **out, int64_t *out_wait_ms)
{
    struct spool_file file;
    int rc = spool_open_message(pickup->services.spool, waiting->path, false, &file);
    if (rc == -EACCES || rc == -EPERM) {
        /* We could read it once: this may be put right, and in bad/ it would be forgotten who has
         * it. */
        log_error("%s: %s; tried again later", waiting->path, strerror(-rc));
        *out_wait_ms = UNREADABLE_WAIT_MS;
        return LOAD_LATER;
    }
    if (rc < 0)
        return judge_error(pickup, waiting->path, -rc, out_wait_ms);
    if (waiting->identity.ino && !file_identity_equal(&file.identity, &waiting->identity)) {
        /* In new/ a scan finds it as new mail; elsewhere nobody would look at it again. */
        if (strncmp(waiting->path, "new/", 4) == 0) {
            close(file.fd);
            return LOAD_GONE;
        }
        bool is_copy = waiting_adopt(waiting, &file.identity);
        log_warning("%s: %s", waiting->path,
                    is_copy ? "a copy of the file that was recorded; it goes on from what is known"
                            : "not the file that was recorded; every recipient is tried");
    }
    struct message *message = new_message(waiting->path, waiting->id);
    message->arrived_wall_ms = waiting->arrived_wall_ms;
    message->was_waiting = true;
    message->was_new = strncmp(waiting->path, "new/", 4) == 0;
    message->was_held = spool_path_is_held(waiting->path);
    message->operation = waiting->operation;
    enum load_result result = load_open_file(pickup, &file, message, out, out_wait_ms);
    close(file.fd);
    if (result == LOAD_DONE)
        restore_states(waiting, message);
    return result;
}
