/* Rows of the listing: the journal's entries matched with files by identity.
 * It only reads: nothing is locked, moved or repaired. */
#include "router/queue_listing.h"

#include "base/clock.h"
#include "base/memory.h"
#include "queue/message.h"
#include "queue/queue_id.h"
#include "queue/waiting_set.h"
#include "router/message_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sysexits.h>
#include <unistd.h>

struct listing {
    const struct config *config;
    const struct queue_selection *selection;
    struct spool spool;
    struct waiting_set known;
    void (*on_row)(void *ctx, json_t *row);
    void *ctx;
};

static const char *status_name(const struct recipient_state *state)
{
    static const char *const names[] = {"pending", "delivered", "bounced", "in doubt", "bounced"};
    return state->status < sizeof names / sizeof *names ? names[state->status] : "unknown";
}

/* A string that a stranger wrote: JSON wants UTF-8, and anything else is shown as far as it can be.
 */
static json_t *text_of(const char *text)
{
    json_t *string = json_string(text);
    return string ? string : json_string("(not UTF-8)");
}

static json_t *recipient_row(const char *mailbox, const struct recipient_state *state)
{
    json_t *row = json_object();
    json_object_set_new(row, "recipient", text_of(mailbox));
    json_object_set_new(row, "status", json_string(status_name(state)));
    json_object_set_new(row, "attempts", json_integer(state->attempts));
    json_object_set_new(row, "next_attempt",
                        state->next_wall_ms ? json_real((double)state->next_wall_ms / 1000)
                                            : json_null());
    json_object_set_new(row, "attempted",
                        state->attempted_wall_ms
                            ? json_real((double)state->attempted_wall_ms / 1000)
                            : json_null());
    json_object_set_new(row, "last_code",
                        state->last.code ? json_integer(state->last.code) : json_null());
    json_object_set_new(row, "last_reply", text_of(state->last.text));
    return row;
}

/* A file in hold/: by doubt when that alone is left, else by an operator. NULL: not held. */
static const char *why_held(const char *path, const struct recipient_state *states, size_t num)
{
    bool pending = num == 0;
    if (!spool_path_is_held(path))
        return NULL;
    for (size_t i = 0; i < num; i++)
        pending |= states[i].status == RECIPIENT_PENDING;
    return pending ? "operator" : "in doubt";
}

static bool waits(const json_t *recipient)
{
    const char *status = json_string_value(json_object_get(recipient, "status"));
    return strcmp(status, "delivered") != 0 && strcmp(status, "bounced") != 0;
}

static void add_recipient(struct queue_summary *summary, const json_t *recipient)
{
    const char *reply = json_string_value(json_object_get(recipient, "last_reply"));
    long long attempts = json_integer_value(json_object_get(recipient, "attempts"));
    double next = json_real_value(json_object_get(recipient, "next_attempt"));
    if (!waits(recipient))
        return;
    if (summary->num_waiting == 0 || next < summary->next)
        summary->next = next;
    if (summary->num_waiting++ == 0)
        summary->first_recipient = json_string_value(json_object_get(recipient, "recipient"));
    if (attempts > summary->attempts || (*reply && !*summary->reply)) {
        summary->code = json_integer_value(json_object_get(recipient, "last_code"));
        summary->reply = reply;
    }
    summary->attempts = attempts > summary->attempts ? attempts : summary->attempts;
}

struct queue_summary queue_summarise(const json_t *recipients)
{
    struct queue_summary summary = {.first_recipient = "", .reply = ""};
    size_t i;
    json_t *recipient;
    json_array_foreach(recipients, i, recipient) add_recipient(&summary, recipient);
    return summary;
}

/* What the router calls it: the journal knows, and for files that it does not know, their names. */
static void id_of(const char *path, const struct waiting *waiting, char out[QUEUE_ID_LEN + 1])
{
    uint64_t id = waiting ? waiting->id : 0;
    bool named = waiting || (strncmp(path, "new/", 4) != 0 &&
                             queue_id_parse(bytes_of(strrchr(path, '/') + 1), &id));
    out[0] = '\0';
    if (named)
        queue_id_format(id, out);
}

static json_t *recipient_rows(const struct envelope *envelope, const struct recipient_state *states,
                              size_t num)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < num; i++)
        json_array_append_new(
            rows, recipient_row(envelope ? envelope->recipients.items[i].mailbox : "", &states[i]));
    return rows;
}

static json_t *message_row(const char *path, const struct waiting *waiting,
                           const struct message_file *file)
{
    char id[QUEUE_ID_LEN + 1];
    const struct envelope *envelope = file->has_envelope ? &file->envelope : NULL;
    size_t num = envelope ? envelope->recipients.num : waiting ? waiting->num_recipients : 0;
    struct recipient_state *states = mem_zalloc(num, sizeof *states);
    if (waiting && (!envelope || waiting_fits(waiting, message_recipients_digest(envelope), num)))
        waiting_states(waiting, states);
    int64_t arrived_ms = waiting ? waiting->arrived_wall_ms : file->identity.mtime_ns / 1000000;
    json_t *recipients = recipient_rows(envelope, states, num);
    const char *held = why_held(path, states, num);
    struct queue_summary summary = queue_summarise(recipients);
    free(states);
    id_of(path, waiting, id);
    json_t *row = json_object();
    json_object_set_new(row, "id", id[0] ? json_string(id) : json_null());
    json_object_set_new(row, "path", text_of(path));
    json_object_set_new(row, "age", json_real((double)(clock_wall_ms() - arrived_ms) / 1000));
    json_object_set_new(row, "size", json_integer((json_int_t)file->identity.size));
    json_object_set_new(row, "sender", envelope ? text_of(envelope->sender.mailbox) : json_null());
    json_object_set_new(row, "attempts", json_integer(summary.attempts));
    json_object_set_new(row, "next_attempt",
                        summary.next > 0 ? json_real(summary.next) : json_null());
    json_object_set_new(row, "last_code", summary.code ? json_integer(summary.code) : json_null());
    json_object_set_new(row, "last_reply", text_of(summary.reply));
    json_object_set_new(row, "held", held ? json_string(held) : json_null());
    json_object_set_new(row, "recipients", recipients);
    return row;
}

static bool matches(const struct queue_selection *selection, const json_t *row)
{
    const char *sender = json_string_value(json_object_get(row, "sender"));
    size_t i;
    json_t *recipient;
    if (selection->sender && (!sender || strcasecmp(sender, selection->sender) != 0))
        return false;
    if (!selection->recipient_domain)
        return true;
    json_array_foreach(json_object_get(row, "recipients"), i, recipient)
    {
        const char *mailbox = json_string_value(json_object_get(recipient, "recipient"));
        const char *at = mailbox ? strrchr(mailbox, '@') : NULL;
        if (waits(recipient) && at && strcasecmp(at + 1, selection->recipient_domain) == 0)
            return true;
    }
    return false;
}

static void list_file(struct listing *listing, const char *path)
{
    struct message_file file;
    if (message_file_read(&listing->spool, listing->config, path, &file) != 0)
        return; /* gone meanwhile, or no message */
    json_t *row = message_row(path, waiting_set_find(&listing->known, &file.identity), &file);
    message_file_fini(&file);
    if (matches(listing->selection, row))
        listing->on_row(listing->ctx, row);
    json_decref(row);
}

static void list_folder(struct listing *listing, const char *path, unsigned depth)
{
    int fd = openat(listing->spool.root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    if (!dir && fd >= 0)
        close(fd);
    while (dir && (entry = readdir(dir))) {
        char below[SPOOL_PATH_MAX];
        if (spool_name_is_ignored(entry->d_name) ||
            (size_t)snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= sizeof below)
            continue;
        if (!spool_entry_is_folder(dirfd(dir), entry))
            list_file(listing, below);
        else if (depth > 0)
            list_folder(listing, below, depth - 1);
    }
    if (dir)
        closedir(dir);
}

int queue_list(const struct config *config, const struct queue_selection *selection,
               void (*on_row)(void *ctx, json_t *row), void *ctx)
{
    struct listing listing = {
        .config = config, .selection = selection, .on_row = on_row, .ctx = ctx};
    char why[SPOOL_WHY_MAX];
    if (!spool_open(&listing.spool, config->spool, false, why)) {
        fprintf(stderr, "sluice queue: %s\n", why);
        return EX_NOINPUT;
    }
    if (!journal_read(&listing.spool, waiting_set_on_live, &listing.known, why))
        fprintf(stderr, "sluice queue: %s; attempts and replies are not known\n", why);
    waiting_set_sort_by_inode(&listing.known);
    list_folder(&listing, "new", 1);
    list_folder(&listing, "deferred", 1);
    list_folder(&listing, "hold", 1);
    waiting_set_fini(&listing.known);
    spool_close(&listing.spool);
    return EX_OK;
}
