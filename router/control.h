/* The control socket: how a running router is asked and told (docs/commands.md, "Control socket").
 *
 * SPOOL/control, a Unix stream socket of mode 0600: whoever may open it may command. One JSON
 * object a line as request, one as answer, any number one after the other on a connection. Served
 * by a thread of its own; what belongs to another thread is posted to it as a call and answered
 * when it is done. Bounds: CONTROL_CLIENTS_MAX at once, CONTROL_REQUEST_MAX octets a request,
 * CONTROL_WAIT_MS for a request to be complete, for an answer to be read, and for the next request
 * to begin. */
#ifndef SLUICE_ROUTER_CONTROL_H
#define SLUICE_ROUTER_CONTROL_H

#include "base/mailbox.h"
#include "queue/spool.h"

#include <jansson.h>
#include <sys/un.h>

enum {
    CONTROL_CLIENTS_MAX = 32,
    CONTROL_REQUEST_MAX = 64 * 1024,
    CONTROL_ANSWER_MAX = 4 * 1024 * 1024,
    CONTROL_WAIT_MS = 30000
};

struct control;
struct control_services; /* what commands may look at: router/control_command.h */

/* One request on its way to its answer; one owner at any time. */
struct control_call {
    struct mailbox_item item;
    struct control_call *next; /* for whoever carries it out */
    const struct control_services *services;
    json_t *request; /* owned; an object */
    json_t *answer;  /* owned; NULL until there is one */
    /* Set by the command before the call is posted to the thread that carries it out: that thread
     * calls it with itself. */
    void (*run)(void *owner, struct control_call *call);
    struct mailbox *home; /* borrowed: the control thread's */
    unsigned num_open;    /* for a command that waits for several things */
};

/* Gives the call back with its answer (owned from then on; an object). Any thread. */
void control_answer(struct control_call *call, json_t *answer);
/* {"ok": false, "code": code, "error": text}. code is one of docs/commands.md. */
void control_refuse(struct control_call *call, const char *code, const char *text);

/* Opens the socket; the spool's lock must be held, because a socket that a killed router left is
 * removed. NULL with a line in why. */
struct control *control_new(const struct spool *spool, const struct control_services *services,
                            char why[SPOOL_WHY_MAX]);
bool control_start(struct control *control) __attribute__((warn_unused_result));
/* When the threads that carry out calls have ended: removes the socket, and ends once the clients
 * have read their last answers, after a second at the latest. */
void control_stop(struct control *control);
/* When no thread can answer any more. NULL allowed. */
void control_free(struct control *control);

/* The socket's address: through the open folder, because the path of a spool may be longer than the
 * 107 octets that an address has room for. */
struct sockaddr_un control_address(int root_fd);

#endif
