/* The command line of sluice-tls-cache-model. Ends the program where it makes no sense. */
#ifndef SLUICE_BENCH_TLS_CACHE_ARGUMENTS_H
#define SLUICE_BENCH_TLS_CACHE_ARGUMENTS_H

#include "bench/tls_cache/model.h"

#include <netinet/in.h>

/* All text is borrowed from argv. */
struct arguments {
    const char *command; /* "costs" or "run" */
    struct workload_options workload;
    struct model_options model;
    struct sockaddr_in server; /* port 0: not given */
    unsigned num;
    const char *session, *session_1_3, *session_1_2; /* files; NULL */
};

void arguments_parse(struct arguments *out, int argc, char **argv);
_Noreturn void arguments_fail(const char *why);

#endif
