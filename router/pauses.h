/* What does not go on at the moment, and why: each room says so of itself, `sluice status` reads.
 *
 * Any thread; a lock of its own that is held for a copy of one line (router/locks.h). */
#ifndef SLUICE_ROUTER_PAUSES_H
#define SLUICE_ROUTER_PAUSES_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum pause_room { PAUSE_PICKUP, PAUSE_DELIVERIES, PAUSE_JOURNAL, PAUSE_ROOMS };
enum { PAUSE_REASON_MAX = 256 };

struct pause {
    int64_t since_wall_ms; /* 0: it goes on */
    char reason[PAUSE_REASON_MAX];
};

struct pauses {
    pthread_mutex_t mutex;
    struct pause rooms[PAUSE_ROOMS];
};

void pauses_init(struct pauses *pauses);
void pauses_fini(struct pauses *pauses);
/* The room pauses, or goes on pausing with another reason: "since" is that of the first. */
void pauses_begin(struct pauses *pauses, enum pause_room room, int64_t now_wall_ms,
                  const char *reason);
/* The room goes on; without effect when it did not pause. */
void pauses_end(struct pauses *pauses, enum pause_room room);
/* Copies one; false: that room does not pause. */
bool pauses_read(struct pauses *pauses, enum pause_room room, struct pause *out);
const char *pause_room_name(enum pause_room room);

#endif
