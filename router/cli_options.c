/* The options that most subcommands share, and where their arguments end.
 * What a subcommand knows beside them it reads itself. */
#include "router/cli.h"

#include <getopt.h>
#include <stdio.h>

bool cli_take_option(struct cli_options *options, int option)
{
    switch (option) {
    case 'c':
        options->config = optarg;
        return true;
    case CLI_OPTION_SPOOL:
        options->spool = optarg;
        return true;
    case CLI_OPTION_JSON:
        options->json = true;
        return true;
    default:
        return false;
    }
}

bool cli_no_more_arguments(const char *name, int argc, char **argv)
{
    if (optind >= argc)
        return true;
    fprintf(stderr, "%s: unexpected argument: %s\n", name, argv[optind]);
    return false;
}
