/* Journal against files at the start; see the table in the header.
 * It opens no message and sends nothing. */
#include "router/recovery.h"

#include "base/log.h"
#include "base/memory.h"
#include "queue/dsn.h"
#include "queue/queue_id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

struct walk {
    struct table *table;
    struct journal *journal;
    struct waiting_set *unmet; /* entries of the table whose file was not met yet */
    const struct spool *spool;
    bool is_incomplete; /* something could not be looked at, so absence proves nothing */
    void (*on_claim)(void *ctx, const struct file_identity *identity);
    void *ctx;
    char *why; /* "" while all could be looked at */
};

static void note_failure(const struct walk *walk, const char *path, int error)
{
    if (!walk->why[0])
        snprintf(walk->why, SPOOL_WHY_MAX, "%.150s: %s", path, strerror(error));
}

/* False: it is gone, or (that is noted) it cannot be looked at. */
static bool read_identity(const struct walk *walk, int folder, const char *name, const char *path,
                          struct file_identity *out)
{
    int error = -file_identity_at(folder, name, out);
    if (error && error != ENOENT)
        note_failure(walk, path, error);
    return error == 0;
}

static void set_path(struct waiting *waiting, const char *path)
{
    char *copy = mem_strdup(path);
    free(waiting->path);
    waiting->path = copy;
}

/* The crash came between the record and the rename. */
static bool move_as_recorded(const struct walk *walk, const char *path,
                             const struct waiting *waiting)
{
    int rc = spool_move(walk->spool, path, waiting->path, &waiting->identity, true);
    if (rc < 0) {
        log_error("%s: cannot be moved to %s, as recorded: %s", path, waiting->path, strerror(-rc));
        return false;
    }
    (void)spool_sync_move(walk->spool, path, waiting->path);
    log_info("%s: moved to %s, as recorded before the restart", path, waiting->path);
    return true;
}

static void meet_in_new(struct walk *walk, int folder, const char *path, const struct dirent *entry)
{
    struct file_identity identity;
    if (walk->spool->entries_have_inodes && !waiting_set_knows_inode(walk->unmet, entry->d_ino))
        return;
    if (!read_identity(walk, folder, entry->d_name, path, &identity)) {
        walk->is_incomplete = true;
        return;
    }
    struct waiting *waiting = waiting_set_find(walk->unmet, &identity);
    if (!waiting)
        return;
    waiting->is_met = true;
    if (strncmp(waiting->path, "new/", 4) != 0 && move_as_recorded(walk, path, waiting))
        return;
    set_path(waiting, path);
    walk->on_claim(walk->ctx, &identity);
}

static void add(struct table *table, struct waiting *waiting)
{
    if (spool_path_is_held(waiting->path))
        table_add_held(table, waiting);
    else
        table_add(table, waiting);
}

static void add_orphan(struct walk *walk, int folder, const char *path, uint64_t id,
                       const char *name)
{
    struct journal_message orphan = {.id = id, .path = path};
    if (!read_identity(walk, folder, name, path, &orphan.identity))
        return;
    orphan.arrived_wall_ms = orphan.identity.mtime_ns / 1000000;
    struct waiting *waiting = waiting_new(&orphan);
    /* A journal that was lost or restored may have forgotten the id, and a clock that was set back
     * would give it again. */
    journal_note_id(walk->journal, id);
    if (spool_path_is_held(path))
        log_warning("%s: the journal does not know it; it is held", path);
    else
        log_warning("%s: the journal does not know it; every recipient is tried", path);
    waiting->is_met = true;
    add(walk->table, waiting);
}

/* A restored backup has the names and new inodes. To take the file for another one would cancel the
 * entry, and nobody would look at the file again. */
static void adopt(struct table *table, struct waiting *waiting, const char *path,
                  const struct file_identity *identity)
{
    if (table_adopt(table, waiting, identity))
        log_warning("%s: a copy of the file that was recorded; it goes on from what is known",
                    path);
    else
        log_warning("%s: not the file that was recorded; every recipient is tried", path);
}

/* Where it was recorded, with the inode number that was recorded: the folder alone tells, and a
 * look at each of a million files would take longer than all the rest. */
static bool is_taken_for(const struct walk *walk, const struct waiting *waiting, const char *path,
                         const struct dirent *entry)
{
    return walk->spool->entries_have_inodes && waiting->identity.ino &&
           entry->d_ino == waiting->identity.ino && strcmp(waiting->path, path) == 0;
}

/* deferred/xx/ID and hold/ID: the name is the id. */
static void meet_under_id(struct walk *walk, int folder, const char *path,
                          const struct dirent *entry)
{
    uint64_t id;
    struct file_identity identity;
    if (!queue_id_parse(bytes_of(entry->d_name), &id)) {
        log_warning("%s: not a queue id; it is left alone", path);
        return;
    }
    struct waiting *waiting = table_find(walk->table, id);
    if (!waiting) {
        add_orphan(walk, folder, path, id, entry->d_name);
        return;
    }
    if (waiting->is_met) {
        log_error("%s: %s has the same id; it is left alone, see sluice fsck", path, waiting->path);
        return;
    }
    /* Whoever opens it looks closer, and adopts it then if it is another file after all. */
    if (is_taken_for(walk, waiting, path, entry)) {
        waiting->is_met = true;
        return;
    }
    if (!read_identity(walk, folder, entry->d_name, path, &identity)) {
        walk->is_incomplete = true;
        return;
    }
    waiting->is_met = true;
    if (!file_identity_equal(&identity, &waiting->identity))
        adopt(walk->table, waiting, path, &identity);
    /* Back into new/ it would be new mail; only a journal older than the files says so. */
    bool is_older = strncmp(waiting->path, "new/", 4) == 0;
    if (strcmp(waiting->path, path) != 0 && (is_older || !move_as_recorded(walk, path, waiting)))
        set_path(waiting, path);
}

/* How often the sender of a waiting message was told something, by the journal. */
static uint32_t told_of(const struct waiting *waiting)
{
    struct recipient_state *states = mem_zalloc(waiting->num_recipients, sizeof *states);
    waiting_states(waiting, states);
    uint32_t told = recipients_told(states, waiting->num_recipients);
    free(states);
    return told;
}

/* tmp/dsn-ID-EVENT.tmp: a report that the crash came upon between its writing and its rename. When
 * the journal has not recorded it, it is made again. Of a message that the journal no longer knows,
 * all was recorded. */
static void meet_draft(struct walk *walk, const char *name)
{
    uint64_t id;
    unsigned event;
    if (!dsn_name_parse(name, &id, &event))
        return;
    const struct waiting *waiting = table_find(walk->table, id);
    bool is_recorded = !waiting || told_of(waiting) >= event;
    int rc =
        is_recorded ? spool_publish_draft(walk->spool, name) : spool_drop_draft(walk->spool, name);
    if (rc < 0)
        note_failure(walk, name, -rc);
    else if (is_recorded)
        log_info("%s: put into new/, as recorded before the restart", name);
}

static void walk_drafts(struct walk *walk)
{
    static const char suffix[] = ".tmp";
    int fd = openat(walk->spool->tmp_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    if (!dir) {
        note_failure(walk, "tmp", errno);
        if (fd >= 0)
            close(fd);
        return;
    }
    for (errno = 0; (entry = readdir(dir)); errno = 0) {
        size_t len = strlen(entry->d_name), end = strlen(suffix);
        char name[DSN_NAME_MAX];
        if (len <= end || len - end >= sizeof name ||
            strcmp(entry->d_name + len - end, suffix) != 0)
            continue;
        snprintf(name, sizeof name, "%.*s", (int)(len - end), entry->d_name);
        meet_draft(walk, name);
    }
    if (errno)
        note_failure(walk, "tmp", errno);
    closedir(dir);
    int rc = spool_sync_new(walk->spool);
    if (rc < 0)
        note_failure(walk, "new", -rc);
}

/* Calls meet for each file of the folder and, one level down, of its subfolders. */
static void walk_folder(struct walk *walk, const char *path, bool is_top,
                        void (*meet)(struct walk *walk, int folder, const char *path,
                                     const struct dirent *entry))
{
    int fd = openat(walk->spool->root_fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    struct dirent *entry;
    if (!dir) {
        walk->is_incomplete = true;
        /* A subfolder that we may not read holds nothing that we could send. */
        if (is_top || (errno != EACCES && errno != ENOENT))
            note_failure(walk, path, errno);
        if (fd >= 0)
            close(fd);
        return;
    }
    for (errno = 0; (entry = readdir(dir)); errno = 0) {
        char below[SPOOL_PATH_MAX];
        if (spool_name_is_ignored(entry->d_name) ||
            (size_t)snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= sizeof below)
            continue;
        if (!spool_entry_is_folder(dirfd(dir), entry))
            meet(walk, dirfd(dir), below, entry);
        else if (is_top)
            walk_folder(walk, below, false, meet);
    }
    if (errno)
        note_failure(walk, path, errno);
    closedir(dir);
}

/* Those that were met are in the table only; the others are few, and may be found in new/. */
static void keep_unmet(struct waiting_set *known)
{
    size_t num = 0;
    for (size_t i = 0; i < known->num; i++)
        if (!known->items[i]->is_met)
            known->items[num++] = known->items[i];
    known->num = num;
}

/* Whether nothing is left to be done for any recipient that the journal knows. A bounce that nobody
 * was told of is left. */
static bool is_finished(const struct waiting *waiting)
{
    bool finished = waiting->num_recipients > 0;
    struct recipient_state *states = mem_zalloc(waiting->num_recipients, sizeof *states);
    waiting_states(waiting, states);
    for (uint32_t i = 0; i < waiting->num_recipients; i++)
        finished &=
            states[i].status == RECIPIENT_DELIVERED || states[i].status == RECIPIENT_NOTIFIED;
    free(states);
    return finished;
}

/* The crash came between the unlink and its record. */
static void forget_finished(struct walk *walk)
{
    size_t num = 0;
    for (size_t i = 0; i < walk->unmet->num && !walk->is_incomplete; i++) {
        struct waiting *waiting = walk->unmet->items[i];
        if (waiting->is_met || !is_finished(waiting))
            continue;
        if (!journal_append_removed(walk->journal, waiting->id))
            break; /* found again at the next start */
        /* The table gives out what is due first. */
        table_move(walk->table, waiting, INT64_MIN);
        waiting_free(table_take_first(walk->table));
        walk->unmet->items[i] = NULL;
        num++;
    }
    if (num)
        log_info("messages that were finished and removed just before the restart: %zu", num);
}

bool recovery_finish(struct waiting_set *known, const struct spool *spool, struct table *table,
                     struct journal *journal,
                     void (*on_claim)(void *ctx, const struct file_identity *identity), void *ctx,
                     char why[SPOOL_WHY_MAX])
{
    struct walk walk = {.table = table,
                        .journal = journal,
                        .unmet = known,
                        .spool = spool,
                        .on_claim = on_claim,
                        .ctx = ctx,
                        .why = why};
    why[0] = '\0';
    table_reserve(table, known->num);
    for (size_t i = 0; i < known->num; i++)
        add(table, known->items[i]);
    walk_drafts(&walk);
    walk_folder(&walk, "deferred", true, meet_under_id);
    walk_folder(&walk, "hold", true, meet_under_id);
    keep_unmet(known);
    waiting_set_sort_by_inode(known);
    walk_folder(&walk, "new", true, meet_in_new);
    if (!why[0])
        forget_finished(&walk);
    known->num = 0; /* the table owns them now */
    waiting_set_fini(known);
    return why[0] == '\0';
}

int recovery_look_closer(const struct spool *spool, struct table *table, struct waiting *waiting)
{
    struct file_identity identity;
    int rc = file_identity_at(spool->root_fd, waiting->path, &identity);
    if (rc == 0 && !file_identity_equal(&identity, &waiting->identity))
        adopt(table, waiting, waiting->path, &identity);
    return rc;
}
