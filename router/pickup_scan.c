/* Where candidates come from: inotify events and scans of new/ and its subfolders.
 * It opens no message: pickup_load.c does. */
#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "router/pickup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    EVENTS = IN_MOVED_TO | IN_CLOSE_WRITE | IN_CREATE | IN_ONLYDIR,
    EVENT_BUFFER = 64 * 1024,
    ENTRIES_PER_TURN = 2048
};

static void add_watch(struct pickup *pickup, struct pickup_folder *folder)
{
    char path[64];
    int fd = openat(pickup->services.spool->root_fd, folder->path,
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    folder->watch = -1;
    if (fd < 0)
        return;
    /* Through the open folder, so that nobody can swap the path beneath us. */
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    folder->watch = inotify_add_watch(pickup->inotify.fd, path, EVENTS);
    if (folder->watch < 0)
        log_warning("cannot watch %s: %s; its mail is found by scans only", folder->path,
                    strerror(errno));
    close(fd);
}

static void add_folder(struct pickup *pickup, const char *path)
{
    for (unsigned i = 0; i < pickup->num_folders; i++)
        if (strcmp(pickup->folders[i].path, path) == 0)
            return;
    if (pickup->num_folders == PICKUP_FOLDERS_MAX) {
        log_warning("more than %d folders in new/: %s is not drained", PICKUP_FOLDERS_MAX, path);
        return;
    }
    struct pickup_folder *folder = &pickup->folders[pickup->num_folders++];
    folder->path = mem_strdup(path);
    add_watch(pickup, folder);
    pickup->rescan = true;
}

static void free_candidates(struct candidate *candidate)
{
    while (candidate) {
        struct candidate *next = candidate->next;
        free(candidate);
        candidate = next;
    }
}

void pickup_add_candidate(struct pickup *pickup, const char *path, bool is_complete)
{
    if (pickup->num_candidates >= PICKUP_CANDIDATES_MAX) {
        pickup->rescan = true;
        return;
    }
    size_t len = strlen(path) + 1;
    struct candidate *candidate = mem_zalloc(1, sizeof *candidate + len);
    candidate->first_ms = pickup->loop.now_ms;
    candidate->is_complete = is_complete;
    memcpy(candidate->path, path, len);
    if (pickup->ready_last)
        pickup->ready_last->next = candidate;
    else
        pickup->ready_first = candidate;
    pickup->ready_last = candidate;
    pickup->num_candidates++;
}

void pickup_wake_candidates(struct pickup *pickup)
{
    int64_t next_ms = INT64_MAX;
    struct candidate **link = &pickup->settling;
    while (*link) {
        struct candidate *candidate = *link;
        if (candidate->look_ms > pickup->loop.now_ms) {
            if (candidate->look_ms < next_ms)
                next_ms = candidate->look_ms;
            link = &candidate->next;
            continue;
        }
        *link = candidate->next;
        candidate->next = NULL;
        if (pickup->ready_last)
            pickup->ready_last->next = candidate;
        else
            pickup->ready_first = candidate;
        pickup->ready_last = candidate;
    }
    if (next_ms != INT64_MAX)
        timer_arm(&pickup->loop.timers, &pickup->look_timer, next_ms);
}

static bool is_top(const char *folder)
{
    return strcmp(folder, "new") == 0;
}

static void found(struct pickup *pickup, const char *folder, const char *name, bool is_folder,
                  bool is_complete)
{
    char path[SPOOL_PATH_MAX];
    if (spool_name_is_ignored(name))
        return;
    if ((size_t)snprintf(path, sizeof path, "%s/%s", folder, name) >= sizeof path) {
        log_warning("%s: a name is too long, ignored", folder);
        return;
    }
    if (!is_folder)
        pickup_add_candidate(pickup, path, is_complete);
    else if (is_top(folder))
        add_folder(pickup, path);
    else
        log_warning("%s: folders below a subfolder of new/ are ignored", path);
}

static struct pickup_folder *folder_of_watch(struct pickup *pickup, int watch)
{
    for (unsigned i = 0; i < pickup->num_folders; i++)
        if (pickup->folders[i].watch == watch)
            return &pickup->folders[i];
    return NULL;
}

static void on_event(struct pickup *pickup, const struct inotify_event *event)
{
    if (event->mask & IN_Q_OVERFLOW) {
        pickup->rescan = true;
        return;
    }
    struct pickup_folder *folder = folder_of_watch(pickup, event->wd);
    if (!folder)
        return;
    if (event->mask & IN_IGNORED) {
        folder->watch = -1;
        return;
    }
    /* A name that was created is either a link to a complete file or the beginning of a copy:
     * settling tells. */
    if (event->len)
        found(pickup, folder->path, event->name, (event->mask & IN_ISDIR) != 0,
              (event->mask & (IN_MOVED_TO | IN_CLOSE_WRITE)) != 0);
}

static void on_inotify(struct loop_fd *watch, unsigned ready)
{
    (void)ready;
    struct pickup *pickup = container_of(watch, struct pickup, inotify);
    _Alignas(struct inotify_event) char buffer[EVENT_BUFFER];
    ssize_t len = read(watch->fd, buffer, sizeof buffer);
    for (ssize_t at = 0; at < len;) {
        const struct inotify_event *event = (const struct inotify_event *)(void *)(buffer + at);
        on_event(pickup, event);
        at += (ssize_t)(sizeof *event + event->len);
    }
}

bool pickup_watch_init(struct pickup *pickup)
{
    pickup->inotify = (struct loop_fd){.fd = -1, .on_ready = on_inotify};
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0 || !loop_watch(&pickup->loop, &pickup->inotify, fd, LOOP_READ)) {
        log_warning("inotify: %s; mail is found by scans only", strerror(errno));
        if (fd >= 0)
            close(fd);
    }
    add_folder(pickup, "new");
    pickup->scan_folder = pickup->num_folders;
    return true;
}

void pickup_watch_fini(struct pickup *pickup)
{
    int fd = pickup->inotify.fd;
    loop_unwatch(&pickup->loop, &pickup->inotify);
    if (fd >= 0)
        close(fd);
    if (pickup->scan_dir)
        closedir(pickup->scan_dir);
    for (unsigned i = 0; i < pickup->num_folders; i++)
        free(pickup->folders[i].path);
    free_candidates(pickup->ready_first);
    free_candidates(pickup->settling);
}

/* What was not seen now is seen by the scan after the trouble, or by the periodic one. */
static void scan_failed(struct pickup *pickup, const char *path, int error)
{
    log_error("cannot read %s: %s", path, strerror(error));
    if (!pause_error_is_a_limit(error))
        return;
    pauses_begin(pickup->services.pauses, PAUSE_LIMITS, error, clock_wall_ms());
    pickup->rescan = true;
}

static bool open_folder(struct pickup *pickup, const char *path)
{
    int fd = openat(pickup->services.spool->root_fd, path,
                    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    pickup->scan_dir = fd < 0 ? NULL : fdopendir(fd);
    if (!pickup->scan_dir && fd >= 0) {
        int error = errno;
        close(fd);
        errno = error;
    }
    if (!pickup->scan_dir && errno != ENOENT)
        scan_failed(pickup, path, errno);
    return pickup->scan_dir != NULL;
}

static bool entry_is_claimed(struct pickup *pickup, const struct dirent *entry)
{
    struct file_identity identity;
    if (!pickup_knows_inode(pickup, entry->d_ino))
        return false;
    int fd = openat(dirfd(pickup->scan_dir), entry->d_name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool claimed =
        file_identity_read(fd, &identity, NULL, NULL) == 0 && pickup_is_claimed(pickup, &identity);
    close(fd);
    return claimed;
}

void pickup_scan_on(struct pickup *pickup)
{
    if (pauses_any(pickup->services.pauses))
        return;
    if (pickup->scan_folder >= pickup->num_folders && pickup->rescan) {
        pickup->rescan = false;
        pickup->scan_folder = 0;
    }
    unsigned seen = 0;
    while (pickup->scan_folder < pickup->num_folders &&
           pickup->num_candidates < PICKUP_CANDIDATES_MAX / 2 && seen < ENTRIES_PER_TURN) {
        const char *folder = pickup->folders[pickup->scan_folder].path;
        if (!pickup->scan_dir && !open_folder(pickup, folder)) {
            pickup->scan_folder++;
            continue;
        }
        errno = 0;
        struct dirent *entry = readdir(pickup->scan_dir);
        if (!entry) {
            if (errno)
                scan_failed(pickup, folder, errno);
            closedir(pickup->scan_dir);
            pickup->scan_dir = NULL;
            pickup->scan_folder++;
            continue;
        }
        seen++;
        if (!entry_is_claimed(pickup, entry))
            found(pickup, folder, entry->d_name,
                  spool_entry_is_folder(dirfd(pickup->scan_dir), entry), false);
    }
}
