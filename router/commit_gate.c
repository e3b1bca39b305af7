/* How far commits lag behind what was stored.
 * It makes nothing durable and moves no wait: the journal thread and the workers do. */
#include "router/commit_gate.h"

#include "base/log.h"

void commit_gate_init(struct commit_gate *gate, const struct config *config)
{
    *gate = (struct commit_gate){.durability = config->queue.durability,
                                 .lag_ms_max = config->queue.commit_lag_ms};
}

static bool lags(struct commit_gate *gate, int64_t now_ms)
{
    int64_t committing = atomic_load(&gate->committing_since_ms);
    int64_t since = committing ? committing : atomic_load(&gate->waiting_since_ms);
    return since && now_ms - since > gate->lag_ms_max;
}

bool commit_gate_is_closed(struct commit_gate *gate, int64_t now_ms)
{
    bool closed = gate->durability == DURABILITY_STRICT;
    if (gate->durability == DURABILITY_GROUP && lags(gate, now_ms)) {
        closed = true;
        if (!atomic_exchange(&gate->is_lagging, true))
            log_warning(
                "outcomes have been waiting for a commit for more than %lld ms; each delivery "
                "waits for one",
                (long long)gate->lag_ms_max);
    }
    if (closed)
        atomic_fetch_add(&gate->num_waits, 1);
    return closed;
}

void commit_gate_stored(struct commit_gate *gate, int64_t now_ms)
{
    int64_t none = 0;
    if (atomic_load(&gate->waiting_since_ms) == 0)
        atomic_compare_exchange_strong(&gate->waiting_since_ms, &none, now_ms);
}

void commit_gate_begin(struct commit_gate *gate)
{
    int64_t since = atomic_exchange(&gate->waiting_since_ms, 0);
    if (atomic_load(&gate->committing_since_ms) == 0)
        atomic_store(&gate->committing_since_ms, since);
}

void commit_gate_end(struct commit_gate *gate, int64_t now_ms)
{
    atomic_store(&gate->committing_since_ms, 0);
    if (lags(gate, now_ms) || !atomic_exchange(&gate->is_lagging, false))
        return;
    log_info("commits keep up again; deliveries go on without waiting for them");
}
