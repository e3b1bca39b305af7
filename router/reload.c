/* Reads, checks, compares, and hands over.
 * What is in force, and for whom, is the dispatcher's (dispatcher_reload). */
#include "router/reload.h"

#include "base/check.h"
#include "base/log.h"
#include "base/memory.h"
#include "router/config_destinations.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

struct news {
    struct dispatcher_news news;
    struct control_call *calls;
    json_t *answer; /* owned */
};

/* Full names, or "section." for all in it. What no row names needs a restart: threads, files and
 * the resolver are made once. */
static const char *const changeable[] = {
    "smtp.",
    "tls.",
    "tls.session_cache.",
    "destination.",
    "destination.tls.",
    "retry.minimum",
    "retry.maximum",
    "retry.jitter_percent",
    "log.level",
    "log.transcript",
    "queue.in_doubt",
    "destination.tls.session_cache.",
};
/* Exceptions in those sections. */
static const char *const fixed[] = {"smtp.max_mx", "tls.broken_lifetime",
                                    "tls.session_cache.stripes"};

static bool is_one_of(const char *const *names, size_t num, const char *name)
{
    for (size_t i = 0; i < num; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

bool reload_can_change(const struct config_option *option)
{
    char *name = mem_printf("%s.%s", option->section, option->name);
    char *section = mem_printf("%s.", option->section);
    bool can = (is_one_of(changeable, sizeof changeable / sizeof *changeable, name) ||
                is_one_of(changeable, sizeof changeable / sizeof *changeable, section)) &&
               !is_one_of(fixed, sizeof fixed / sizeof *fixed, name);
    free(name);
    free(section);
    return can;
}

static bool is_printed_the_same(const struct config *a, const struct config *b,
                                void (*print)(const struct config *config, const void *ctx,
                                              struct buffer *out),
                                const void *ctx)
{
    struct buffer x, y;
    buffer_init(&x, SIZE_MAX);
    buffer_init(&y, SIZE_MAX);
    print(a, ctx, &x);
    print(b, ctx, &y);
    bool same = bytes_equal(buffer_bytes(&x), buffer_bytes(&y));
    buffer_fini(&x);
    buffer_fini(&y);
    return same;
}

static void print_option(const struct config *config, const void *option, struct buffer *out)
{
    config_print_option(config, option, out);
}

static void print_destinations(const struct config *config, const void *ctx, struct buffer *out)
{
    (void)ctx;
    config_destinations_print(config->destinations, out);
}

static bool differs(const struct config *old, const struct config *fresh,
                    const struct config_option *option)
{
    return !config_option_is_destination(option) &&
           !is_printed_the_same(old, fresh, print_option, option);
}

void reload_compare(const struct config *old, const struct config *fresh, json_t **out_changed,
                    json_t **out_restart)
{
    *out_changed = json_array();
    *out_restart = json_array();
    for (size_t i = 0; i < config_num_options; i++) {
        const struct config_option *option = &config_options[i];
        if (!differs(old, fresh, option))
            continue;
        char *name =
            mem_printf("%s%s%s", option->section, *option->section ? "." : "", option->name);
        json_array_append_new(reload_can_change(option) ? *out_changed : *out_restart,
                              json_string(name));
        free(name);
    }
    if (!is_printed_the_same(old, fresh, print_destinations, NULL))
        json_array_append_new(*out_changed, json_string("destination"));
    /* Their file is opened at the start, and only where some session is to be written down. */
    if (config_wants_transcripts(fresh) && !config_wants_transcripts(old))
        json_array_append_new(*out_restart, json_string("log.transcript"));
}

bool reloader_init(struct reloader *reloader)
{
    pthread_mutex_init(&reloader->mutex, NULL);
    reloader->asked_fd = eventfd(0, EFD_CLOEXEC);
    return reloader->asked_fd >= 0;
}

void reloader_fini(struct reloader *reloader)
{
    config_snapshot_unref(reloader->snapshot);
    if (reloader->asked_fd >= 0)
        close(reloader->asked_fd);
    pthread_mutex_destroy(&reloader->mutex);
}

void reloader_ask(struct reloader *reloader, struct control_call *call)
{
    pthread_mutex_lock(&reloader->mutex);
    call->next = reloader->calls;
    reloader->calls = call;
    pthread_mutex_unlock(&reloader->mutex);
    CHECK(eventfd_write(reloader->asked_fd, 1) == 0);
}

static struct control_call *take_calls(struct reloader *reloader)
{
    eventfd_t num;
    CHECK(eventfd_read(reloader->asked_fd, &num) == 0);
    pthread_mutex_lock(&reloader->mutex);
    struct control_call *calls = reloader->calls;
    reloader->calls = NULL;
    pthread_mutex_unlock(&reloader->mutex);
    return calls;
}

static void refuse(struct control_call *calls, const char *why)
{
    log_error("the configuration stays as it was: %s", why);
    while (calls) {
        struct control_call *next = calls->next;
        control_refuse(calls, "config", why);
        calls = next;
    }
}

static char *join(const json_t *names)
{
    struct buffer text;
    size_t i;
    json_t *name;
    buffer_init(&text, SIZE_MAX);
    json_array_foreach(names, i, name)
        buffer_printf(&text, "%s%s", i ? ", " : "", json_string_value(name));
    buffer_append_byte(&text, 0);
    return (char *)text.at;
}

static void say(const json_t *answer)
{
    char *changed = join(json_object_get(answer, "changed"));
    char *restart = join(json_object_get(answer, "restart"));
    log_info("the configuration was read anew; changed: %s", *changed ? changed : "nothing");
    if (*restart)
        log_warning("these have the values of the start until a restart: %s", restart);
    free(changed);
    free(restart);
}

/* Dispatcher's thread: it is in force. */
static void on_applied(struct dispatcher_news *item)
{
    struct news *news = container_of(item, struct news, news);
    say(news->answer);
    while (news->calls) {
        struct control_call *next = news->calls->next;
        control_answer(news->calls, json_deep_copy(news->answer));
        news->calls = next;
    }
    json_decref(news->answer);
    free(news);
}

/* An empty file is a valid one, and would send all mail by MX: but it is one that somebody is about
 * to write. */
static bool is_whole(const char *path, const struct stat *before, char why[CONFIG_WHY_MAX])
{
    struct stat after;
    bool same = stat(path, &after) == 0 && after.st_ino == before->st_ino &&
                after.st_size == before->st_size &&
                after.st_mtim.tv_sec == before->st_mtim.tv_sec &&
                after.st_mtim.tv_nsec == before->st_mtim.tv_nsec;
    if (same && (after.st_size > 0 || !S_ISREG(after.st_mode)))
        return true;
    snprintf(why, CONFIG_WHY_MAX, "%.200s: %s", path,
             same ? "is empty, expected options" : "changed while it was read");
    return false;
}

static struct config *read_file(struct reloader *reloader, char why[CONFIG_WHY_MAX])
{
    const char *path = reloader->path ? reloader->path : CONFIG_DEFAULT_PATH;
    struct stat before;
    if (stat(path, &before) != 0) {
        /* The default file may be missing at a start; here somebody took it away. */
        snprintf(why, CONFIG_WHY_MAX, "%.200s: %s", path, strerror(errno));
        return NULL;
    }
    struct config *config = config_load(reloader->path, why);
    if (!config || is_whole(path, &before, why))
        return config;
    config_free(config);
    return NULL;
}

static struct config_snapshot *load(struct reloader *reloader, char why[CONFIG_WHY_MAX])
{
    struct config *config = read_file(reloader, why);
    if (config && reloader->spool) {
        free(config->spool);
        config->spool = mem_strdup(reloader->spool);
    }
    return config ? config_snapshot_new(config, why) : NULL;
}

/* What the dispatcher does not hold. */
static void apply_here(struct reloader *reloader, const struct config *config)
{
    log_set_level((enum log_level)config->log.level);
    session_cache_set_bounds(reloader->session_cache, config->tls.cache.entries,
                             config->tls.cache.bytes);
    session_saver_configure(reloader->session_saver, config);
}

void reloader_run(struct reloader *reloader)
{
    char why[CONFIG_WHY_MAX];
    struct control_call *calls = take_calls(reloader);
    struct config_snapshot *fresh = load(reloader, why);
    if (!fresh) {
        refuse(calls, why);
        return;
    }
    json_t *changed, *unused, *restart;
    reload_compare(reloader->snapshot->config, fresh->config, &changed, &unused);
    json_decref(unused);
    reload_compare(reloader->started_with, fresh->config, &unused, &restart);
    json_decref(unused);
    /* Settings are new, and no option is: a certificate or a secret is. */
    if (config_snapshot_follow(fresh, reloader->snapshot) && json_array_size(changed) == 0)
        json_array_append_new(changed, json_string("files"));
    apply_here(reloader, fresh->config);
    config_snapshot_unref(reloader->snapshot);
    reloader->snapshot = config_snapshot_ref(fresh);
    struct news *news = mem_zalloc(1, sizeof *news);
    news->news.snapshot = fresh;
    news->news.on_applied = on_applied;
    news->news.item.kind = DISPATCHER_NEWS;
    news->calls = calls;
    news->answer = json_pack("{s:b, s:o, s:o}", "ok", 1, "changed", changed, "restart", restart);
    mailbox_post(&reloader->dispatcher->mailbox, &news->news.item);
}
