/* How look-ups and handshakes are counted: for a destination and in total alike. Plain data; the
 * owner locks. */
#ifndef SLUICE_TLS_SESSION_COUNTERS_H
#define SLUICE_TLS_SESSION_COUNTERS_H

#include "tls/session_cache.h"

void session_counters_lookup(struct session_cache_counters *counters, enum session_miss miss);
void session_counters_use(struct session_cache_counters *counters,
                          const struct session_report *report);
void session_counters_add(struct session_cache_counters *sum,
                          const struct session_cache_counters *from);
/* The cache had no entry of the destination. */
bool session_miss_is_of_unknown(enum session_miss miss);

#endif
