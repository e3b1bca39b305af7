/* A question to the running router, for subcommands: connection, answer, what its refusal means as
 * an exit code. */
#include "router/cli.h"
#include "router/control_client.h"

#include <stdio.h>
#include <string.h>
#include <sysexits.h>

int cli_ask(const char *name, const char *spool, const json_t *request, json_t **out_answer)
{
    struct control_client client;
    int code = control_client_open(&client, spool);
    json_t *answer = code ? NULL : control_client_ask(&client, request, CONTROL_CLIENT_PATIENCE_MS);
    if (!answer) {
        fprintf(stderr, "%s: %s\n", name, client.why);
        code = code ? code : EX_TEMPFAIL;
    } else if (!json_is_true(json_object_get(answer, "ok"))) {
        const char *error = json_string_value(json_object_get(answer, "error"));
        const char *reason = json_string_value(json_object_get(answer, "code"));
        fprintf(stderr, "%s: %s\n", name, error ? error : "refused");
        code = reason && strcmp(reason, "config") == 0 ? EX_CONFIG : EX_TEMPFAIL;
        json_decref(answer);
        answer = NULL;
    }
    control_client_close(&client);
    *out_answer = answer;
    return code;
}

void cli_print_json(const json_t *answer)
{
    json_dumpf(answer, stdout, JSON_COMPACT | JSON_REAL_PRECISION(14));
    putchar('\n');
}
