/* The thread of the header. What is counted and how it is written is tls_report.c's. */
#include "router/tls_reporter.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/memory.h"
#include "router/tls_report_ledger.h"
#include "tls/state_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { REPORT_FILE_MAX = 512 * 1024 * 1024 };
enum item_kind { ITEM_SESSION, ITEM_STOP };

struct session_item {
    struct mailbox_item item;
    struct tls_report_session session; /* its texts are behind it */
    char texts[];
};

struct tls_reporter {
    char *folder; /* owned */
    int64_t keep_ms;
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    struct timer timer;
    struct tls_report *report; /* owned: today's */
    bool changed;              /* since it was written */
};

static char *path_of(const char *folder, const char *day)
{
    return mem_printf("%s/%s.json", folder, day);
}

/* NULL with why empty: there is none. */
static struct tls_report *read_day(const char *folder, const char *day,
                                   char why[TLS_REPORTER_WHY_MAX])
{
    char state_why[STATE_FILE_WHY_MAX];
    char *path = path_of(folder, day);
    struct buffer text;
    struct tls_report *report = NULL;
    why[0] = '\0';
    buffer_init(&text, REPORT_FILE_MAX);
    if (!state_file_read(path, &text, state_why)) {
        snprintf(why, TLS_REPORTER_WHY_MAX, "%s", state_why);
    } else if (text.len) {
        report = tls_report_load((const char *)text.at, text.len);
        if (!report || strcmp(tls_report_day_of(report), day) != 0) {
            snprintf(why, TLS_REPORTER_WHY_MAX, "%.200s: this is no count of TLS sessions", path);
            tls_report_free(report);
            report = NULL;
        }
    }
    buffer_fini(&text);
    free(path);
    return report;
}

static void write_day(struct tls_reporter *reporter)
{
    char why[STATE_FILE_WHY_MAX];
    if (!reporter->changed)
        return;
    char *path = path_of(reporter->folder, tls_report_day_of(reporter->report));
    char *text = tls_report_dump(reporter->report);
    if (!state_file_write(path, bytes_of(text), why))
        log_warning("TLS sessions counted for reports cannot be kept: %s", why);
    else
        reporter->changed = false;
    free(text);
    free(path);
}

/* Counts, and what became of their reports. */
static bool is_day_file(const char *name)
{
    return tls_report_begins_with_day(name) &&
           (strcmp(name + TLS_REPORT_DAY_LEN, ".json") == 0 ||
            strcmp(name + TLS_REPORT_DAY_LEN, TLS_REPORT_LEDGER_SUFFIX) == 0);
}

/* Names sort as days do. */
static void remove_old(const struct tls_reporter *reporter)
{
    char first[TLS_REPORT_DAY_LEN + 1];
    tls_report_day((clock_wall_ms() - reporter->keep_ms) / 1000, first);
    int fd = open(reporter->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *folder = fd >= 0 ? fdopendir(fd) : NULL;
    struct dirent *entry;
    while (folder && (entry = readdir(folder))) {
        if (!is_day_file(entry->d_name) || strncmp(entry->d_name, first, TLS_REPORT_DAY_LEN) >= 0)
            continue;
        if (unlinkat(dirfd(folder), entry->d_name, 0) != 0)
            log_warning("%s/%s cannot be removed: %s", reporter->folder, entry->d_name,
                        strerror(errno));
    }
    if (folder)
        closedir(folder);
    else if (fd >= 0)
        close(fd);
}

/* Takes up the day, where an earlier run has left it. */
static void begin_day(struct tls_reporter *reporter, const char *day)
{
    char why[TLS_REPORTER_WHY_MAX];
    tls_report_free(reporter->report);
    reporter->report = read_day(reporter->folder, day, why);
    if (!reporter->report && *why)
        log_warning("TLS sessions are counted anew: %s", why);
    if (!reporter->report)
        reporter->report = tls_report_new(day);
    reporter->changed = false;
    remove_old(reporter);
}

static void follow_the_day(struct tls_reporter *reporter)
{
    char today[TLS_REPORT_DAY_LEN + 1];
    tls_report_day(clock_wall_ms() / 1000, today);
    if (strcmp(today, tls_report_day_of(reporter->report)) == 0)
        return;
    write_day(reporter);
    begin_day(reporter, today);
}

static void on_item(void *ctx, struct mailbox_item *posted)
{
    struct tls_reporter *reporter = ctx;
    struct session_item *item = container_of(posted, struct session_item, item);
    if (posted->kind == ITEM_STOP) {
        loop_stop(&reporter->loop);
        return;
    }
    follow_the_day(reporter);
    tls_report_add(reporter->report, &item->session);
    reporter->changed = true;
    free(item);
}

static void on_timer(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    struct tls_reporter *reporter = container_of(timer, struct tls_reporter, timer);
    follow_the_day(reporter);
    write_day(reporter);
    loop_arm(&reporter->loop, &reporter->timer, TLS_REPORTER_WRITE_MS);
}

static void *reporter_main(void *ctx)
{
    struct tls_reporter *reporter = ctx;
    loop_run(&reporter->loop);
    write_day(reporter);
    return NULL;
}

static void free_reporter(struct tls_reporter *reporter)
{
    tls_report_free(reporter->report);
    free(reporter->folder);
    free(reporter);
}

static bool start_thread(struct tls_reporter *reporter)
{
    if (!loop_init(&reporter->loop))
        return false;
    if (!mailbox_init(&reporter->mailbox, &reporter->loop, on_item, reporter)) {
        loop_fini(&reporter->loop);
        return false;
    }
    timer_init(&reporter->timer, on_timer);
    loop_arm(&reporter->loop, &reporter->timer, TLS_REPORTER_WRITE_MS);
    int rc = pthread_create(&reporter->thread, NULL, reporter_main, reporter);
    if (rc == 0) {
        pthread_setname_np(reporter->thread, "TLS reporter");
        return true;
    }
    mailbox_fini(&reporter->mailbox);
    loop_fini(&reporter->loop);
    errno = rc;
    return false;
}

struct tls_reporter *tls_reporter_start(const char *spool, int64_t keep_ms,
                                        char why[TLS_REPORTER_WHY_MAX])
{
    char today[TLS_REPORT_DAY_LEN + 1];
    struct tls_reporter *reporter = mem_zalloc(1, sizeof *reporter);
    reporter->folder = mem_printf("%s/tlsrpt", spool);
    reporter->keep_ms = keep_ms;
    if (mkdir(reporter->folder, 0700) != 0 && errno != EEXIST) {
        snprintf(why, TLS_REPORTER_WHY_MAX, "%.200s: %s", reporter->folder, strerror(errno));
        free_reporter(reporter);
        return NULL;
    }
    tls_report_day(clock_wall_ms() / 1000, today);
    begin_day(reporter, today);
    if (start_thread(reporter))
        return reporter;
    snprintf(why, TLS_REPORTER_WHY_MAX, "no thread for TLS reports: %s", strerror(errno));
    free_reporter(reporter);
    return NULL;
}

void tls_reporter_stop(struct tls_reporter *reporter)
{
    struct mailbox_item stop = {.kind = ITEM_STOP};
    if (!reporter)
        return;
    mailbox_post(&reporter->mailbox, &stop);
    pthread_join(reporter->thread, NULL);
    mailbox_fini(&reporter->mailbox);
    loop_fini(&reporter->loop);
    free_reporter(reporter);
}

/* Copies text and its NUL to *end, and moves it. */
static const char *put(char **end, const char *text)
{
    size_t size = strlen(text) + 1;
    char *to = memcpy(*end, text, size);
    *end += size;
    return to;
}

void tls_reporter_note(struct tls_reporter *reporter, const struct tls_report_session *session)
{
    if (!reporter)
        return;
    size_t size = strlen(session->domain) + strlen(session->policy_text) +
                  strlen(session->mx_patterns) + strlen(session->mx) + strlen(session->address) +
                  strlen(session->local) + strlen(session->reason) + 7;
    struct session_item *item = mem_alloc(sizeof *item + size);
    char *end = item->texts;
    item->item.kind = ITEM_SESSION;
    item->session = (struct tls_report_session){
        .domain = put(&end, session->domain),
        .policy = session->policy,
        .policy_text = put(&end, session->policy_text),
        .mx_patterns = put(&end, session->mx_patterns),
        .mx = put(&end, session->mx),
        .address = put(&end, session->address),
        .local = put(&end, session->local),
        .result = session->result, /* static */
        .reason = put(&end, session->reason),
    };
    mailbox_post(&reporter->mailbox, &item->item);
}

struct tls_report *tls_reporter_read(const char *spool, const char *day,
                                     char why[TLS_REPORTER_WHY_MAX])
{
    char *folder = mem_printf("%s/tlsrpt", spool);
    struct tls_report *report = read_day(folder, day, why);
    free(folder);
    return report;
}
