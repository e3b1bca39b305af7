/* The router: wires the threads together, runs until it is told to stop or nothing is left, takes
 * them apart. The main thread only. */
#ifndef SLUICE_ROUTER_ROUTER_H
#define SLUICE_ROUTER_ROUTER_H

#include "router/config.h"

struct router_options {
    struct config *config;   /* the router's from then on */
    const char *config_path; /* what a reload reads; NULL: the default; borrowed */
    const char *spool;       /* in place of the configured one; NULL; borrowed */
    bool drain;              /* end when nothing is left that could be tried now */
    bool until_empty;        /* end when nothing is left, waiting for retries */
    bool progress;           /* live progress and a table per destination on stderr */
};

/* Exit code, of sysexits.h: 0; EX_TEMPFAIL (75) when drained and deferred mail remains;
 * EX_CANTCREAT, EX_OSERR, EX_CONFIG at start. */
int router_run(const struct router_options *options);

#endif
