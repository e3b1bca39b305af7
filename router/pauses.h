/* What keeps the router from taking on more mail: trouble of the disk, of the spool's place, or of
 * the system's limits; why and since when. Each room says so of itself, `sluice status` reads.
 *
 * A pause begins when its trouble is met and ends when whoever watches it sees it gone; both are
 * logged, once. While any is on, pickup loads nothing. While pauses_allow_deliveries() is
 * false, no delivery is begun either, because its outcome could not be recorded. What is under way
 * is brought to its end, and who is stuck tries again each second, so work resumes by itself.
 *
 * Any thread; a lock of its own that is held for a copy of one line (router/locks.h). */
#ifndef SLUICE_ROUTER_PAUSES_H
#define SLUICE_ROUTER_PAUSES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum pause_room {
    PAUSE_JOURNAL, /* journal thread: a commit failed, or there is no room for new attempts */
    PAUSE_FILES,   /* journal thread: a message cannot be moved or removed, or a DSN not written */
    PAUSE_SPOOL,   /* pickup: the configured path is no longer the spool that is in use */
    PAUSE_LIMITS,  /* any: no descriptors (EMFILE, ENFILE) or memory; pickup sees that it is over */
    PAUSE_ROOMS
};
enum { PAUSE_REASON_MAX = 256, PAUSE_RETRY_MS = 500 /* how often who is stuck tries again */ };

struct pause {
    int64_t since_wall_ms; /* 0: it is over */
    char reason[PAUSE_REASON_MAX];
};

struct pauses {
    pthread_mutex_t mutex;
    struct pause rooms[PAUSE_ROOMS];
    _Atomic unsigned on; /* a bit a room: read without the lock */
};

void pauses_init(struct pauses *pauses);
void pauses_fini(struct pauses *pauses);
/* Begins, or goes on with another error: "since" is that of the first. */
void pauses_begin(struct pauses *pauses, enum pause_room room, int error, int64_t now_wall_ms);
/* Without effect when it was not on. */
void pauses_end(struct pauses *pauses, enum pause_room room, int64_t now_wall_ms);
/* Copies one; false: it is not on. */
bool pauses_read(struct pauses *pauses, enum pause_room room, struct pause *out);
const char *pause_room_name(enum pause_room room);

bool pauses_any(const struct pauses *pauses);
bool pauses_allow_deliveries(const struct pauses *pauses);

/* Errors that say nothing of the one file they were met at: a full, failed or read-only disk, a
 * used-up quota, a limit. */
bool pause_error_is_of_the_system(int error);
/* Those that PAUSE_LIMITS is for. */
bool pause_error_is_a_limit(int error);

#endif
