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
    enum { OPTION_SPOOL = 256, OPTION_DRAIN, OPTION_UNTIL_EMPTY, OPTION_PROGRESS };
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'},
        {"spool", required_argument, NULL, OPTION_SPOOL},
        {"drain", no_argument, NULL, OPTION_DRAIN},
        {"until-empty", no_argument, NULL, OPTION_UNTIL_EMPTY},
        {"progress", no_argument, NULL, OPTION_PROGRESS},
        {NULL, 0, NULL, 0},
    };
    struct router_options run = {.drain = false};
    const char *path = NULL;
    const char *spool = NULL;
    for (int c; (c = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
        switch (c) {
        case 'c':
            path = optarg;
            break;
        case OPTION_SPOOL:
            spool = optarg;
            break;
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
            return EX_USAGE;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "sluice run: unexpected argument: %s\n", argv[optind]);
        return EX_USAGE;
    }
    struct config *config = cli_load_config(path, spool);
    if (!config)
        return EX_CONFIG;
    log_set_level((enum log_level)config->log.level);
    run.config = config;
    int code = router_run(&run);
    config_free(config);
    return code;
}
