/* `sluice fsck`: a line for each difference between journal and files.
 * What they are and how they are repaired is in fsck.c and fsck_repair.c. */
#include "queue/queue_id.h"
#include "router/cli.h"
#include "router/fsck.h"
#include "router/text_columns.h"

#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <sysexits.h>

enum { EXIT_DIFFERENCES = 1 };

static const char *state_of(const struct fsck_finding *finding)
{
    if (finding->repaired)
        return "repaired";
    return fsck_kind_text(finding->kind)->repair ? "repairable" : "left";
}

static void print_json(const struct fsck_finding *finding)
{
    const struct fsck_kind_text *text = fsck_kind_text(finding->kind);
    char id[QUEUE_ID_LEN + 1];
    json_t *path = json_string(finding->path);
    queue_id_format(finding->id, id);
    json_t *row =
        json_pack("{s:s, s:o, s:s?, s:s, s:s, s:s?, s:s}", "kind", text->name, "path",
                  path ? path : json_string("(not UTF-8)"), "id", finding->id ? id : NULL, "state",
                  state_of(finding), "what", text->what, "repair", text->repair, "why", text->why);
    json_dumpf(row, stdout, JSON_COMPACT);
    putchar('\n');
    json_decref(row);
}

static void print_text(const struct fsck_finding *finding)
{
    const struct fsck_kind_text *text = fsck_kind_text(finding->kind);
    struct buffer path;
    buffer_init(&path, SIZE_MAX);
    text_columns_put(&path, bytes_of(finding->path), SPOOL_PATH_MAX, false);
    printf("%.*s: %s; %s: %s%s%s%s\n", (int)path.len, (const char *)path.at, text->what,
           state_of(finding), text->repair ? text->repair : text->why, text->repair ? " (" : "",
           text->repair ? text->why : "", text->repair ? ")" : "");
    buffer_fini(&path);
}

static int repair_found(struct fsck *fsck, char why[SPOOL_WHY_MAX])
{
    if (fsck->router_runs) {
        snprintf(why, SPOOL_WHY_MAX, "nothing is repaired while a router runs");
        return EX_TEMPFAIL;
    }
    return fsck->num ? fsck_repair(fsck, why) : EX_OK;
}

/* Finds, repairs if asked, prints. *out_compared: whether all folders were there to begin with. */
static int round_of(const struct config *config, bool repair, bool json, size_t *left,
                    bool *out_compared)
{
    struct fsck fsck;
    char why[SPOOL_WHY_MAX] = "";
    int code = fsck_find(&fsck, config, why);
    if (code == EX_OK && fsck.router_runs)
        fprintf(stderr, "sluice fsck: a router runs on the spool: only reading; what it has under "
                        "way may look like a difference\n");
    if (code == EX_OK && !fsck.compared && !repair)
        fprintf(stderr, "sluice fsck: journal and files cannot be compared before the folders are "
                        "there\n");
    if (code == EX_OK && repair)
        code = repair_found(&fsck, why);
    for (size_t i = 0; i < fsck.num; i++) {
        (json ? print_json : print_text)(&fsck.findings[i]);
        *left += !fsck.findings[i].repaired;
    }
    *out_compared = fsck.compared;
    fsck_fini(&fsck);
    if (code != EX_OK)
        fprintf(stderr, "sluice fsck: %s\n", why);
    return code;
}

static int run(const struct config *config, bool repair, bool json)
{
    size_t left = 0;
    bool compared;
    int code = round_of(config, repair, json, &left, &compared);
    /* The folders are there now. */
    if (code == EX_OK && repair && !compared)
        code = round_of(config, repair, json, &left, &compared);
    if (fflush(stdout) != 0)
        return EX_IOERR;
    return code != EX_OK ? code : left ? EXIT_DIFFERENCES : EX_OK;
}

int cli_fsck(int argc, char **argv)
{
    enum { OPTION_REPAIR = CLI_OPTION_OWN };
    static const struct option known[] = {
        CLI_CONFIG,         CLI_SPOOL, CLI_JSON, {"repair", no_argument, NULL, OPTION_REPAIR},
        {NULL, 0, NULL, 0},
    };
    struct cli_options options = {.json = false};
    bool repair = false;
    for (int c; (c = getopt_long(argc, argv, "c:", known, NULL)) != -1;) {
        if (c == OPTION_REPAIR)
            repair = true;
        else if (!cli_take_option(&options, c))
            return EX_USAGE;
    }
    if (!cli_no_more_arguments("sluice fsck", argc, argv))
        return EX_USAGE;
    struct config *config = cli_load_config(options.config, options.spool);
    if (!config)
        return EX_CONFIG;
    int code = run(config, repair, options.json);
    config_free(config);
    return code;
}
