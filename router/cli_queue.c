/* `sluice queue`: what is waiting, for people and for programs. Operations on messages are in
 * cli_queue_operate.c. */
#include "base/clock.h"
#include "queue/queue_id.h"
#include "router/cli.h"
#include "router/cli_queue_operate.h"
#include "router/text_columns.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum {
    SENDER_COLUMNS = 28,
    RECIPIENT_COLUMNS = 32,
    REPLY_COLUMNS_MAX = 240,
    LINE_OCTETS_MAX = 4096
};

struct printer {
    bool json;
    uint64_t num;
};

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
    struct queue_summary summary = queue_summarise(json_object_get(row, "recipients"));
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

static void print_row(void *ctx, json_t *row)
{
    struct printer *printer = ctx;
    printer->num++;
    if (printer->json) {
        json_dumpf(row, stdout, JSON_COMPACT | JSON_REAL_PRECISION(14));
        putchar('\n');
    } else {
        print_for_people(row);
    }
}

static int list(const struct config *config, const struct queue_selection *selection, bool json)
{
    struct printer printer = {.json = json};
    if (!json)
        printf("%-*s %5s %9s %4s %5s %-*s %-*s last reply\n", QUEUE_ID_LEN, "id", "age", "size",
               "atts", "next", SENDER_COLUMNS, "sender", RECIPIENT_COLUMNS, "recipients");
    int code = queue_list(config, selection, print_row, &printer);
    if (!json && code == EX_OK)
        printf("%llu messages\n", (unsigned long long)printer.num);
    return fflush(stdout) == 0 ? code : EX_IOERR;
}

struct arguments {
    struct cli_options options;
    struct queue_selection selection;
    bool all;
};

static bool read_options(int argc, char **argv, struct arguments *out)
{
    enum { OPTION_ALL = CLI_OPTION_OWN, OPTION_SENDER, OPTION_DOMAIN };
    static const struct option known[] = {
        CLI_CONFIG,
        CLI_SPOOL,
        CLI_JSON,
        {"all", no_argument, NULL, OPTION_ALL},
        {"sender", required_argument, NULL, OPTION_SENDER},
        {"recipient-domain", required_argument, NULL, OPTION_DOMAIN},
        {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;) {
        switch (c) {
        case OPTION_ALL:
            out->all = true;
            break;
        case OPTION_SENDER:
            out->selection.sender = strcmp(optarg, "<>") == 0 ? "" : optarg;
            break;
        case OPTION_DOMAIN:
            out->selection.recipient_domain = optarg;
            break;
        default:
            if (!cli_take_option(&out->options, c))
                return false;
        }
    }
    return true;
}

int cli_queue(int argc, char **argv)
{
    struct arguments arguments = {.all = false};
    if (!read_options(argc, argv, &arguments))
        return EX_USAGE;
    const char *verb = optind < argc ? argv[optind++] : "list";
    struct queue_request request = {
        .operation = queue_operation_of(verb),
        .ids = (const char *const *)argv + optind,
        .num_ids = (size_t)(argc - optind),
        .selection = &arguments.selection,
        .all = arguments.all,
        .json = arguments.options.json,
    };
    bool lists = strcmp(verb, "list") == 0;
    if (!lists && request.operation == QUEUE_NO_OPERATION) {
        fprintf(stderr, "sluice queue: unexpected argument: %s\n", verb);
        return EX_USAGE;
    }
    if (lists ? request.num_ids > 0 : !queue_request_is_clear(&request))
        return EX_USAGE;
    struct config *config = cli_load_config(arguments.options.config, arguments.options.spool);
    if (!config)
        return EX_CONFIG;
    int code = lists ? list(config, &arguments.selection, arguments.options.json)
                     : queue_request_run(config, &request);
    config_free(config);
    return code;
}
