/* `sluice tls-cache`: what the running router's TLS session cache saves, and where it could save
 * more. `sluice tls-cache flush` drops sessions. */
#include "base/bytes.h"
#include "router/cli.h"
#include "router/text_columns.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { LABEL_COLUMNS = 40 };

static long long number(const json_t *row, const char *key)
{
    return json_integer_value(json_object_get(row, key));
}

/* Microseconds of CPU for one handshake; 0: there was none. */
static double cost_us(const json_t *row, const char *cpu, const char *num)
{
    long long handshakes = number(row, num);
    return handshakes ? json_number_value(json_object_get(row, cpu)) * 1e6 / (double)handshakes : 0;
}

/* What resuming would have saved, by the router's own average costs: a failed handshake costs the
 * full one that follows it. */
static double lost_s(const json_t *row, double saving_us)
{
    return saving_us > 0 ? (double)number(row, "avoidable") * saving_us / 1e6 : 0;
}

static void print_row(const json_t *row, double saving_us)
{
    struct buffer line;
    const char *label = json_string_value(json_object_get(row, "destination"));
    buffer_init(&line, 4096);
    text_columns_put(&line, bytes_of(label ? label : ""), LABEL_COLUMNS, true);
    buffer_printf(&line,
                  " %8lld %8lld %8lld | %9lld %7lld %7lld %7lld %7lld %7lld %6lld | %8.3f %8.3f%s",
                  number(row, "lookups"), number(row, "resumed"), number(row, "full"),
                  number(row, "no_ticket"), number(row, "used_up"), number(row, "expired"),
                  number(row, "evicted"), number(row, "key_changed"), number(row, "refused"),
                  number(row, "failed"), json_number_value(json_object_get(row, "cpu_avoidable")),
                  lost_s(row, saving_us), number(row, "never_resumes") ? "  never resumes" : "");
    printf("%.*s\n", (int)line.len, (const char *)line.at);
    buffer_fini(&line);
}

static void print_for_people(const json_t *answer)
{
    const json_t *totals = json_object_get(answer, "totals");
    const json_t *rows = json_object_get(answer, "destinations");
    double full_us = cost_us(totals, "cpu_full", "full");
    double resumed_us = cost_us(totals, "cpu_resumed", "resumed");
    double saving_us = full_us > 0 && resumed_us > 0 ? full_us - resumed_us : 0;
    size_t i;
    json_t *row;
    printf("%lld look-ups, %lld resumed, %lld full (%lld at first contact, %lld could have been "
           "resumed); %lld destinations with %lld sessions in %lld KiB, %lld evictions\n",
           number(totals, "lookups"), number(totals, "resumed"), number(totals, "full"),
           number(totals, "first"), number(totals, "avoidable"), number(totals, "destinations"),
           number(totals, "sessions"), number(totals, "bytes") / 1024, number(totals, "evictions"));
    printf("CPU of a full handshake %.0f us, of a resumed one %.0f us; saved so far %.3f s\n",
           full_us, resumed_us,
           saving_us > 0 ? saving_us * (double)number(totals, "resumed") / 1e6 : 0);
    if (json_array_size(rows) == 0)
        return;
    printf("%-*s %8s %8s %8s | %9s %7s %7s %7s %7s %7s %6s | %8s %8s\n", LABEL_COLUMNS,
           "destination", "look-ups", "resumed", "full", "no ticket", "used up", "expired",
           "evicted", "new key", "refused", "failed", "CPU s", "lost s");
    json_array_foreach(rows, i, row) print_row(row, saving_us);
    if (number(answer, "matching") > (long long)json_array_size(rows))
        printf("... and %lld more (--top)\n",
               number(answer, "matching") - (long long)json_array_size(rows));
}

struct wishes {
    struct cli_options options;
    const char *name;
    bool flush;
    long top; /* 0: the router's default */
};

static bool read_options(int argc, char **argv, struct wishes *out)
{
    enum { OPTION_TOP = CLI_OPTION_OWN };
    static const struct option known[] = {
        CLI_CONFIG,         CLI_SPOOL, CLI_JSON, {"top", required_argument, NULL, OPTION_TOP},
        {NULL, 0, NULL, 0},
    };
    uint64_t top;
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;) {
        if (cli_take_option(&out->options, c))
            continue;
        if (c != OPTION_TOP)
            return false;
        if (!bytes_to_u64(bytes_of(optarg), 1000, &top) || top == 0) {
            fprintf(stderr, "sluice tls-cache: --top takes a number from 1 to 1000\n");
            return false;
        }
        out->top = (long)top;
    }
    if (optind < argc && strcmp(argv[optind], "flush") == 0) {
        out->flush = true;
        optind++;
    }
    if (optind < argc)
        out->name = argv[optind++];
    return cli_no_more_arguments("sluice tls-cache", argc, argv);
}

static json_t *request_of(const struct wishes *wishes)
{
    json_t *request = json_pack("{s:s}", "command", "tls-cache");
    if (wishes->name)
        json_object_set_new(request, "name", json_string(wishes->name));
    if (wishes->flush)
        json_object_set_new(request, "flush", json_true());
    if (wishes->top)
        json_object_set_new(request, "top", json_integer(wishes->top));
    return request;
}

int cli_tls_cache(int argc, char **argv)
{
    struct wishes wishes = {.top = 0};
    json_t *answer = NULL;
    if (!read_options(argc, argv, &wishes))
        return EX_USAGE;
    struct config *config = cli_load_config(wishes.options.config, wishes.options.spool);
    if (!config)
        return EX_CONFIG;
    json_t *request = request_of(&wishes);
    int code = cli_ask("sluice tls-cache", config->spool, request, &answer);
    json_decref(request);
    config_free(config);
    if (code != EX_OK)
        return code;
    if (wishes.options.json)
        cli_print_json(answer);
    else if (wishes.flush)
        printf("%lld destinations dropped\n", number(answer, "flushed"));
    else
        print_for_people(answer);
    json_decref(answer);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}
