/* A small board of reasons under one lock, told in the log too.
 * It stops nothing itself: the rooms do, and say so here. */
#include "router/pauses.h"

#include "base/check.h"
#include "base/log.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    const char *what;
    bool stops_deliveries;
} rows[PAUSE_ROOMS] = {
    [PAUSE_JOURNAL] = {"journal", "the journal cannot be written", true},
    [PAUSE_FILES] = {"files", "messages cannot be moved or removed, or bounces not written", false},
    [PAUSE_SPOOL] = {"spool", "the spool is not at its place any more", true},
    [PAUSE_LIMITS] = {"limits", "the system has no descriptors or memory left", false},
};

void pauses_init(struct pauses *pauses)
{
    *pauses = (struct pauses){0};
    pthread_mutex_init(&pauses->mutex, NULL);
}

void pauses_fini(struct pauses *pauses)
{
    pthread_mutex_destroy(&pauses->mutex);
}

void pauses_begin(struct pauses *pauses, enum pause_room room, int error, int64_t now_wall_ms)
{
    CHECK(room < PAUSE_ROOMS && now_wall_ms != 0);
    struct pause *pause = &pauses->rooms[room];
    char reason[PAUSE_REASON_MAX];
    snprintf(reason, sizeof reason, "%s: %s", rows[room].what, strerror(error));
    pthread_mutex_lock(&pauses->mutex);
    bool begins = pause->since_wall_ms == 0;
    if (begins)
        pause->since_wall_ms = now_wall_ms;
    memcpy(pause->reason, reason, sizeof reason);
    atomic_fetch_or(&pauses->on, 1u << room);
    pthread_mutex_unlock(&pauses->mutex);
    if (begins)
        log_error("paused: %s; no more mail is taken until that is over", reason);
}

void pauses_end(struct pauses *pauses, enum pause_room room, int64_t now_wall_ms)
{
    CHECK(room < PAUSE_ROOMS);
    if (!(atomic_load(&pauses->on) & 1u << room))
        return;
    pthread_mutex_lock(&pauses->mutex);
    struct pause pause = pauses->rooms[room];
    pauses->rooms[room].since_wall_ms = 0;
    atomic_fetch_and(&pauses->on, ~(1u << room));
    pthread_mutex_unlock(&pauses->mutex);
    if (pause.since_wall_ms)
        log_warning("resumed after %lld s; it was that %s",
                    (long long)((now_wall_ms - pause.since_wall_ms) / 1000), pause.reason);
}

bool pauses_read(struct pauses *pauses, enum pause_room room, struct pause *out)
{
    CHECK(room < PAUSE_ROOMS);
    pthread_mutex_lock(&pauses->mutex);
    *out = pauses->rooms[room];
    pthread_mutex_unlock(&pauses->mutex);
    return out->since_wall_ms != 0;
}

const char *pause_room_name(enum pause_room room)
{
    CHECK(room < PAUSE_ROOMS);
    return rows[room].name;
}

bool pauses_any(const struct pauses *pauses)
{
    return atomic_load_explicit(&pauses->on, memory_order_relaxed) != 0;
}

bool pauses_allow_deliveries(const struct pauses *pauses)
{
    unsigned on = atomic_load_explicit(&pauses->on, memory_order_relaxed);
    for (unsigned i = 0; on && i < PAUSE_ROOMS; i++)
        if (on >> i & 1 && rows[i].stops_deliveries)
            return false;
    return true;
}

bool pause_error_is_a_limit(int error)
{
    return error == EMFILE || error == ENFILE || error == ENOMEM || error == ENOBUFS;
}

bool pause_error_is_of_the_system(int error)
{
    return error == ENOSPC || error == EDQUOT || error == EROFS || error == EIO ||
           pause_error_is_a_limit(error);
}
