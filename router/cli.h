/* Subcommands. Each gets its own name as argv[0] and returns an exit code of sysexits.h. Main
 * thread. */
#ifndef SLUICE_ROUTER_CLI_H
#define SLUICE_ROUTER_CLI_H

#include "router/config.h"

#include <jansson.h>

int cli_run(int argc, char **argv);
int cli_check(int argc, char **argv);
int cli_queue(int argc, char **argv);
int cli_fsck(int argc, char **argv);
int cli_status(int argc, char **argv);
int cli_tls_cache(int argc, char **argv);
int cli_probe(int argc, char **argv);
int cli_version(void);

/* Loads the configuration (path NULL: the default), spool (NULL: as configured) in place of its
 * own. NULL after saying why on stderr. */
struct config *cli_load_config(const char *path, const char *spool);
/* Asks the router that runs on the spool; request is borrowed. 0 and the answer, the caller's to
 * free, when it said "ok"; else an exit code after saying why on stderr, with name in front. */
int cli_ask(const char *name, const char *spool, const json_t *request, json_t **out_answer);
void cli_print_json(const json_t *answer);

#endif
