/* Every lock of the router, and their order. Held for O(1) work, never over a system call, a
 * callback or an allocation.
 *
 *   site->mutex                      router/site_pool.c   nothing else is taken under it
 *   session cache stripe             tls/session_cache.c  nothing else is taken under it
 *   memory of broken hosts           tls/broken_hosts.c   nothing else is taken under it
 *   journal's segment change         queue/journal*.c     when a segment is full; journal thread
 *   session saver                    router/session_saver.c  nothing else is taken under it
 *   board of pauses                  router/pauses.c      nothing else is taken under it
 *   who asked for a reload           router/reload.c      nothing else is taken under it
 *
 * No thread ever holds two of them. All else that crosses threads goes through mailboxes. */
#ifndef SLUICE_ROUTER_LOCKS_H
#define SLUICE_ROUTER_LOCKS_H
#endif
