/* Subcommands. Each gets its own name as argv[0] and returns an exit code of sysexits.h. Main
 * thread. */
#ifndef SLUICE_ROUTER_CLI_H
#define SLUICE_ROUTER_CLI_H

#include "router/config.h"

int cli_run(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_queue(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_version(void);

/* Loads the configuration (path NULL: the default), spool (NULL: as configured) in place of its
 * own. NULL after saying why on stderr. */
struct config *cli_load_config(const char *path, const char *spool);

#endif
