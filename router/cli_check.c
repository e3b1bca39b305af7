/* `sluice check`: the effective configuration, or what is wrong with it.
 * It opens no spool and asks no server. */
#include "base/bytes.h"
#include "router/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

int cli_check(int argc, char **argv)
{
    static const struct option known[] = {CLI_CONFIG, {NULL, 0, NULL, 0}};
    struct cli_options options = {.json = false};
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;)
        if (!cli_take_option(&options, c))
            return EX_USAGE;
    if (!cli_no_more_arguments("sluice check", argc, argv))
        return EX_USAGE;
    struct config *config = cli_load_config(options.config, NULL);
    if (!config)
        return EX_CONFIG;
    struct buffer out;
    buffer_init(&out, SIZE_MAX);
    config_print(config, &out);
    bool written = fwrite(out.at, 1, out.len, stdout) == out.len && fflush(stdout) == 0;
    buffer_fini(&out);
    config_free(config);
    return written ? EX_OK : EX_IOERR;
}
