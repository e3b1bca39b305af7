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
int cli_reload(int argc, char **argv);
int cli_probe(int argc, char **argv);
int cli_tlsrpt(int argc, char **argv);
int cli_version(void);

/* What most subcommands share. All texts are borrowed from argv. */
struct cli_options {
    const char *config, *spool; /* NULL: not given */
    bool json;
};
enum { CLI_OPTION_SPOOL = 256, CLI_OPTION_JSON, CLI_OPTION_OWN }; /* OWN: the first free one */
/* Rows for getopt_long(); the short options are "c:". */
/* clang-format off */
#define CLI_CONFIG {"config", required_argument, NULL, 'c'}
#define CLI_SPOOL {"spool", required_argument, NULL, CLI_OPTION_SPOOL}
#define CLI_JSON {"json", no_argument, NULL, CLI_OPTION_JSON}
/* clang-format on */
/* Whether what getopt_long() returned is one of these; then it is noted. */
bool cli_take_option(struct cli_options *options, int option);
/* Behind the options; name stands in front of the complaint. */
bool cli_no_more_arguments(const char *name, int argc, char **argv);

/* Loads the configuration (path NULL: the default), spool (NULL: as configured) in place of its
 * own. NULL after saying why on stderr. */
struct config *cli_load_config(const char *path, const char *spool);
/* Asks the router that runs on the spool; request is borrowed. 0 and the answer, the caller's to
 * free, when it said "ok"; else an exit code after saying why on stderr, with name in front. */
int cli_ask(const char *name, const char *spool, const json_t *request, json_t **out_answer);
void cli_print_json(const json_t *answer);

#endif
