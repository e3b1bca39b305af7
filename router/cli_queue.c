/* `sluice queue`: what is waiting, from the journal and the spool's folders, beside a running
 * router or without one. It only reads: nothing is locked, moved or repaired. */
#include "base/clock.h"
#include "base/memory.h"
#include "queue/envelope.h"
#include "queue/queue_id.h"
#include "queue/waiting_set.h"
#include "router/cli.h"
#include "router/text_columns.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

enum { HEAD_MAX = 1024 * 1024, HEAD_STEP = 64 * 1024 };
enum {
    SENDER_COLUMNS = 28,
    RECIPIENT_COLUMNS = 32,
    REPLY_COLUMNS_MAX = 240,
    LINE_OCTETS_MAX = 4096
};

struct listing {
    const struct config *config;
    struct spool spool;
    struct waiting_set known;
    bool json;
    uint64_t num;
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

/* A message in short, over those of its recipients that still wait. */
struct summary {
    const char *first_recipient; /* of those that wait, borrowed from the row */
    size_t num_waiting;
    long long attempts; /* the most of any */
    double next;        /* the soonest; 0: at once */
    long long code;
    const char *reply; /* of the last attempt, borrowed */
};

static void add_recipient(struct summary *summary, const json_t *recipient)
{
    const char *status = json_string_value(json_object_get(recipient, "status"));
    const char *reply = json_string_value(json_object_get(recipient, "last_reply"));
    long long attempts = json_integer_value(json_object_get(recipient, "attempts"));
    double next = json_real_value(json_object_get(recipient, "next_attempt"));
    if (strcmp(status, "delivered") == 0 || strcmp(status, "bounced") == 0)
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

static struct summary summarise(const json_t *recipients)
{
    struct summary summary = {.first_recipient = "", .reply = ""};
    size_t i;
    json_t *recipient;
    json_array_foreach(recipients, i, recipient) add_recipient(&summary, recipient);
    return summary;
}

static json_t *message_row(const char *path, const struct waiting *waiting,
                           const struct file_identity *identity, const struct envelope *envelope)
{
    char id[QUEUE_ID_LEN + 1] = "";
    size_t num = envelope ? envelope->recipients.num : waiting ? waiting->num_recipients : 0;
    struct recipient_state *states = mem_zalloc(num, sizeof *states);
    if (waiting)
        queue_id_format(waiting->id, id);
    /* Before it was ever deferred only the recipients that were tried are known, by index. */
    bool is_partial = waiting && waiting->recipients_digest == 0;
    if (waiting && (is_partial ? waiting->num_recipients <= num : waiting->num_recipients == num))
        waiting_states(waiting, states);
    int64_t arrived_ms = waiting ? waiting->arrived_wall_ms : identity->mtime_ns / 1000000;
    json_t *recipients = json_array();
    for (size_t i = 0; i < num; i++)
        json_array_append_new(
            recipients,
            recipient_row(envelope ? envelope->recipients.items[i].mailbox : "", &states[i]));
    const char *held = why_held(path, states, num);
    free(states);
    json_t *row = json_object();
    json_object_set_new(row, "id", id[0] ? json_string(id) : json_null());
    json_object_set_new(row, "path", text_of(path));
    json_object_set_new(row, "age", json_real((double)(clock_wall_ms() - arrived_ms) / 1000));
    json_object_set_new(row, "size", json_integer((json_int_t)identity->size));
    json_object_set_new(row, "sender", envelope ? text_of(envelope->sender.mailbox) : json_null());
    struct summary summary = summarise(recipients);
    json_object_set_new(row, "attempts", json_integer(summary.attempts));
    json_object_set_new(row, "next_attempt",
                        summary.next > 0 ? json_real(summary.next) : json_null());
    json_object_set_new(row, "last_code", summary.code ? json_integer(summary.code) : json_null());
    json_object_set_new(row, "last_reply", text_of(summary.reply));
    json_object_set_new(row, "held", held ? json_string(held) : json_null());
    json_object_set_new(row, "recipients", recipients);
    return row;
}

/* "42s", "17m", "5h", "3d": at most four characters up to 999 days. */
static void put_span(double seconds, struct buffer *out)
{
    static const struct {
        double length, limit;
        char unit;
    } units[] = {{1, 100, 's'}, {60, 100 * 60, 'm'}, {3600, 48 * 3600, 'h'}, {86400, 0, 'd'}};
    size_t i = 0;
    double span = seconds > 0 ? seconds : 0;
    while (units[i].limit > 0 && span >= units[i].limit)
        i++;
    char text[32];
    snprintf(text, sizeof text, "%.0f%c", span / units[i].length, units[i].unit);
    buffer_printf(out, "%5s ", text);
}

static void put_text(struct buffer *out, const char *text, size_t columns)
{
    text_columns_put(out, bytes_of(text), columns, true);
    buffer_append_byte(out, ' ');
}

static void print_for_people(const json_t *row)
{
    struct summary summary = summarise(json_object_get(row, "recipients"));
    struct buffer line;
    const char *id = json_string_value(json_object_get(row, "id"));
    const char *sender = json_string_value(json_object_get(row, "sender"));
    buffer_init(&line, LINE_OCTETS_MAX);
    put_text(&line, id ? id : "-", QUEUE_ID_LEN);
    put_span(json_real_value(json_object_get(row, "age")), &line);
    buffer_printf(&line, "%9lld %4lld ",
                  (long long)json_integer_value(json_object_get(row, "size")), summary.attempts);
    const char *held = json_string_value(json_object_get(row, "held"));
    if (held)
        buffer_append_str(&line, strcmp(held, "operator") == 0 ? " held " : "doubt ");
    else if (summary.attempts)
        put_span(summary.next - (double)clock_wall_ms() / 1000, &line);
    else
        buffer_append_str(&line, "  now ");
    put_text(&line, !sender ? "?" : *sender ? sender : "<>", SENDER_COLUMNS);
    put_text(&line, summary.first_recipient, RECIPIENT_COLUMNS);
    if (summary.num_waiting > 1)
        buffer_printf(&line, "+%zu ", summary.num_waiting - 1);
    if (summary.code)
        buffer_printf(&line, "%lld ", summary.code);
    /* Not padded: it ends the line. */
    text_columns_put(&line, bytes_of(summary.reply), REPLY_COLUMNS_MAX, false);
    printf("%.*s\n", (int)line.len, (const char *)line.at);
    buffer_fini(&line);
}

static void print_row(struct listing *listing, json_t *row)
{
    listing->num++;
    if (listing->json) {
        json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(14));
        putchar('\n');
    } else {
        print_for_people(row);
    }
    json_decref(row);
}

/* As much of the file as holds its header section, within bounds. */
static bool read_head(int fd, struct buffer *head)
{
    size_t searched = 0;
    for (;;) {
        uint8_t *to = buffer_reserve(head, HEAD_STEP);
        ssize_t n = to ? pread(fd, to, HEAD_STEP, (off_t)head->len) : 0;
        if (n <= 0)
            return head->len > 0 && n == 0;
        head->len += (size_t)n;
        if (envelope_header_end(buffer_bytes(head), searched))
            return true;
        searched = head->len;
    }
}

static void list_file(struct listing *listing, const char *path)
{
    struct spool_file file;
    struct envelope envelope;
    struct buffer head;
    char why[ENVELOPE_WHY_MAX];
    const struct envelope_limits limits = {.max_recipients =
                                               listing->config->pickup.max_recipients};
    if (spool_open_message(&listing->spool, path, false, &file) != 0)
        return; /* gone meanwhile, or no message */
    buffer_init(&head, HEAD_MAX);
    bool parsed =
        read_head(file.fd, &head) && envelope_parse(buffer_bytes(&head), &limits, &envelope, why);
    close(file.fd);
    buffer_fini(&head);
    print_row(listing, message_row(path, waiting_set_find(&listing->known, &file.identity),
                                   &file.identity, parsed ? &envelope : NULL));
    if (parsed)
        envelope_fini(&envelope);
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
        if (entry->d_type != DT_DIR)
            list_file(listing, below);
        else if (depth > 0)
            list_folder(listing, below, depth - 1);
    }
    if (dir)
        closedir(dir);
}

static int list(struct listing *listing)
{
    char why[SPOOL_WHY_MAX];
    if (!spool_open(&listing->spool, listing->config->spool, false, why)) {
        fprintf(stderr, "sluice queue: %s\n", why);
        return EX_NOINPUT;
    }
    if (!journal_read(&listing->spool, waiting_set_on_live, &listing->known, why))
        fprintf(stderr, "sluice queue: %s; attempts and replies are not known\n", why);
    waiting_set_sort_by_inode(&listing->known);
    if (!listing->json)
        printf("%-*s %5s %9s %4s %5s %-*s %-*s last reply\n", QUEUE_ID_LEN, "id", "age", "size",
               "atts", "next", SENDER_COLUMNS, "sender", RECIPIENT_COLUMNS, "recipients");
    list_folder(listing, "new", 1);
    list_folder(listing, "deferred", 1);
    list_folder(listing, "hold", 1);
    if (!listing->json)
        printf("%llu messages\n", (unsigned long long)listing->num);
    waiting_set_fini(&listing->known);
    spool_close(&listing->spool);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

int cli_queue(int argc, char **argv)
{
    enum { OPTION_SPOOL = 256, OPTION_JSON };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"spool", required_argument, NULL, OPTION_SPOOL},
        {"json", no_argument, NULL, OPTION_JSON},
        {NULL, 0, NULL, 0},
    };
    struct listing listing = {.json = false};
    const char *path = NULL;
    const char *spool = NULL;
    for (int c; (c = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
        if (c == 'c')
            path = optarg;
        else if (c == OPTION_SPOOL)
            spool = optarg;
        else if (c == OPTION_JSON)
            listing.json = true;
        else
            return EX_USAGE;
    }
    if (optind < argc) {
        fprintf(stderr, "sluice queue: unexpected argument: %s\n", argv[optind]);
        return EX_USAGE;
    }
    struct config *config = cli_load_config(path, spool);
    if (!config)
        return EX_CONFIG;
    listing.config = config;
    int code = list(&listing);
    config_free(config);
    return code;
}
