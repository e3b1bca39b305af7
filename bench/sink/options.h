/* The command line of sluice-sink. */
#ifndef SLUICE_BENCH_SINK_OPTIONS_H
#define SLUICE_BENCH_SINK_OPTIONS_H

#include "bench/sink/personality.h"

enum { OPTIONS_LISTENERS_MAX = 1024, OPTIONS_THREADS_MAX = 64 };

struct options {
    struct personality *personalities; /* owned */
    size_t num_personalities;
    unsigned threads;
    int64_t timeout_ms;
    bool find_duplicates;
    const char *port_file; /* all borrowed from argv; NULL: not given */
    const char *maildir;
    const char *stats_file; /* "-": stdout */
    const char *ledger;
    bool ledger_times;
    const char *cert_file;
    const char *key_file;
    const char *cert_out;
};

/* Ends the process with 0 after --help, with EX_USAGE and a message when something is wrong. */
void options_parse(struct options *out, int argc, char **argv);
void options_fini(struct options *options);

#endif
