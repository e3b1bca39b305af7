/* Makes a spool in which many messages wait for a retry: what a router has to start on after a
 * receiver was down for a day. Files and records are made by the product's own spool and journal.
 * It measures nothing: start.py does.
 *
 *   sluice-deferred-spool SPOOL NUM [DUE_S]
 *
 * Message N goes to rN@dM.test, M = N % 100, after one attempt; due in DUE_S seconds (0: at once)
 * and, when that is not 0, spread over the hour that follows. */
#include "base/clock.h"
#include "base/memory.h"
#include "queue/journal.h"
#include "queue/message.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

enum { FILE_LEN_MAX = 4096, BODY_LEN = 300, NUM_DOMAINS = 100, GROUP = 4096, SPREAD_MS = 3600000 };

struct maker {
    struct spool spool;
    struct journal *journal;
    uint64_t first_id;
    int64_t now_ms, due_ms; /* due_ms 0: at once */
};

static bool fail(const char *what, int error)
{
    fprintf(stderr, "sluice-deferred-spool: %s: %s\n", what, strerror(error));
    return false;
}

static size_t compose(uint64_t number, char out[FILE_LEN_MAX])
{
    int len = snprintf(out, FILE_LEN_MAX,
                       "X-Sender: <sender@origin.test>\nX-Receiver: <r%llu@d%llu.test>\n"
                       "From: sender@origin.test\nSubject: message %llu\n\n%0*d\n",
                       (unsigned long long)number, (unsigned long long)(number % NUM_DOMAINS),
                       (unsigned long long)number, BODY_LEN, 0);
    return (size_t)len;
}

/* Of the file's recipients, as pickup will see them. */
static bool read_digest(struct bytes file, uint32_t *out)
{
    const struct envelope_limits limits = {.max_recipients = 1};
    struct envelope envelope;
    char why[ENVELOPE_WHY_MAX];
    if (!envelope_parse(file, &limits, &envelope, why)) {
        fprintf(stderr, "sluice-deferred-spool: %s\n", why);
        return false;
    }
    *out = message_recipients_digest(&envelope);
    envelope_fini(&envelope);
    return true;
}

static bool write_file(const struct maker *maker, const char *path, struct bytes data,
                       struct file_identity *out)
{
    int fd = openat(maker->spool.root_fd, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);
    if (fd < 0)
        return fail(path, errno);
    ssize_t len = write(fd, data.at, data.len);
    int error = len < 0 ? errno : (size_t)len < data.len ? ENOSPC : 0;
    if (!error)
        error = -file_identity_read(fd, out, NULL, NULL);
    close(fd);
    return error ? fail(path, error) : true;
}

/* As after a receiver that was too busy. */
static void put_off(const struct maker *maker, uint64_t number, struct recipient_state *out)
{
    *out = (struct recipient_state){.status = RECIPIENT_PENDING, .attempts = 1};
    if (maker->due_ms)
        out->next_wall_ms = maker->due_ms + (int64_t)(number * UINT64_C(2654435761) % SPREAD_MS);
    out->attempted_wall_ms = maker->now_ms;
    out->last = (struct outcome){.kind = OUTCOME_DEFERRED,
                                 .phase = PHASE_RCPT,
                                 .code = 451,
                                 .enhanced = {4, 3, 2},
                                 .text = "Too busy now, please try again later"};
    snprintf(out->mx, sizeof out->mx, "mx.d%llu.test", (unsigned long long)(number % NUM_DOMAINS));
}

static bool make_message(struct maker *maker, uint64_t number)
{
    char path[SPOOL_PATH_MAX], text[FILE_LEN_MAX];
    struct recipient_state recipient;
    struct journal_message message = {
        .id = maker->first_id + number,
        .path = path,
        .arrived_wall_ms = maker->now_ms,
        .num_recipients = 1,
        .recipients = &recipient,
    };
    struct bytes file = bytes_make(text, compose(number, text));
    spool_deferred_path(message.id, path);
    put_off(maker, number, &recipient);
    if (!read_digest(file, &message.recipients_digest) ||
        !write_file(maker, path, file, &message.identity))
        return false;
    return journal_append_deferred(maker->journal, &message) ? true : fail("journal", errno);
}

/* deferred/xx for every xx that an id may end in. */
static bool make_folders(const struct maker *maker)
{
    char path[SPOOL_PATH_MAX];
    for (uint64_t id = 0; id < 32 * 32; id++) {
        spool_deferred_path(id, path);
        *strrchr(path, '/') = '\0';
        if (mkdirat(maker->spool.root_fd, path, 0750) != 0 && errno != EEXIST)
            return fail(path, errno);
    }
    return true;
}

static bool make_all(struct maker *maker, uint64_t num)
{
    if (!make_folders(maker))
        return false;
    for (uint64_t number = 0; number < num; number++) {
        if (!make_message(maker, number))
            return false;
        int result = (number + 1) % GROUP == 0 ? journal_commit(maker->journal) : 0;
        if (result < 0)
            return fail("journal", -result);
    }
    return true;
}

static void ignore_live(void *ctx, const struct journal_message *message)
{
    (void)ctx;
    (void)message;
}

static bool make_spool(const char *path, uint64_t num, int64_t due_s)
{
    const struct journal_options options = {.sync = false};
    struct maker maker = {.now_ms = clock_wall_ms()};
    char why[SPOOL_WHY_MAX];
    if (mkdir(path, 0750) != 0 && errno != EEXIST)
        return fail(path, errno);
    if (!spool_open(&maker.spool, path, true, why)) {
        fprintf(stderr, "sluice-deferred-spool: %s\n", why);
        return false;
    }
    maker.journal = journal_open(&maker.spool, &options, ignore_live, NULL, why);
    if (!maker.journal) {
        fprintf(stderr, "sluice-deferred-spool: %s\n", why);
        spool_close(&maker.spool);
        return false;
    }
    /* Ids are times: those of messages that arrived just now. */
    maker.first_id = (uint64_t)maker.now_ms * 1000 - num;
    maker.due_ms = due_s ? maker.now_ms + due_s * 1000 : 0;
    bool ok = make_all(&maker, num);
    journal_close(maker.journal);
    sync();
    spool_close(&maker.spool);
    return ok;
}

int main(int argc, char **argv)
{
    if (argc < 3 || argc > 4) {
        fprintf(stderr, "usage: sluice-deferred-spool SPOOL NUM [DUE_S]\n");
        return EX_USAGE;
    }
    uint64_t num = strtoull(argv[2], NULL, 10);
    int64_t due_s = argc > 3 ? strtoll(argv[3], NULL, 10) : 0;
    return make_spool(argv[1], num, due_s) ? EX_OK : EX_IOERR;
}
