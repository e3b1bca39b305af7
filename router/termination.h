/* The end on request: a thread of its own that reads SIGTERM, SIGINT and SIGHUP and keeps the
 * promise of queue.shutdown_grace, whatever the other threads are stuck in.
 *
 *   first signal                   asked_fd becomes readable: the router stops in good order
 *   SIGHUP                         reload_fd becomes readable
 *   second signal                  the process ends at once
 *   grace and two seconds later    the process ends, if it still runs: the workers let go of their
 *                                  peers at the end of the grace, so this is a disk that hangs
 *
 * To end at once is what a crash is, and as harmless: what was stored in the journal stays, and a
 * restart finds the rest untried or in doubt. The exit code is then 75. */
#ifndef SLUICE_ROUTER_TERMINATION_H
#define SLUICE_ROUTER_TERMINATION_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct termination {
    pthread_t thread;
    int signal_fd;
    int over_fd;   /* eventfd: the router has ended in good order */
    int asked_fd;  /* eventfd: readable from the first signal on */
    int reload_fd; /* eventfd, borrowed: written for each SIGHUP */
    int64_t grace_ms;
};

/* Blocks the signals in the calling thread, before others that inherit that are made. false with
 * errno set. */
bool termination_init(struct termination *termination, int64_t grace_ms, int reload_fd)
    __attribute__((warn_unused_result));
/* From now on no signal ends the process. */
void termination_fini(struct termination *termination);

#endif
