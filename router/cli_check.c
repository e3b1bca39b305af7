/* `sluice check`: the effective configuration, or what is wrong with it.
 * It opens no spool and asks no server. */
#include "base/bytes.h"
#include "router/cli.h"

#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>

int cli_check(int argc, char **argv)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {NULL, 0, NULL, 0}};
    const char *path = NULL;
    for (int c; (c = getopt_long(argc, argv, "c:", options, NULL)) != -1;) {
        if (c != 'c')
            return EX_USAGE;
        path = optarg;
    }
    if (optind < argc) {
        fprintf(stderr, "sluice check: unexpected argument: %s\n", argv[optind]);
        return EX_USAGE;
    }
    struct config *config = cli_load_config(path, NULL);
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
