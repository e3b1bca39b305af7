/* The spool folder: layout, lock, paths, identity, opening messages.
 * Moves and removals are in spool_move.c. It knows nothing of envelopes or queue policy. */
#include "queue/spool.h"

#include "base/memory.h"
#include "queue/queue_id.h"
#include "queue/spool_place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

enum { FOLDER_MODE = 0750, LOCK_MODE = 0640 };

struct folder {
    const char *name;
    size_t fd_offset; /* of its fd in struct spool */
};

static const struct folder folders[] = {
    {"new", offsetof(struct spool, new_fd)},   {"deferred", offsetof(struct spool, deferred_fd)},
    {"hold", offsetof(struct spool, hold_fd)}, {"bad", offsetof(struct spool, bad_fd)},
    {"tmp", offsetof(struct spool, tmp_fd)},   {"journal", offsetof(struct spool, journal_fd)},
};
enum { NUM_FOLDERS = sizeof folders / sizeof *folders };

static int *folder_fd(struct spool *spool, size_t i)
{
    return (int *)(void *)((char *)spool + folders[i].fd_offset);
}

static int open_folder(int parent_fd, const char *name)
{
    int fd = openat(parent_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

/* Makes it when make is set, and its name durable in the parent; existing folders are used as they
 * are, whatever their mode. */
static int open_or_make_folder(int parent_fd, const char *name, bool make, bool *out_made)
{
    if (make && mkdirat(parent_fd, name, FOLDER_MODE) == 0)
        *out_made = true;
    else if (make && errno != EEXIST)
        return -errno;
    return open_folder(parent_fd, name);
}

/* Takes the lock; the holder's process id in the file is only for the message. */
static bool take_lock(struct spool *spool, char why[SPOOL_WHY_MAX])
{
    char pid[16] = "";
    spool->lock_fd =
        openat(spool->root_fd, "lock", O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, LOCK_MODE);
    if (spool->lock_fd < 0) {
        snprintf(why, SPOOL_WHY_MAX, "%.150s/lock: %s", spool->path, strerror(errno));
        return false;
    }
    if (flock(spool->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        int error = errno;
        ssize_t len = pread(spool->lock_fd, pid, sizeof pid - 1, 0);
        size_t digits = len > 0 ? strspn(pid, "0123456789") : 0;
        if (error == EWOULDBLOCK)
            snprintf(why, SPOOL_WHY_MAX, "%.150s: already in use by %s%.*s", spool->path,
                     digits ? "process " : "another process", (int)digits, pid);
        else
            snprintf(why, SPOOL_WHY_MAX, "%.150s/lock: %s", spool->path, strerror(error));
        return false;
    }
    int len = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(spool->lock_fd, 0) != 0 || pwrite(spool->lock_fd, pid, (size_t)len, 0) != len) {
        snprintf(why, SPOOL_WHY_MAX, "%.150s/lock: %s", spool->path, strerror(errno));
        return false;
    }
    return true;
}

static bool open_folders(struct spool *spool, bool make, char why[SPOOL_WHY_MAX])
{
    bool made = false;
    for (size_t i = 0; i < NUM_FOLDERS; i++) {
        int fd = open_or_make_folder(spool->root_fd, folders[i].name, make, &made);
        if (fd < 0) {
            snprintf(why, SPOOL_WHY_MAX, "%.150s/%s: %s", spool->path, folders[i].name,
                     strerror(-fd));
            return false;
        }
        *folder_fd(spool, i) = fd;
    }
    if (made && fsync(spool->root_fd) != 0) {
        snprintf(why, SPOOL_WHY_MAX, "%.150s: %s", spool->path, strerror(errno));
        return false;
    }
    return true;
}

/* Of the others we cannot know, and look at each file. */
static bool entries_have_inodes(int fd)
{
    struct statfs fs;
    if (fstatfs(fd, &fs) != 0)
        return false;
    switch (fs.f_type) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case TMPFS_MAGIC:
        return true;
    default:
        return false;
    }
}

bool spool_open(struct spool *spool, const char *path, bool lock, char why[SPOOL_WHY_MAX])
{
    *spool = (struct spool){.root_fd = -1, .lock_fd = -1, .path = mem_strdup(path)};
    for (size_t i = 0; i < NUM_FOLDERS; i++)
        *folder_fd(spool, i) = -1;
    if (lock && mkdir(path, FOLDER_MODE) != 0 && errno != EEXIST) {
        snprintf(why, SPOOL_WHY_MAX, "%.150s: %s", path, strerror(errno));
        spool_close(spool);
        return false;
    }
    /* The root itself may be a symbolic link: the operator named it. */
    spool->root_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (spool->root_fd < 0) {
        snprintf(why, SPOOL_WHY_MAX, "%.150s: %s", path, strerror(errno));
        spool_close(spool);
        return false;
    }
    if ((lock && !take_lock(spool, why)) || !open_folders(spool, lock, why)) {
        spool_close(spool);
        return false;
    }
    spool->entries_have_inodes = entries_have_inodes(spool->root_fd);
    return true;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void spool_close(struct spool *spool)
{
    for (size_t i = 0; i < NUM_FOLDERS; i++)
        close_fd(folder_fd(spool, i));
    close_fd(&spool->root_fd);
    close_fd(&spool->lock_fd);
    free(spool->path);
    spool->path = NULL;
}

static bool ends_with(struct bytes name, const char *suffix)
{
    struct bytes end = bytes_of(suffix);
    return name.len >= end.len && bytes_equal(bytes_from(name, name.len - end.len), end);
}

bool spool_name_is_ignored(const char *name)
{
    struct bytes b = bytes_of(name);
    return b.len == 0 || b.at[0] == '.' || ends_with(b, ".tmp") || ends_with(b, ".part");
}

void spool_deferred_path(uint64_t id, char out[SPOOL_PATH_MAX])
{
    char text[QUEUE_ID_LEN + 1];
    queue_id_format(id, text);
    snprintf(out, SPOOL_PATH_MAX, "deferred/%s/%s", text + QUEUE_ID_LEN - 2, text);
}

void spool_hold_path(uint64_t id, char out[SPOOL_PATH_MAX])
{
    char text[QUEUE_ID_LEN + 1];
    queue_id_format(id, text);
    snprintf(out, SPOOL_PATH_MAX, "hold/%s", text);
}

bool file_identity_equal(const struct file_identity *a, const struct file_identity *b)
{
    return a->ino == b->ino && a->btime_ns == b->btime_ns && a->mtime_ns == b->mtime_ns &&
           a->size == b->size;
}

static int64_t to_ns(const struct statx_timestamp *t)
{
    int64_t ns;
    /* A file may carry any time stamp that its owner likes: far ones wrap, the same each time. */
    (void)__builtin_mul_overflow(t->tv_sec, 1000000000, &ns);
    (void)__builtin_add_overflow(ns, (int64_t)t->tv_nsec, &ns);
    return ns;
}

static int read_identity(int fd, const char *name, int flags, struct file_identity *out,
                         unsigned *out_nlink, unsigned *out_mode)
{
    struct statx st;
    if (statx(fd, name, flags, STATX_BASIC_STATS | STATX_BTIME, &st) != 0)
        return -errno;
    *out = (struct file_identity){
        .dev = makedev(st.stx_dev_major, st.stx_dev_minor),
        .ino = st.stx_ino,
        .btime_ns = st.stx_mask & STATX_BTIME ? to_ns(&st.stx_btime) : 0,
        .mtime_ns = to_ns(&st.stx_mtime),
        .size = st.stx_size,
    };
    if (out_nlink)
        *out_nlink = st.stx_nlink;
    if (out_mode)
        *out_mode = st.stx_mode;
    return 0;
}

int file_identity_read(int fd, struct file_identity *out, unsigned *out_nlink, unsigned *out_mode)
{
    return read_identity(fd, "", AT_EMPTY_PATH, out, out_nlink, out_mode);
}

int file_identity_at(int folder_fd, const char *name, struct file_identity *out)
{
    return read_identity(folder_fd, name, AT_SYMLINK_NOFOLLOW, out, NULL, NULL);
}

static bool is_plain_name(struct bytes name)
{
    return name.len > 0 && name.len <= 255 && !bytes_equal(name, bytes_of(".")) &&
           !bytes_equal(name, bytes_of(".."));
}

int spool_place_open(const struct spool *spool, const char *path, enum spool_place_mode mode,
                     struct spool_place *out, bool *out_made)
{
    struct bytes all = bytes_of(path);
    size_t slash = bytes_find(all, '/');
    struct bytes first = bytes_first(all, slash), rest = bytes_from(all, slash + 1);
    size_t second = bytes_find(rest, '/');
    struct bytes sub = second < rest.len ? bytes_first(rest, second) : (struct bytes){0};
    struct bytes name = second < rest.len ? bytes_from(rest, second + 1) : rest;
    bool made = false;

    *out = (struct spool_place){.folder_fd = -1, .parent_fd = -1};
    for (size_t i = 0; i < NUM_FOLDERS; i++)
        if (bytes_equal(first, bytes_of(folders[i].name)))
            out->parent_fd = *folder_fd((struct spool *)(uintptr_t)spool, i);
    if (out->parent_fd < 0 || !is_plain_name(name) || bytes_find(name, '/') < name.len ||
        (second < rest.len && !is_plain_name(sub)))
        return -EINVAL;
    out->name = (const char *)name.at;
    out->folder_fd = out->parent_fd;
    if (second < rest.len) {
        memcpy(out->subfolder, sub.at, sub.len);
        int fd = open_or_make_folder(out->parent_fd, out->subfolder,
                                     mode == SPOOL_PLACE_MAKE_FOLDER, &made);
        if (fd < 0)
            return fd;
        out->folder_fd = fd;
        out->folder_owned = true;
    }
    if (out_made)
        *out_made = made;
    return 0;
}

void spool_place_close(struct spool_place *place)
{
    if (place->folder_owned)
        close(place->folder_fd);
    place->folder_owned = false;
}

/* A read lease is refused while somebody has the file open for writing. */
static void take_lease(struct spool_file *file)
{
    file->leased = fcntl(file->fd, F_SETLEASE, F_RDLCK) == 0;
    file->has_writer = !file->leased && errno == EAGAIN;
}

int spool_open_message(const struct spool *spool, const char *path, bool lease,
                       struct spool_file *out)
{
    struct spool_place place;
    unsigned mode = 0;
    *out = (struct spool_file){.fd = -1};
    int result = spool_place_open(spool, path, SPOOL_PLACE_EXISTING, &place, NULL);
    if (result != 0)
        return result;
    out->fd = openat(place.folder_fd, place.name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    /* A socket cannot be opened at all: ENXIO. */
    result = out->fd >= 0 ? 0 : errno == ENXIO ? -EINVAL : -errno;
    spool_place_close(&place);
    if (result != 0)
        return result;
    if (lease)
        take_lease(out);
    result = file_identity_read(out->fd, &out->identity, &out->nlink, &mode);
    if (result == 0 && !S_ISREG(mode))
        result = -EINVAL;
    if (result != 0) {
        close(out->fd);
        out->fd = -1;
    }
    return result;
}

int spool_sync_folder_of(const struct spool *spool, const char *path)
{
    struct spool_place place;
    int result = spool_place_open(spool, path, SPOOL_PLACE_EXISTING, &place, NULL);
    if (result != 0)
        return result;
    result = fsync(place.folder_fd) == 0 ? 0 : -errno;
    spool_place_close(&place);
    return result;
}

bool spool_entry_is_folder(int folder_fd, const struct dirent *entry)
{
    struct stat st;
    if (entry->d_type != DT_UNKNOWN)
        return entry->d_type == DT_DIR;
    return fstatat(folder_fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

int spool_sync_left_folder_of(const struct spool *spool, const char *path)
{
    int result = spool_sync_folder_of(spool, path);
    return result == -ENOENT ? 0 : result;
}

int spool_sync_move(const struct spool *spool, const char *from, const char *to)
{
    int result = spool_sync_folder_of(spool, to);
    return result == 0 ? spool_sync_left_folder_of(spool, from) : result;
}
