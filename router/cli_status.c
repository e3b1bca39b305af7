/* `sluice status`: asks the router that runs on the spool how it is.
 * Without one it says so; it takes no lock and changes nothing. */
#include "base/clock.h"
#include "router/cli.h"
#include "router/text_columns.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sysexits.h>

enum { REASON_COLUMNS_MAX = 200 };

static long long number(const json_t *answer, const char *row, const char *key)
{
    return json_integer_value(json_object_get(json_object_get(answer, row), key));
}

static double since(const json_t *object, const char *key)
{
    double span = (double)clock_wall_ms() / 1000 - json_number_value(json_object_get(object, key));
    return span > 0 ? span : 0;
}

static const char *text(const json_t *object, const char *key)
{
    const char *value = json_string_value(json_object_get(object, key));
    return value ? value : "";
}

static void print_pause(const json_t *pause)
{
    struct buffer line;
    buffer_init(&line, 4096);
    buffer_printf(&line, "%s paused for %.0f s: ", text(pause, "room"), since(pause, "since"));
    text_columns_put(&line, bytes_of(text(pause, "reason")), REASON_COLUMNS_MAX, false);
    printf("%.*s\n", (int)line.len, (const char *)line.at);
    buffer_fini(&line);
}

static void print_for_people(const json_t *answer)
{
    const json_t *commit = json_object_get(answer, "commit");
    size_t i;
    json_t *pause;
    printf("%s: sluice %s, process %lld, for %.0f s\n", text(answer, "state"),
           text(answer, "version"), (long long)json_integer_value(json_object_get(answer, "pid")),
           since(answer, "started"));
    json_array_foreach(json_object_get(answer, "pauses"), i, pause) print_pause(pause);
    printf("messages: %lld waiting, %lld held, of these %lld in doubt; %lld loaded; "
           "deliveries in flight: %lld; connections: %lld\n",
           number(answer, "messages", "waiting"), number(answer, "messages", "held"),
           number(answer, "messages", "in_doubt"), number(answer, "messages", "loaded"),
           number(answer, "messages", "in_flight"),
           (long long)json_integer_value(json_object_get(answer, "connections")));
    printf("recipients so far: %lld delivered, %lld deferred, %lld bounced\n",
           number(answer, "recipients", "delivered"), number(answer, "recipients", "deferred"),
           number(answer, "recipients", "bounced"));
    if (json_is_object(json_object_get(answer, "mta_sts")))
        printf("MTA-STS: %lld policies kept; %lld fetches, of which %lld failed; %lld answers by a "
               "policy that could not be renewed; %lld attempts refused by a policy\n",
               number(answer, "mta_sts", "policies"), number(answer, "mta_sts", "fetches"),
               number(answer, "mta_sts", "failures"), number(answer, "mta_sts", "outlived"),
               number(answer, "mta_sts", "refused"));
    printf("journal: %.3f s behind, last commit took %.6f s\n",
           json_number_value(json_object_get(commit, "lag")),
           json_number_value(json_object_get(commit, "last_took")));
}

static int ask(const char *spool, bool json)
{
    json_t *request = json_pack("{s:s}", "command", "status");
    json_t *answer = NULL;
    int code = cli_ask("sluice status", spool, request, &answer);
    json_decref(request);
    if (code != EX_OK)
        return code;
    if (json)
        cli_print_json(answer);
    else
        print_for_people(answer);
    code = json_array_size(json_object_get(answer, "pauses")) ? EX_TEMPFAIL : EX_OK;
    json_decref(answer);
    return fflush(stdout) == 0 ? code : EX_IOERR;
}

int cli_status(int argc, char **argv)
{
    static const struct option known[] = {CLI_CONFIG, CLI_SPOOL, CLI_JSON, {NULL, 0, NULL, 0}};
    struct cli_options options = {.json = false};
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;)
        if (!cli_take_option(&options, c))
            return EX_USAGE;
    if (!cli_no_more_arguments("sluice status", argc, argv))
        return EX_USAGE;
    struct config *config = cli_load_config(options.config, options.spool);
    if (!config)
        return EX_CONFIG;
    int code = ask(config->spool, options.json);
    config_free(config);
    return code;
}
