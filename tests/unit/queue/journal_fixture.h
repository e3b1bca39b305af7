/* What the journal tests share: a spool with a journal, short ways to store records, what replay
 * reports, and a sync that fails on demand. Included once per executable. */
#ifndef SLUICE_TESTS_JOURNAL_FIXTURE_H
#define SLUICE_TESTS_JOURNAL_FIXTURE_H

#include "queue/journal.h"
#include "queue/journal_private.h"
#include "queue/journal_replay.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* cmocka.h wants the three before it. */
/* clang-format off */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
/* clang-format on */

/* Stands before the C library's: a sync that fails when a test says so. */
static _Atomic int syncs_to_fail;
int fdatasync(int fd)
{
    if (syncs_to_fail > 0) {
        syncs_to_fail--;
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

enum { SEEN_MAX = 64, SEEN_RECIPIENTS_MAX = 8, SMALL = 64 * 1024 };

struct seen {
    uint64_t id;
    char path[SPOOL_PATH_MAX];
    struct file_identity identity;
    int64_t arrived_wall_ms;
    uint32_t digest, num;
    struct recipient_state recipients[SEEN_RECIPIENTS_MAX];
};

struct fixture {
    char root[64];
    struct spool spool;
    struct journal *journal;
    struct journal_options options;
    size_t num_seen; /* all, also those beyond SEEN_MAX */
    struct seen seen[SEEN_MAX];
    uint64_t last_id;
    uint8_t *bitmap; /* of ids below bitmap_len, when set */
    size_t bitmap_len;
};

static inline void on_live(void *ctx, const struct journal_message *message)
{
    struct fixture *f = ctx;
    assert_true(message->id > f->last_id);
    f->last_id = message->id;
    if (f->bitmap && message->id < f->bitmap_len)
        f->bitmap[message->id] = 1 + message->recipients[0].status;
    if (f->num_seen < SEEN_MAX) {
        struct seen *s = &f->seen[f->num_seen];
        *s = (struct seen){.id = message->id,
                           .identity = message->identity,
                           .arrived_wall_ms = message->arrived_wall_ms,
                           .digest = message->recipients_digest,
                           .num = message->num_recipients};
        snprintf(s->path, sizeof s->path, "%s", message->path);
        for (uint32_t i = 0; i < s->num && i < SEEN_RECIPIENTS_MAX; i++)
            s->recipients[i] = message->recipients[i];
    }
    f->num_seen++;
}

static inline void open_journal(struct fixture *f)
{
    char why[SPOOL_WHY_MAX] = "";
    f->num_seen = 0;
    f->last_id = 0;
    f->journal = journal_open(&f->spool, &f->options, on_live, f, why);
    if (!f->journal)
        fail_msg("%s", why);
}

static inline void reopen(struct fixture *f)
{
    journal_close(f->journal);
    open_journal(f);
}

static inline int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    char why[SPOOL_WHY_MAX];
    snprintf(f->root, sizeof f->root, "/tmp/journal-test-XXXXXX");
    assert_non_null(mkdtemp(f->root));
    assert_true(spool_open(&f->spool, f->root, true, why));
    f->options = (struct journal_options){.sync = true, .segment_len = SMALL};
    open_journal(f);
    *state = f;
    return 0;
}

static inline int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    syncs_to_fail = 0;
    if (f->journal)
        journal_close(f->journal);
    spool_close(&f->spool);
    snprintf(command, sizeof command, "rm -rf %s", f->root);
    int status = system(command);
    free(f->bitmap);
    free(f);
    return status;
}

static inline struct file_identity identity_for(uint64_t id)
{
    return (struct file_identity){
        .dev = 7, .ino = id, .btime_ns = -5, .mtime_ns = 1700000000000000000, .size = id * 3};
}

static inline const char *path_for(uint64_t id)
{
    static _Thread_local char path[64];
    snprintf(path, sizeof path, "new/message-%llu.eml", (unsigned long long)id);
    return path;
}

static inline bool put_intent(struct journal *journal, uint64_t id, uint32_t attempt,
                              uint32_t index)
{
    struct file_identity identity = identity_for(id);
    return journal_append_intent(journal, id, path_for(id), &identity, attempt, &index, 1);
}

static inline struct outcome outcome_of(enum outcome_kind kind, const char *text)
{
    struct outcome outcome = {.kind = (uint8_t)kind,
                              .phase = PHASE_FINAL,
                              .code = kind == OUTCOME_DELIVERED ? 250 : 451,
                              .enhanced = {4, 3, 255}};
    snprintf(outcome.text, sizeof outcome.text, "%s", text);
    return outcome;
}

static inline bool put_outcome(struct journal *journal, uint64_t id, uint32_t attempt,
                               uint32_t index, enum outcome_kind kind)
{
    struct file_identity identity = identity_for(id);
    struct outcome outcome = outcome_of(kind, "said so");
    struct journal_attempt when = {.number = attempt, .wall_ms = 777, .mx = "mx.example.net"};
    return journal_append_outcome(journal, id, path_for(id), &identity, 12345, &when, &index,
                                  &outcome, 1);
}

static inline bool put_deferred(struct journal *journal, uint64_t id, uint16_t attempts,
                                uint32_t num)
{
    struct recipient_state recipients[SEEN_RECIPIENTS_MAX] = {0};
    struct journal_message message = {.id = id,
                                      .path = path_for(id),
                                      .identity = identity_for(id),
                                      .arrived_wall_ms = 99,
                                      .recipients_digest = 0xabcdef01,
                                      .num_recipients = num,
                                      .recipients = recipients};
    for (uint32_t i = 0; i < num; i++)
        recipients[i] = (struct recipient_state){.attempts = attempts,
                                                 .next_wall_ms = 1000 + i,
                                                 .last = outcome_of(OUTCOME_DEFERRED, "wait")};
    return journal_append_deferred(journal, &message);
}

static inline const struct seen *find(struct fixture *f, uint64_t id)
{
    for (size_t i = 0; i < f->num_seen && i < SEEN_MAX; i++)
        if (f->seen[i].id == id)
            return &f->seen[i];
    return NULL;
}

static inline unsigned num_files(struct fixture *f)
{
    char path[128], command[256];
    snprintf(path, sizeof path, "%s/journal", f->root);
    snprintf(command, sizeof command, "ls %s | wc -l", path);
    FILE *pipe = popen(command, "r");
    unsigned num = 0;
    assert_int_equal(fscanf(pipe, "%u", &num), 1);
    pclose(pipe);
    return num;
}

#endif
