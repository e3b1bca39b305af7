/* Pickup: the one thread that finds messages in the spool and loads them.
 *
 * Finds them by inotify and by scans of new/ and its subfolders (one level); loads new ones, and
 * waiting ones when the dispatcher asks (PICKUP_LOAD); posts each as MESSAGE_LOADED to the
 * dispatcher. It alone counts what is loaded (admission: messages and octets of content), because
 * every message comes back here to be freed (PICKUP_FREE, PICKUP_KEEP_CLAIM). While the budget is
 * used up it looks at nothing further; what it did not look at stays where it is.
 *
 * It reads ahead of the connections, but not far: beyond PICKUP_AHEAD deliveries that wait for one
 * it loads no faster than messages leave, or PICKUP_TRICKLE every PICKUP_TRICKLE_MS if that is
 * more, so that mail for a site with room is found behind mail for one without. When half of them
 * are left it is woken. What is read long before it is sent costs fresh memory for each message;
 * what goes round fits the caches.
 *
 * A claim says that a file in new/ is known: by inode, confirmed by identity, so that a rescan does
 * not load it twice and a new file that got the inode number of a removed one is new mail. */
#ifndef SLUICE_ROUTER_PICKUP_H
#define SLUICE_ROUTER_PICKUP_H

#include "base/log.h"
#include "queue/message.h"
#include "queue/queue_id.h"
#include "queue/table.h"
#include "router/config.h"
#include "router/pauses.h"

#include <pthread.h>

enum pickup_item_kind {
    PICKUP_LOAD = 20,  /* struct waiting: load it; owned by pickup from then on */
    PICKUP_FREE,       /* struct message: done, forget its claim */
    PICKUP_KEEP_CLAIM, /* struct message: unloaded, its file stays in new/ */
    PICKUP_STOP,
    /* To the dispatcher: */
    MESSAGE_LOADED,     /* struct message */
    WAITING_GONE,       /* struct waiting: its file is not there any more, or went to bad/ */
    WAITING_UNREADABLE, /* struct waiting: try again later */
    PICKUP_QUIET        /* pickup.quiet_item: nothing is loaded, wanted or to be found */
};

enum { PICKUP_AHEAD = 256, PICKUP_TRICKLE = 100, PICKUP_TRICKLE_MS = 25 };

enum { PICKUP_FOLDERS_MAX = 1024, PICKUP_CANDIDATES_MAX = 16384, PICKUP_CLAIM_BUCKETS = 65536 };

/* A name in new/ that has to be looked at. */
struct candidate {
    struct candidate *next;
    int64_t look_ms;  /* monotonic: not before */
    int64_t first_ms; /* first seen */
    struct file_identity seen;
    bool is_complete; /* renamed or closed by its writer: no settling */
    char path[];      /* "new/NAME" or "new/SUB/NAME" */
};

struct claim {
    struct claim *next;
    struct file_identity identity;
};

struct pickup_folder {
    char *path; /* owned: "new" or "new/SUB" */
    int watch;  /* inotify's descriptor, -1: none */
};

struct pickup_services {
    const struct config *config;
    const struct spool *spool;
    struct journal *journal;
    struct mailbox *dispatcher;
    struct pauses *pauses;
    atomic_size_t *num_ahead; /* shared: see struct site_pool; what is loaded counts at once */
    bool drain;               /* report PICKUP_QUIET */
};

struct pickup {
    struct pickup_services services;
    pthread_t thread;
    struct loop loop;
    struct mailbox mailbox;
    struct mailbox_item stop_item;
    struct mailbox_item quiet_item;
    bool quiet_posted;
    bool quiet_scanned; /* a scan has found nothing since the last work */
    struct queue_id_source ids;

    struct loop_fd inotify;
    struct pickup_folder folders[PICKUP_FOLDERS_MAX];
    unsigned num_folders;
    bool rescan;             /* a scan is wanted */
    unsigned scan_folder;    /* under way: which one; num_folders: none */
    void *scan_dir;          /* DIR of it */
    struct timer scan_timer; /* the periodic one */
    struct timer look_timer; /* the next candidate that settles */
    struct timer pause_timer;
    bool spool_was_away;
    struct timer trickle_timer; /* armed while it holds back */
    size_t credit;              /* messages that may be loaded beyond PICKUP_AHEAD */
    size_t num_left;            /* messages that came back since the last trickle */
    struct candidate *ready_first, *ready_last; /* to be looked at now */
    struct candidate *settling;                 /* look_ms in the future, any order */
    unsigned num_candidates;

    struct claim *claims[PICKUP_CLAIM_BUCKETS];
    struct waiting *load_first, *load_last; /* asked for by the dispatcher */
    size_t num_loads;
    struct message *loaded_first, *loaded_last; /* in this turn, not yet posted */
    size_t num_loaded;                          /* messages out there */
    uint64_t memory_len;                        /* octets of content out there */
};

bool pickup_init(struct pickup *pickup, const struct pickup_services *services)
    __attribute__((warn_unused_result));
/* Before the thread starts, recovery being done: all ids that it gives are higher. */
void pickup_set_highest_id(struct pickup *pickup, uint64_t id);
/* Before the thread starts: a file in new/ that the journal knows (its entry will be loaded by
 * PICKUP_LOAD). */
void pickup_claim(struct pickup *pickup, const struct file_identity *identity);
bool pickup_start(struct pickup *pickup) __attribute__((warn_unused_result));
void pickup_stop(struct pickup *pickup); /* any thread */
void pickup_join(struct pickup *pickup);
/* Frees what came back after the end, too. */
void pickup_fini(struct pickup *pickup);

/* Between the files of this room. pickup_claim.c: */
bool pickup_is_claimed(const struct pickup *pickup, const struct file_identity *identity);
/* The inode number of some claim: worth a closer look. */
bool pickup_knows_inode(const struct pickup *pickup, uint64_t ino);
void pickup_drop_claim(struct pickup *pickup, const struct file_identity *identity);
void pickup_drop_all_claims(struct pickup *pickup);
/* pickup_scan.c: */
bool pickup_watch_init(struct pickup *pickup);
void pickup_watch_fini(struct pickup *pickup);
/* Looks for more candidates while there is room for them. */
void pickup_scan_on(struct pickup *pickup);
void pickup_add_candidate(struct pickup *pickup, const char *path, bool is_complete);
/* Moves settled candidates to the ready list; arms look_timer for the others. */
void pickup_wake_candidates(struct pickup *pickup);
/* pickup_pause.c: */
/* Once a second, with a timer of its own: is the spool at its place, are there descriptors again?
 */
void pickup_pause_init(struct pickup *pickup);
/* pickup_load.c: */
enum load_result {
    LOAD_DONE,  /* *out is the message */
    LOAD_LATER, /* not settled yet, or the system lacks something: *out_wait_ms */
    LOAD_GONE,  /* no such file */
    LOAD_KNOWN, /* claimed already */
    LOAD_BAD    /* moved to bad/ */
};
enum load_result pickup_load_new(struct pickup *pickup, struct candidate *candidate,
                                 struct message **out, int64_t *out_wait_ms);
enum load_result pickup_load_waiting(struct pickup *pickup, struct waiting *waiting,
                                     struct message **out, int64_t *out_wait_ms);

#endif
