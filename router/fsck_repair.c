/* Carries repairs out, under the lock. Opening the spool as a start of the router does moves and
 * adopts files; what is left is recorded here, so that the next look finds no difference. */
#include "base/clock.h"
#include "base/memory.h"
#include "queue/queue_id.h"
#include "router/fsck.h"
#include "router/queue_offline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

struct repair {
    struct queue_offline offline;
    struct queue_id_source ids;
};

static bool record(struct repair *repair, uint64_t id)
{
    struct waiting *waiting = table_find(&repair->offline.table, id);
    return waiting && queue_offline_record(&repair->offline, waiting);
}

/* Whether the entry's file is not there, or another stands under its name. */
static bool is_gone(const struct spool *spool, const struct waiting *waiting)
{
    struct spool_file file;
    int rc = spool_open_message(spool, waiting->path, false, &file);
    if (rc < 0)
        return rc == -ENOENT;
    bool other = !file_identity_equal(&file.identity, &waiting->identity);
    close(file.fd);
    return other;
}

/* One of whom all was finished was forgotten by recovery already. */
static bool forget(struct repair *repair, uint64_t id)
{
    const struct waiting *waiting = table_find(&repair->offline.table, id);
    if (!waiting)
        return true;
    return !waiting->is_met && is_gone(&repair->offline.spool, waiting) &&
           journal_append_removed(repair->offline.journal, id);
}

/* Recovery has moved it already, or could not. */
static bool is_where_recorded(struct repair *repair, const struct fsck_finding *finding)
{
    const struct waiting *waiting = table_find(&repair->offline.table, finding->id);
    return waiting && strcmp(waiting->path, finding->path) != 0 &&
           !is_gone(&repair->offline.spool, waiting);
}

static bool give_id(struct repair *repair, const char *path)
{
    const struct spool *spool = &repair->offline.spool;
    struct spool_file file;
    char to[SPOOL_PATH_MAX];
    if (spool_open_message(spool, path, false, &file) < 0)
        return false;
    close(file.fd);
    struct journal_message message = {
        .id = queue_id_next(&repair->ids, clock_wall_us()), .path = to, .identity = file.identity};
    message.arrived_wall_ms = file.identity.mtime_ns / 1000000;
    if (spool_path_is_held(path))
        spool_hold_path(message.id, to);
    else
        spool_deferred_path(message.id, to);
    if (spool_move(spool, path, to, &file.identity, true) < 0)
        return false;
    (void)spool_sync_move(spool, path, to);
    struct waiting *waiting = waiting_new(&message);
    bool ok = queue_offline_record(&repair->offline, waiting);
    waiting_free(waiting);
    return ok;
}

static bool write_why(const struct spool *spool, const char *path)
{
    static const char line[] = "the reason was lost; sluice fsck wrote this\n";
    char name[SPOOL_PATH_MAX + 4];
    snprintf(name, sizeof name, "%s.why", path);
    int fd =
        openat(spool->root_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0640);
    bool ok =
        fd >= 0 && write(fd, line, sizeof line - 1) == (ssize_t)sizeof line - 1 && fsync(fd) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool close_folder_to_others(const struct spool *spool, const char *path)
{
    struct stat st;
    int fd = openat(spool->root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    bool ok = fd >= 0 && fstat(fd, &st) == 0 &&
              fchmod(fd, st.st_mode & 07777 & ~(mode_t)(S_IWGRP | S_IWOTH)) == 0;
    if (fd >= 0)
        close(fd);
    return ok;
}

static bool mend(struct repair *repair, const struct fsck_finding *finding)
{
    const struct spool *spool = &repair->offline.spool;
    switch (finding->kind) {
    case FSCK_UNKNOWN_FILE:
    case FSCK_UNKNOWN_HELD:
    case FSCK_COPY:
    case FSCK_OTHER_FILE:
        return record(repair, finding->id);
    case FSCK_MISSING_FILE:
        return forget(repair, finding->id);
    case FSCK_WRONG_FOLDER:
        return is_where_recorded(repair, finding);
    case FSCK_KNOWN_TWICE:
    case FSCK_NO_ID:
        return give_id(repair, finding->path);
    case FSCK_BAD_WITHOUT_WHY:
        return write_why(spool, finding->path);
    case FSCK_CONTROL_LEFT:
        return unlinkat(spool->root_fd, finding->path, 0) == 0;
    case FSCK_FOLDER_MISSING:
        return true; /* opening the spool made it */
    case FSCK_FOLDER_OPEN:
        return close_folder_to_others(spool, finding->path);
    case FSCK_WHY_WITHOUT_FILE:
    case FSCK_OLD_IN_TMP:
    case FSCK_JOURNAL_DAMAGED:
    case FSCK_SEGMENT_SET_ASIDE:
    case FSCK_KINDS:
        break;
    }
    return false;
}

int fsck_repair(struct fsck *fsck, char why[SPOOL_WHY_MAX])
{
    struct repair repair;
    if (!queue_offline_open(&repair.offline, fsck->config, why))
        return EX_TEMPFAIL;
    repair.ids = (struct queue_id_source){.last = journal_highest_id(repair.offline.journal)};
    for (size_t i = 0; i < fsck->num; i++)
        fsck->findings[i].repaired = mend(&repair, &fsck->findings[i]);
    int rc = journal_commit(repair.offline.journal);
    queue_offline_close(&repair.offline);
    if (rc < 0)
        snprintf(why, SPOOL_WHY_MAX, "cannot commit the journal: %s", strerror(-rc));
    return rc < 0 ? EX_IOERR : EX_OK;
}
