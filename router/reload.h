/* The configuration file read anew while mail goes on: asked for by SIGHUP or `sluice reload`,
 * carried out by the main thread, put in force by the dispatcher.
 *
 * A file that is wrong changes nothing. What cannot change at run time keeps the value that it had
 * at the start, and is named. */
#ifndef SLUICE_ROUTER_RELOAD_H
#define SLUICE_ROUTER_RELOAD_H

#include "router/config_table.h"
#include "router/control.h"
#include "router/dispatcher.h"
#include "router/session_saver.h"

struct reloader {
    const char *path;                  /* borrowed; NULL: the default file */
    const char *spool;                 /* borrowed; NULL: as configured */
    const struct config *started_with; /* borrowed */
    struct config_snapshot *snapshot;  /* one reference: what is in force */
    struct dispatcher *dispatcher;     /* borrowed, as the next two */
    struct session_cache *session_cache;
    struct session_saver *session_saver;
    int asked_fd; /* eventfd: readable when there is something to do */
    pthread_mutex_t mutex;
    struct control_call *calls; /* under the mutex: who awaits the next answer */
};

/* Whether a reload changes the option. */
bool reload_can_change(const struct config_option *option);
/* Options whose values differ, as arrays of full names ("destination": any of its sections): those
 * that a reload changes, and those that need a restart. Both are the caller's. */
void reload_compare(const struct config *old, const struct config *fresh, json_t **out_changed,
                    json_t **out_restart);

/* Only asked_fd and the mutex; false with errno set. */
bool reloader_init(struct reloader *reloader) __attribute__((warn_unused_result));
void reloader_fini(struct reloader *reloader);
/* Any thread. The call is answered when the new configuration is in force, or was refused. */
void reloader_ask(struct reloader *reloader, struct control_call *call);
/* Main thread, when asked_fd is readable and the threads run. Reads files. */
void reloader_run(struct reloader *reloader);

#endif
