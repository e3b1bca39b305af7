/* The TLS session cache's counters for people: a table of the destinations that asked it most, and
 * one line for the log.
 *
 * It reads the cache through its own functions, which lock; any thread. */
#ifndef SLUICE_ROUTER_TLS_CACHE_TABLE_H
#define SLUICE_ROUTER_TLS_CACHE_TABLE_H

#include "tls/session_cache.h"

enum { TLS_CACHE_TOP = 10, TLS_CACHE_LABEL_COLUMNS = 40 /* longer labels are cut */ };

/* At most TLS_CACHE_TOP destinations, the ones with the most look-ups first, and the totals of the
 * whole cache. */
void tls_cache_table(struct session_cache *cache, struct buffer *out);
/* "TLS session cache: ..." in one line without line end; false: it was never asked. */
bool tls_cache_summary(struct session_cache *cache, struct buffer *out);

#endif
