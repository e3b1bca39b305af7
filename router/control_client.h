/* The other side of the control socket, for subcommands: ask a running router, wait for its answer.
 * One thread; blocking, within limits. */
#ifndef SLUICE_ROUTER_CONTROL_CLIENT_H
#define SLUICE_ROUTER_CONTROL_CLIENT_H

#include "router/control.h"

enum { CONTROL_CLIENT_PATIENCE_MS = 60000 }; /* for an answer that needs no waiting for mail */

struct control_client {
    int fd;           /* owned; -1: not connected */
    struct buffer in; /* read, not used yet */
    char why[SPOOL_WHY_MAX];
};

/* 0: connected. Else an exit code of sysexits.h with a line in client->why: EX_NOINPUT (no such
 * spool), EX_UNAVAILABLE (no router answers there), EX_NOPERM, EX_OSERR. */
int control_client_open(struct control_client *client, const char *spool_path)
    __attribute__((warn_unused_result));
void control_client_close(struct control_client *client);
/* Sends the request (borrowed) and waits for its answer, at most patience_ms (0: as long as it
 * takes). NULL with a line in client->why when there is none: then the connection is of no further
 * use. */
json_t *control_client_ask(struct control_client *client, const json_t *request, int patience_ms);

#endif
