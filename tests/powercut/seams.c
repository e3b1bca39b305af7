/* Wrappers of the journal's functions; see the header. They change nothing but the length of
 * segments. */
#include "tests/powercut/seams.h"

#include "queue/journal_private.h"
#include "tests/powercut/message.h"
#include "tests/powercut/simulated_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* Declared by type: a wrapper that no longer fits what it stands before does not compile. */
__typeof__(journal_open) __real_journal_open, __wrap_journal_open;
struct journal *
__wrap_journal_open(const struct spool *spool, const struct journal_options *options,
                    void (*on_live)(void *ctx, const struct journal_message *message), void *ctx,
                    char why[SPOOL_WHY_MAX])
{
    struct journal_options small = *options;
    small.segment_len = SEAMS_SEGMENT_LEN;
    return __real_journal_open(spool, &small, on_live, ctx, why);
}

__typeof__(journal_commit) __real_journal_commit, __wrap_journal_commit;
int __wrap_journal_commit(struct journal *journal)
{
    simulated_note(EVENT_COMMIT, "");
    int result = __real_journal_commit(journal);
    int error = errno;
    if (result == 0)
        simulated_note(EVENT_COMMITTED, "");
    errno = error;
    return result;
}

static bool stored(bool ok, const char *kind)
{
    int error = errno;
    if (ok)
        simulated_note(EVENT_STORED, kind);
    errno = error;
    return ok;
}

__typeof__(journal_store) __real_journal_store, __wrap_journal_store;
bool __wrap_journal_store(struct journal *journal, uint8_t *image, size_t len)
{
    return stored(__real_journal_store(journal, image, len), "copy");
}

__typeof__(journal_append_intent) __real_journal_append_intent, __wrap_journal_append_intent;
bool __wrap_journal_append_intent(struct journal *journal, uint64_t id, const char *path,
                                  const struct file_identity *identity, uint32_t attempt,
                                  const uint32_t *indexes, uint32_t num_indexes)
{
    return stored(
        __real_journal_append_intent(journal, id, path, identity, attempt, indexes, num_indexes),
        "intent");
}

__typeof__(journal_append_deferred) __real_journal_append_deferred, __wrap_journal_append_deferred;
bool __wrap_journal_append_deferred(struct journal *journal, const struct journal_message *message)
{
    return stored(__real_journal_append_deferred(journal, message), "deferred");
}

__typeof__(journal_append_removed) __real_journal_append_removed, __wrap_journal_append_removed;
bool __wrap_journal_append_removed(struct journal *journal, uint64_t id)
{
    return stored(__real_journal_append_removed(journal, id), "removed");
}

static void read_message(const char *path, struct buffer *out)
{
    char full[SPOOL_PATH_MAX + 64];
    struct stat st;
    snprintf(full, sizeof full, SIMULATED_ROOT "/%s", path);
    int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && buffer_reserve(out, (size_t)st.st_size)) {
        ssize_t len = pread(fd, out->at, (size_t)st.st_size, 0);
        out->len = len > 0 ? (size_t)len : 0;
    }
    close(fd);
}

static void note_told(void *ctx, const char *address)
{
    char name[128];
    (void)ctx;
    snprintf(name, sizeof name, "told:%.100s", address);
    simulated_note(EVENT_DELIVERED, name);
}

static void note_delivered(const char *path, const uint32_t *indexes,
                           const struct outcome *outcomes, uint32_t num)
{
    struct buffer content;
    const struct script_message *message = NULL;
    unsigned number = 0;
    buffer_init(&content, 1 << 20);
    read_message(path, &content);
    enum content_kind kind = message_recognise(buffer_bytes(&content), &number);
    if (kind == CONTENT_MESSAGE)
        message = message_get(number);
    for (uint32_t i = 0; i < num; i++) {
        if (outcomes[i].kind != OUTCOME_DELIVERED)
            continue;
        if (kind == CONTENT_DSN)
            message_each_reported(buffer_bytes(&content), note_told, NULL);
        else if (message && indexes[i] < message->num_recipients)
            simulated_note(EVENT_DELIVERED, message->recipients[indexes[i]]);
    }
    buffer_fini(&content);
}

__typeof__(journal_append_outcome) __real_journal_append_outcome, __wrap_journal_append_outcome;
bool __wrap_journal_append_outcome(struct journal *journal, uint64_t id, const char *path,
                                   const struct file_identity *identity, int64_t arrived_wall_ms,
                                   const struct journal_attempt *attempt, const uint32_t *indexes,
                                   const struct outcome *outcomes, uint32_t num)
{
    bool ok = stored(__real_journal_append_outcome(journal, id, path, identity, arrived_wall_ms,
                                                   attempt, indexes, outcomes, num),
                     "outcome");
    int error = errno;
    if (ok)
        note_delivered(path, indexes, outcomes, num);
    errno = error;
    return ok;
}
