/* A configuration in force, with the TLS contexts that it names: counted, immutable.
 *
 * A reload makes a new one; what has begun keeps the one that it began with: deliveries, sites,
 * recipient domains in use and connections each hold a reference, and borrow settings from it. Any
 * thread. */
#ifndef SLUICE_ROUTER_CONFIG_SNAPSHOT_H
#define SLUICE_ROUTER_CONFIG_SNAPSHOT_H

#include "router/config.h"

#include <stdatomic.h>

struct config_snapshot {
    atomic_uint num_refs;
    struct config *config;             /* owned */
    struct tls_context **tls_contexts; /* owned array of owned contexts, by tls.identity */
};

/* Takes over config, also on failure: NULL with a line in why. Reads certificates. One reference.
 */
struct config_snapshot *config_snapshot_new(struct config *config, char why[TLS_WHY_MAX])
    __attribute__((warn_unused_result));
struct config_snapshot *config_snapshot_ref(struct config_snapshot *snapshot);
void config_snapshot_unref(struct config_snapshot *snapshot); /* NULL allowed */
/* Before anybody sees `fresh`: destinations whose settings (and the certificates that they name)
 * are those of one in `old` keep its settings' id, so that they keep their sites; all others get
 * ids that were never used. Whether there are such others. */
bool config_snapshot_follow(struct config_snapshot *fresh, const struct config_snapshot *old);

#endif
