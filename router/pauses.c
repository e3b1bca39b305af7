/* A small board of reasons under one lock.
 * It stops nothing itself: the rooms do, and say so here. */
#include "router/pauses.h"

#include "base/check.h"

#include <stdio.h>

void pauses_init(struct pauses *pauses)
{
    *pauses = (struct pauses){0};
    pthread_mutex_init(&pauses->mutex, NULL);
}

void pauses_fini(struct pauses *pauses)
{
    pthread_mutex_destroy(&pauses->mutex);
}

void pauses_begin(struct pauses *pauses, enum pause_room room, int64_t now_wall_ms,
                  const char *reason)
{
    CHECK(room < PAUSE_ROOMS && now_wall_ms != 0);
    pthread_mutex_lock(&pauses->mutex);
    struct pause *pause = &pauses->rooms[room];
    if (!pause->since_wall_ms)
        pause->since_wall_ms = now_wall_ms;
    snprintf(pause->reason, sizeof pause->reason, "%s", reason);
    pthread_mutex_unlock(&pauses->mutex);
}

void pauses_end(struct pauses *pauses, enum pause_room room)
{
    CHECK(room < PAUSE_ROOMS);
    pthread_mutex_lock(&pauses->mutex);
    pauses->rooms[room].since_wall_ms = 0;
    pthread_mutex_unlock(&pauses->mutex);
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
    static const char *const names[] = {"pickup", "deliveries", "journal"};
    CHECK(room < PAUSE_ROOMS);
    return names[room];
}
