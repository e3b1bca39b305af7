/* `sluice run`, `sluice --version`, and what the subcommands share.
 * The router itself is router.c. */
#include "base/log.h"
#include "base/memory.h"
#include "router/cli.h"
#include "router/router.h"
#include "tls/context.h"

#include <ares.h>
#include <getopt.h>
#include <idn2.h>
#include <jansson.h>
#include <stdio.h>
#include <sysexits.h>

struct config *cli_load_config(const char *path, const char *spool)
{
    char why[CONFIG_WHY_MAX];
    struct config *config = config_load(path, why);
    if (!config) {
        fprintf(stderr, "%s\n", why);
        return NULL;
    }
    if (spool) {
        free(config->spool);
        config->spool = mem_strdup(spool);
    }
    return config;
}

int cli_version(void)
{
    printf("sluice %s\nTLS: %s\nc-ares %s\njansson %s\nlibidn2 %s\n", SLUICE_VERSION,
           tls_library_name(), ares_version(NULL), jansson_version_str(), idn2_check_version(NULL));
    return EX_OK;
}

int cli_run(int argc, char **argv)
{
    enum { OPTION_DRAIN = CLI_OPTION_OWN, OPTION_UNTIL_EMPTY, OPTION_PROGRESS };
    static const struct option known[] = {
        CLI_CONFIG,
        CLI_SPOOL,
        {"drain", no_argument, NULL, OPTION_DRAIN},
        {"until-empty", no_argument, NULL, OPTION_UNTIL_EMPTY},
        {"progress", no_argument, NULL, OPTION_PROGRESS},
        {NULL, 0, NULL, 0},
    };
    struct router_options run = {.drain = false};
    struct cli_options options = {.json = false};
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;) {
        switch (c) {
        case OPTION_DRAIN:
            run.drain = true;
            break;
        case OPTION_UNTIL_EMPTY:
            run.until_empty = true;
            break;
        case OPTION_PROGRESS:
            run.progress = true;
            break;
        default:
            if (!cli_take_option(&options, c))
                return EX_USAGE;
        }
    }
    if (!cli_no_more_arguments("sluice run", argc, argv))
        return EX_USAGE;
    struct config *config = cli_load_config(options.config, options.spool);
    if (!config)
        return EX_CONFIG;
    log_set_level((enum log_level)config->log.level);
    run.config = config;
    run.config_path = options.config;
    run.spool = options.spool;
    return router_run(&run);
}
