/* The life of a snapshot, and which settings of two are the same.
 * It reads no configuration: config.c does. */
#include "router/config_snapshot.h"

#include "base/memory.h"
#include "router/config_destinations.h"

#include <string.h>

static void free_snapshot(struct config_snapshot *snapshot)
{
    unsigned num = config_num_tls_identities(snapshot->config);
    for (unsigned i = 0; i < num; i++)
        tls_context_free(snapshot->tls_contexts[i]);
    free(snapshot->tls_contexts);
    config_free(snapshot->config);
    free(snapshot);
}

struct config_snapshot *config_snapshot_new(struct config *config, char why[TLS_WHY_MAX])
{
    struct config_snapshot *snapshot = mem_zalloc(1, sizeof *snapshot);
    unsigned num = config_num_tls_identities(config);
    atomic_init(&snapshot->num_refs, 1);
    snapshot->config = config;
    snapshot->tls_contexts = mem_zalloc(num, sizeof(struct tls_context *));
    for (unsigned i = 0; i < num; i++) {
        struct tls_context_options options;
        config_tls_identity(config, i, &options);
        snapshot->tls_contexts[i] = tls_context_new(&options, why);
        if (!snapshot->tls_contexts[i]) {
            free_snapshot(snapshot);
            return NULL;
        }
    }
    return snapshot;
}

struct config_snapshot *config_snapshot_ref(struct config_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->num_refs, 1, memory_order_relaxed);
    return snapshot;
}

void config_snapshot_unref(struct config_snapshot *snapshot)
{
    if (snapshot && atomic_fetch_sub_explicit(&snapshot->num_refs, 1, memory_order_acq_rel) == 1)
        free_snapshot(snapshot);
}

struct pair {
    const struct config_snapshot *fresh, *old;
};

/* A file of the same name may hold another certificate by now. */
static bool same_identity(const void *ctx, const struct tls_settings *fresh,
                          const struct tls_settings *old)
{
    const struct pair *pair = ctx;
    return memcmp(pair->fresh->tls_contexts[fresh->identity]->settings_digest,
                  pair->old->tls_contexts[old->identity]->settings_digest,
                  sizeof pair->old->tls_contexts[0]->settings_digest) == 0;
}

bool config_snapshot_follow(struct config_snapshot *fresh, const struct config_snapshot *old)
{
    const struct pair pair = {fresh, old};
    return config_destinations_follow(fresh->config->destinations, old->config->destinations,
                                      same_identity, &pair);
}
