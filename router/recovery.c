/* Journal against files at the start; see the table in the header.
 * It opens no message and sends nothing. */
#include "router/recovery.h"

#include "base/log.h"
#include "base/memory.h"
#include "queue/queue_id.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool read_identity(int folder, const char *name, struct file_identity *out)
{
    int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    bool read = fd >= 0 && file_identity_read(fd, out, NULL, NULL) == 0;
    if (fd >= 0)
        close(fd);
    return read;
}

struct walk {
    struct waiting_set *known;
    const struct spool *spool;
    void (*on_claim)(void *ctx, const struct file_identity *identity);
    void *ctx;
    size_t num_known; /* entries sorted, of those that the journal knew */
};

static void set_path(struct waiting *waiting, const char *path)
{
    char *copy = mem_strdup(path);
    free(waiting->path);
    waiting->path = copy;
}

static void meet_in_new(struct walk *walk, int folder, const char *path, const struct dirent *entry)
{
    struct file_identity identity;
    if (!waiting_set_knows_inode(walk->known, entry->d_ino) ||
        !read_identity(folder, entry->d_name, &identity))
        return;
    struct waiting *waiting = waiting_set_find(walk->known, &identity);
    if (!waiting)
        return;
    if (strncmp(waiting->path, "new/", 4) != 0 &&
        spool_move(walk->spool, path, waiting->path, &identity, true) == 0) {
        (void)spool_sync_folder_of(walk->spool, path);
        (void)spool_sync_folder_of(walk->spool, waiting->path);
        log_info("%s: moved to %s, as recorded before the restart", path, waiting->path);
        return;
    }
    set_path(waiting, path);
    walk->on_claim(walk->ctx, &identity);
}

static void meet_in_deferred(struct walk *walk, int folder, const char *path,
                             const struct dirent *entry)
{
    struct journal_message orphan = {.path = path};
    if (!queue_id_parse(bytes_of(entry->d_name), &orphan.id))
        return;
    if (waiting_set_has_id(walk->known, walk->num_known, orphan.id))
        return;
    if (!read_identity(folder, entry->d_name, &orphan.identity))
        return;
    log_warning("%s: the journal does not know it; every recipient is tried", path);
    orphan.arrived_wall_ms = orphan.identity.mtime_ns / 1000000;
    waiting_set_add(walk->known, waiting_new(&orphan));
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
        if (is_top)
            log_error("cannot read %s: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return;
    }
    while ((entry = readdir(dir))) {
        char below[SPOOL_PATH_MAX];
        if (spool_name_is_ignored(entry->d_name) ||
            (size_t)snprintf(below, sizeof below, "%s/%s", path, entry->d_name) >= sizeof below)
            continue;
        if (entry->d_type != DT_DIR)
            meet(walk, dirfd(dir), below, entry);
        else if (is_top)
            walk_folder(walk, below, false, meet);
    }
    closedir(dir);
}

void recovery_finish(struct waiting_set *known, const struct spool *spool, struct table *table,
                     void (*on_claim)(void *ctx, const struct file_identity *identity), void *ctx)
{
    struct walk walk = {.known = known, .spool = spool, .on_claim = on_claim, .ctx = ctx};
    waiting_set_sort_by_inode(known);
    walk_folder(&walk, "new", true, meet_in_new);
    waiting_set_sort_by_id(known);
    walk.num_known = known->num;
    walk_folder(&walk, "deferred", true, meet_in_deferred);
    for (size_t i = 0; i < known->num; i++)
        table_add(table, known->items[i]);
    known->num = 0; /* the table owns them now */
    waiting_set_fini(known);
}
