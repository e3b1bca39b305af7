/* The spool folder: layout, lock, open rules, moves, fsync of folders. Files only; no queue policy.
 *
 * struct spool is opened once and then read by all threads; each function says who calls it. All
 * paths are relative to the spool's root and go through *at() calls on its fd, never through
 * symbolic links. */
#ifndef SLUICE_QUEUE_SPOOL_H
#define SLUICE_QUEUE_SPOOL_H

#include "base/bytes.h"

#include <dirent.h>

enum { SPOOL_WHY_MAX = 256, SPOOL_PATH_MAX = 600 };

struct spool {
    int root_fd;
    int new_fd;
    int deferred_fd;
    int hold_fd;
    int bad_fd;
    int tmp_fd;
    int journal_fd;
    int lock_fd;              /* -1: opened for reading only */
    bool entries_have_inodes; /* a folder's entries have the numbers that statx gives for the files
                                 (overlay and FUSE: not always) */
    char *path;               /* owned, as configured */
};

/* Identity of a file beside its name: compared again before every unlink and move. A file system
 * without birth times reports btime_ns 0. dev is for people only: a reboot may number devices anew
 * (device mapper, NVMe, btrfs), and a message must not become another one by that. All of a spool
 * is on one file system, because files are renamed within it. */
struct file_identity {
    uint64_t dev;
    uint64_t ino;
    int64_t btime_ns;
    int64_t mtime_ns;
    uint64_t size;
};

/* Where a message's file is. path is "new/NAME", "new/SUB/NAME", "deferred/xx/QUEUEID" or
 * "hold/QUEUEID". */

/* lock: makes missing folders (mode 0750) and takes the lock. Without lock it is opened for reading
 * only and nothing is made. false with a line in why: not a folder, no permission, already locked
 * by process N ... */
bool spool_open(struct spool *spool, const char *path, bool lock, char why[SPOOL_WHY_MAX])
    __attribute__((warn_unused_result));
void spool_close(struct spool *spool);

/* Names that the contract ignores: beginning with ".", ending in ".tmp" or ".part". */
bool spool_name_is_ignored(const char *name);
/* "deferred/xx/QUEUEID": xx are the id's last two characters, which differ most between neighbours.
 */
void spool_deferred_path(uint64_t id, char out[SPOOL_PATH_MAX]);
void spool_hold_path(uint64_t id, char out[SPOOL_PATH_MAX]);
/* A path in hold/. */
static inline bool spool_path_is_held(const char *path)
{
    return strncmp(path, "hold/", 5) == 0;
}

bool file_identity_equal(const struct file_identity *a, const struct file_identity *b);
/* statx of an open file; fills nlink and mode as well (NULL allowed). -errno or 0. */
int file_identity_read(int fd, struct file_identity *out, unsigned *out_nlink, unsigned *out_mode);
/* Of what stands under a name now, without opening it; of a symbolic link itself. 0 or -errno. */
int file_identity_at(int folder_fd, const char *name, struct file_identity *out);

/* A message that was opened for reading. */
struct spool_file {
    int fd; /* the caller's to close, which ends the lease */
    struct file_identity identity;
    unsigned nlink;
    bool has_writer; /* asked for a lease: somebody has it open for writing */
    bool leased;     /* nobody can open it for writing or truncate it while fd is open */
};

/* Opens a message for reading: O_RDONLY|O_NOFOLLOW|O_NONBLOCK|O_CLOEXEC, then checks that it is a
 * regular file. lease: takes a read lease, before the identity is read, so that what is read under
 * it is what the identity says; where we may not take one (another user's file), neither leased nor
 * has_writer is set. SIGIO must be ignored. 0 or -errno: -ELOOP symbolic link, -EINVAL not a
 * regular file, -ENOENT gone. pickup, worker. */
int spool_open_message(const struct spool *spool, const char *path, bool lease,
                       struct spool_file *out) __attribute__((warn_unused_result));

/* Removes path if it still is that very file. 0; -ENOENT already gone; -ESTALE another file stands
 * there now (left alone); else -errno. Journal thread. */
int spool_unlink(const struct spool *spool, const char *path, const struct file_identity *identity);
/* Moves the file to deferred/xx/ID or hold/ID; same results, and -EIO when the folder to move it to
 * has vanished: then the file is where it was. Never overwrites (-EEXIST). Syncs the file's data
 * first when sync; the folders are synced by spool_sync_move(). The move changes no member of the
 * identity.
 */
int spool_move(const struct spool *spool, const char *from, const char *to,
               const struct file_identity *identity, bool sync);
/* Moves a file to bad/NAME (NAME.2, NAME.3 ... if taken; "sub/NAME" loses its folder) and writes
 * NAME.why with one line. Works on symbolic links, FIFOs and devices (it renames, never opens).
 * identity may be NULL. pickup and journal thread. 0 or -errno; then the file stays where it was.
 */
int spool_move_to_bad(const struct spool *spool, const char *path,
                      const struct file_identity *identity, const char *reason);
/* A message of our own (a DSN) comes into new/ in two steps, between which the journal learns of
 * it: written as tmp/NAME.tmp, its data synced when sync, then renamed to new/NAME. Publishing is 0
 * also if new/NAME exists already, -ENOENT if there is no draft. The folders are synced by
 * spool_sync_drafts() after writing and spool_sync_new() after publishing. Journal thread; recovery
 * publishes and drops too. */
int spool_write_draft(const struct spool *spool, const char *name, struct bytes data, bool sync);
int spool_publish_draft(const struct spool *spool, const char *name);
int spool_drop_draft(const struct spool *spool, const char *name);
int spool_sync_drafts(const struct spool *spool);
int spool_sync_new(const struct spool *spool);
/* What readdir() gave for a folder: whether the entry is a folder itself; asks the file system
 * where that does not say it with the entry. */
bool spool_entry_is_folder(int folder_fd, const struct dirent *entry);
/* fsync of the folder that holds path ("new/a/b" -> new/a). 0 or -errno. */
int spool_sync_folder_of(const struct spool *spool, const char *path);
/* The same for a folder that path has left. One that is gone, as a writer may remove an empty
 * subfolder of new/, has no entry that could come back: 0. */
int spool_sync_left_folder_of(const struct spool *spool, const char *path);
/* Both folders of a move. The one that was left is synced last, and not if the other could not be:
 * after a power cut the file's name may be in both, where the journal knows which counts, but never
 * in neither. 0 or -errno. */
int spool_sync_move(const struct spool *spool, const char *from, const char *to);

#endif
