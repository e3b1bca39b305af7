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

void recovery_init(struct recovery *recovery)
{
    *recovery = (struct recovery){0};
}

static void add(struct recovery *recovery, struct waiting *waiting)
{
    if (recovery->num == recovery->cap) {
        recovery->cap = recovery->cap ? recovery->cap * 2 : 256;
        recovery->items = mem_realloc(recovery->items, recovery->cap, sizeof *recovery->items);
    }
    recovery->items[recovery->num++] = waiting;
}

void recovery_on_live(void *ctx, const struct journal_message *message)
{
    add(ctx, waiting_new(message));
}

static int by_ino(const void *a, const void *b)
{
    uint64_t x = (*(struct waiting *const *)a)->identity.ino;
    uint64_t y = (*(struct waiting *const *)b)->identity.ino;
    return (x > y) - (x < y);
}

static int by_id(const void *a, const void *b)
{
    uint64_t x = (*(struct waiting *const *)a)->id;
    uint64_t y = (*(struct waiting *const *)b)->id;
    return (x > y) - (x < y);
}

/* items is sorted by inode from here on. */
static size_t first_of_inode(const struct recovery *recovery, uint64_t ino)
{
    size_t low = 0;
    size_t high = recovery->num;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (recovery->items[middle]->identity.ino < ino)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static bool knows_inode(const struct recovery *recovery, uint64_t ino)
{
    size_t at = first_of_inode(recovery, ino);
    return at < recovery->num && recovery->items[at]->identity.ino == ino;
}

static struct waiting *find_identity(const struct recovery *recovery,
                                     const struct file_identity *identity)
{
    size_t at = first_of_inode(recovery, identity->ino);
    for (; at < recovery->num && recovery->items[at]->identity.ino == identity->ino; at++)
        if (file_identity_equal(&recovery->items[at]->identity, identity))
            return recovery->items[at];
    return NULL;
}

static bool read_identity(int folder, const char *name, struct file_identity *out)
{
    int fd = openat(folder, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    bool read = fd >= 0 && file_identity_read(fd, out, NULL, NULL) == 0;
    if (fd >= 0)
        close(fd);
    return read;
}

struct walk {
    struct recovery *recovery;
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
    if (!knows_inode(walk->recovery, entry->d_ino) ||
        !read_identity(folder, entry->d_name, &identity))
        return;
    struct waiting *waiting = find_identity(walk->recovery, &identity);
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
    struct waiting key = {0};
    struct waiting *key_at = &key;
    struct journal_message orphan = {.path = path};
    if (!queue_id_parse(bytes_of(entry->d_name), &key.id))
        return;
    if (bsearch(&key_at, walk->recovery->items, walk->num_known, sizeof(struct waiting *), by_id))
        return;
    if (!read_identity(folder, entry->d_name, &orphan.identity))
        return;
    log_warning("%s: the journal does not know it; every recipient is tried", path);
    orphan.id = key.id;
    orphan.arrived_wall_ms = orphan.identity.mtime_ns / 1000000;
    add(walk->recovery, waiting_new(&orphan));
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

void recovery_finish(struct recovery *recovery, const struct spool *spool, struct table *table,
                     void (*on_claim)(void *ctx, const struct file_identity *identity), void *ctx)
{
    struct walk walk = {.recovery = recovery, .spool = spool, .on_claim = on_claim, .ctx = ctx};
    if (recovery->num)
        qsort(recovery->items, recovery->num, sizeof *recovery->items, by_ino);
    walk_folder(&walk, "new", true, meet_in_new);
    if (recovery->num)
        qsort(recovery->items, recovery->num, sizeof *recovery->items, by_id);
    walk.num_known = recovery->num;
    walk_folder(&walk, "deferred", true, meet_in_deferred);
    for (size_t i = 0; i < recovery->num; i++)
        table_add(table, recovery->items[i]);
    free(recovery->items);
    *recovery = (struct recovery){0};
}
