/* `sluice reload`: has the running router read its configuration file anew.
 * Which file that is, it knows itself. */
#include "router/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

static void print_names(const json_t *answer, const char *key, const char *words)
{
    const json_t *names = json_object_get(answer, key);
    size_t i;
    json_t *name;
    if (json_array_size(names) == 0)
        return;
    printf("%s", words);
    json_array_foreach(names, i, name) printf("%s%s", i ? ", " : " ", json_string_value(name));
    printf("\n");
}

static int ask(const char *spool, bool json)
{
    json_t *request = json_pack("{s:s}", "command", "reload");
    json_t *answer = NULL;
    int code = cli_ask("sluice reload", spool, request, &answer);
    json_decref(request);
    if (code != EX_OK)
        return code;
    if (json) {
        cli_print_json(answer);
    } else {
        if (json_array_size(json_object_get(answer, "changed")) == 0)
            printf("nothing changed\n");
        print_names(answer, "changed", "changed:");
        print_names(answer, "restart", "need a restart:");
    }
    json_decref(answer);
    return fflush(stdout) == 0 ? EX_OK : EX_IOERR;
}

int cli_reload(int argc, char **argv)
{
    static const struct option known[] = {CLI_CONFIG, CLI_SPOOL, CLI_JSON, {NULL, 0, NULL, 0}};
    struct cli_options options = {.json = false};
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;)
        if (!cli_take_option(&options, c))
            return EX_USAGE;
    if (!cli_no_more_arguments("sluice reload", argc, argv))
        return EX_USAGE;
    /* The file may be what is wrong: with --spool the router itself has to say so. */
    if (options.spool)
        return ask(options.spool, options.json);
    struct config *config = cli_load_config(options.config, NULL);
    if (!config)
        return EX_CONFIG;
    int code = ask(config->spool, options.json);
    config_free(config);
    return code;
}
