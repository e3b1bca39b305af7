/* The commands of the control socket: a table of names and handlers.
 *
 * A new command is a row in control_command.c and a handler. A handler runs in the control thread
 * and never waits: it answers at once from what it may read (snapshots, counters, anything with a
 * short lock), or sets call->run and posts the call to the thread that owns what it is about
 * (DISPATCHER_CALL), which answers from there, at once or later. */
#ifndef SLUICE_ROUTER_CONTROL_COMMAND_H
#define SLUICE_ROUTER_CONTROL_COMMAND_H

#include "router/control.h"

struct config;
struct dispatcher;
struct journal_thread;
struct pauses;
struct session_cache;
struct reloader;

/* All borrowed from the router; none goes before the control thread has ended. */
struct control_services {
    const struct config *config;
    struct dispatcher *dispatcher;
    struct journal_thread *journal_thread;
    struct pauses *pauses;
    struct session_cache *session_cache;
    struct reloader *reloader;
    int64_t started_wall_ms;
};

/* Control thread. Finds the command that the request names and hands the call to it. */
void control_command_run(struct control_call *call);

/* Each in a file of its name. */
void control_queue(struct control_call *call);
void control_reload(struct control_call *call);
void control_status(struct control_call *call);
void control_tls_cache(struct control_call *call);

#endif
