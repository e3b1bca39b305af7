/* The recording: everything that changed the disk or was seen outside, in the one order in which it
 * happened. A cut is a position in it: what lies before has happened, what follows has not. */
#ifndef SLUICE_TESTS_POWERCUT_EVENTS_H
#define SLUICE_TESTS_POWERCUT_EVENTS_H

#include "tests/powercut/disk.h"

enum event_kind {
    /* Names: node gets or loses `name` in `folder`; a rename moves it on to `name2` in `folder2`.
     */
    EVENT_CREATE = 1, /* size: 1 for a folder; time_ns: birth */
    EVENT_LINK,
    EVENT_UNLINK,
    EVENT_RENAME,
    /* Content: one page anew; size and modification time. */
    EVENT_PAGE,
    EVENT_ATTRIBUTES,
    EVENT_FSYNC,
    EVENT_FDATASYNC,
    /* What the world saw and what the journal was told; name is a recipient. */
    EVENT_ACCEPTED,  /* the peer took it: noted before the reply leaves */
    EVENT_TOLD,      /* the peer took a DSN that reports this recipient */
    EVENT_DELIVERED, /* an outcome "delivered" is stored; name "told:ADDRESS" for that of a DSN */
    EVENT_STORED,    /* some other record is stored; name: its kind */
    EVENT_COMMIT,    /* journal_commit() begins */
    EVENT_COMMITTED, /* it returned 0 */
    EVENT_PROMISED,  /* message number `size` must not be lost: from an earlier recording */
    EVENT_KILLED,    /* the process was killed here, and another one goes on */
    EVENT_POWER_CUT, /* what was not synced is lost or not; what came before makes the disk anew
                      */
    EVENT_KINDS
};

struct event {
    uint8_t kind; /* enum event_kind */
    uint32_t node, folder, folder2;
    uint32_t page;
    uint64_t size;
    int64_t time_ns;
    char name[DISK_NAME_MAX], name2[DISK_NAME_MAX];
    uint8_t *data; /* owned: DISK_PAGE octets of a page */
};

struct events {
    struct event *items; /* owned */
    size_t num, cap;
};

struct event *events_add(struct events *events, enum event_kind kind);
void events_truncate(struct events *events, size_t num);
void events_fini(struct events *events);
bool events_save(const struct events *events, const char *path);
bool events_load(struct events *events, const char *path);
const char *event_kind_name(enum event_kind kind);
/* One line for people. */
void event_describe(const struct event *event, char out[700]);

#endif
