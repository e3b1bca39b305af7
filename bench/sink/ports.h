/* The listening sockets of all threads. */
#ifndef SLUICE_BENCH_SINK_PORTS_H
#define SLUICE_BENCH_SINK_PORTS_H

#include "bench/sink/options.h"

enum { PORTS_ADDRESS_MAX = 64 };

/* out_fds: threads x listeners, a thread's side by side. Writes the ports found back into the
 * personalities. false with errno set and nothing open. */
bool ports_open(struct options *options, int *out_fds) __attribute__((warn_unused_result));
/* "127.0.0.1:2525" */
void ports_address(const struct personality *personality, char out[PORTS_ADDRESS_MAX]);

#endif
