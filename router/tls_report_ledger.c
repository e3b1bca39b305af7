/* The file of steps. What a step leads to is tls_report_plan.c's to say. */
#include "router/tls_report_ledger.h"

#include "base/memory.h"
#include "router/json_line.h"
#include "tls/state_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEDGER_FILE_MAX = 256 * 1024 * 1024, LEDGER_LINE_MAX = 16 * 1024 };

static const char *const state_names[] = {
    [TLS_REPORT_WAITING] = "waiting",
    [TLS_REPORT_RETRY] = "retry",
    [TLS_REPORT_SENT] = "sent",
    [TLS_REPORT_FAILED] = "failed",
    [TLS_REPORT_NOT_WANTED] = "not-wanted",
};

const char *tls_report_state_name(enum tls_report_state state)
{
    return state_names[state];
}

static char *path_of(const char *spool, const char *day)
{
    return mem_printf("%s/tlsrpt/%s" TLS_REPORT_LEDGER_SUFFIX, spool, day);
}

/* In one write, with a line end in front: what a crash cut short ends there. */
static void put_line(const struct tls_report_step *step, struct buffer *out)
{
    struct json_line json;
    buffer_append_byte(out, '\n');
    json_line_begin(&json, out);
    json_line_text(&json, "domain", step->domain);
    json_line_text(&json, "state", state_names[step->state]);
    json_line_number(&json, "attempts", step->attempts);
    json_line_number(&json, "at", (uint64_t)step->wall_ms);
    json_line_number(&json, "first", (uint64_t)step->first_wall_ms);
    json_line_number(&json, "next", (uint64_t)step->next_wall_ms);
    json_line_text(&json, "endpoint", step->endpoint);
    json_line_text(&json, "why", step->why);
    json_line_end(&json);
}

static bool write_all(int fd, struct bytes content)
{
    while (content.len) {
        ssize_t len = write(fd, content.at, content.len);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return false;
        content = bytes_from(content, (size_t)len);
    }
    return true;
}

bool tls_report_ledger_append(const char *spool, const char *day,
                              const struct tls_report_step *step, bool sync,
                              char why[TLS_REPORT_LEDGER_WHY_MAX])
{
    char *path = path_of(spool, day);
    struct buffer line;
    buffer_init(&line, LEDGER_LINE_MAX);
    put_line(step, &line);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    bool ok = fd >= 0 && write_all(fd, buffer_bytes(&line)) && (!sync || fsync(fd) == 0);
    if (!ok)
        snprintf(why, TLS_REPORT_LEDGER_WHY_MAX, "%.200s: %s", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    buffer_fini(&line);
    free(path);
    return ok;
}

static bool state_of(const char *name, enum tls_report_state *out)
{
    for (size_t i = TLS_REPORT_RETRY; name && i < sizeof state_names / sizeof *state_names; i++) {
        if (strcmp(name, state_names[i]) != 0)
            continue;
        *out = (enum tls_report_state)i;
        return true;
    }
    return false;
}

static const char *text_at(const json_t *row, const char *key)
{
    const char *text = json_string_value(json_object_get(row, key));
    return text ? text : "";
}

static json_int_t number_at(const json_t *row, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(row, key));
    return number > 0 ? number : 0;
}

static void read_line(struct bytes line, void (*on_step)(void *, const struct tls_report_step *),
                      void *ctx)
{
    json_t *row = json_loadb((const char *)line.at, line.len, 0, NULL);
    struct tls_report_step step = {.domain = text_at(row, "domain"),
                                   .attempts = (unsigned)number_at(row, "attempts"),
                                   .wall_ms = number_at(row, "at"),
                                   .first_wall_ms = number_at(row, "first"),
                                   .next_wall_ms = number_at(row, "next"),
                                   .endpoint = text_at(row, "endpoint"),
                                   .why = text_at(row, "why")};
    if (*step.domain && state_of(text_at(row, "state"), &step.state))
        on_step(ctx, &step);
    json_decref(row);
}

bool tls_report_ledger_read(const char *spool, const char *day,
                            void (*on_step)(void *ctx, const struct tls_report_step *step),
                            void *ctx, char why[TLS_REPORT_LEDGER_WHY_MAX])
{
    char *path = path_of(spool, day);
    char state_why[STATE_FILE_WHY_MAX];
    struct buffer text;
    buffer_init(&text, LEDGER_FILE_MAX);
    bool ok = state_file_read(path, &text, state_why);
    if (!ok)
        snprintf(why, TLS_REPORT_LEDGER_WHY_MAX, "%s", state_why);
    for (struct bytes rest = buffer_bytes(&text); ok && rest.len;) {
        struct bytes line = bytes_first(rest, bytes_find(rest, '\n'));
        rest = bytes_from(rest, line.len + 1);
        if (line.len)
            read_line(line, on_step, ctx);
    }
    buffer_fini(&text);
    free(path);
    return ok;
}
