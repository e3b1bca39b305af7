/* What changes the spool: unlink, moves, files to bad/, messages of our own.
 * Every change of a stranger's file first compares its identity; nothing is ever overwritten. */
#include "queue/spool_place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    FILE_MODE = 0640,
    NAME_LEN = 256,        /* of a file's name, NUL included */
    BAD_NAME_MAX = 230,    /* of NAME.NUMBER.why, 255 octets, the part that is NAME */
    BAD_NUMBERED_MAX = 50, /* NAME.2 .. NAME.50, then random numbers */
    BAD_TRIES_MAX = 100
};

static int check_identity(const struct spool_place *place, const struct file_identity *identity)
{
    struct file_identity now;
    int result = file_identity_at(place->folder_fd, place->name, &now);
    if (result != 0)
        return result;
    return file_identity_equal(&now, identity) ? 0 : -ESTALE;
}

int spool_unlink(const struct spool *spool, const char *path, const struct file_identity *identity)
{
    struct spool_place place;
    int result = spool_place_open(spool, path, SPOOL_PLACE_EXISTING, &place, NULL);
    if (result != 0)
        return result;
    /* No system call removes a name only if it is a given file, so a writer that renames new mail
     * onto this very name between the two calls below would lose it. The contract forbids writers
     * to reuse a name that is still in the spool; the window of some microseconds is for those who
     * break it. To close it would cost a rename to a private name, more than all the rest. */
    result = check_identity(&place, identity);
    if (result == 0 && unlinkat(place.folder_fd, place.name, 0) != 0)
        result = -errno;
    spool_place_close(&place);
    return result;
}

/* rename() that never overwrites. Where the file system lacks RENAME_NOREPLACE, a link and an
 * unlink: a crash between the two leaves both names, never none. */
static int rename_noreplace(const struct spool_place *from, const struct spool_place *to)
{
    if (renameat2(from->folder_fd, from->name, to->folder_fd, to->name, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -errno;
    if (linkat(from->folder_fd, from->name, to->folder_fd, to->name, 0) != 0)
        return -errno;
    return unlinkat(from->folder_fd, from->name, 0) == 0 ? 0 : -errno;
}

static int sync_data(const struct spool_place *place, const struct file_identity *identity)
{
    struct file_identity now;
    int fd = openat(place->folder_fd, place->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int result = file_identity_read(fd, &now, NULL, NULL);
    if (result == 0 && !file_identity_equal(&now, identity))
        result = -ESTALE;
    if (result == 0 && fsync(fd) != 0)
        result = -errno;
    close(fd);
    return result;
}

/* A rename, unlike an unlink, can be looked at afterwards and taken back. */
static int rename_checked(const struct spool_place *from, const struct spool_place *to,
                          const struct file_identity *identity)
{
    int result = check_identity(from, identity);
    if (result == 0)
        result = rename_noreplace(from, to);
    if (result == -ENOENT && check_identity(from, identity) == 0)
        return -EIO; /* it is the other folder that has vanished */
    if (result == 0 && check_identity(to, identity) == -ESTALE) {
        (void)rename_noreplace(to, from);
        result = -ESTALE;
    }
    return result;
}

int spool_move(const struct spool *spool, const char *from_path, const char *to_path,
               const struct file_identity *identity, bool sync)
{
    struct spool_place from, to;
    bool made = false;
    int result = spool_place_open(spool, from_path, SPOOL_PLACE_EXISTING, &from, NULL);
    if (result != 0)
        return result;
    if (sync)
        result = sync_data(&from, identity);
    if (result == 0) {
        result = spool_place_open(spool, to_path, SPOOL_PLACE_MAKE_FOLDER, &to, &made);
        if (result == 0) {
            /* The name of a new deferred/xx must be durable before what is in it can be. */
            if (made && sync && fsync(to.parent_fd) != 0)
                result = -errno;
            else
                result = rename_checked(&from, &to, identity);
            spool_place_close(&to);
        } else if (result == -ENOENT) {
            result = -EIO; /* -ENOENT says that the file is gone */
        }
    }
    spool_place_close(&from);
    return result;
}

static int write_all(int fd, struct bytes data)
{
    while (data.len) {
        ssize_t len = write(fd, data.at, data.len);
        if (len < 0 && errno != EINTR)
            return -errno;
        if (len > 0)
            data = bytes_from(data, (size_t)len);
    }
    return 0;
}

/* Makes a new file with this content; on failure none. */
static int write_file(int folder_fd, const char *name, struct bytes data, bool sync)
{
    int fd =
        openat(folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);
    if (fd < 0)
        return -errno;
    int result = write_all(fd, data);
    if (result == 0 && sync && fsync(fd) != 0)
        result = -errno;
    if (close(fd) != 0 && result == 0)
        result = -errno;
    if (result != 0)
        (void)unlinkat(folder_fd, name, 0);
    return result;
}

/* The reason as one printable line: it may quote names and headers of a stranger. */
static size_t reason_line(const char *reason, char out[512])
{
    size_t len = 0;
    for (const char *at = reason; *at && len < 510; at++)
        out[len++] = (unsigned char)*at < ' ' || *at == 127 ? '?' : *at;
    out[len++] = '\n';
    return len;
}

static void bad_name(const char *name, unsigned attempt, char out[256])
{
    uint32_t random = 0;
    if (attempt == 1) {
        snprintf(out, 256, "%.*s", BAD_NAME_MAX, name);
    } else if (attempt <= BAD_NUMBERED_MAX) {
        snprintf(out, 256, "%.*s.%u", BAD_NAME_MAX, name, attempt);
    } else {
        (void)!getrandom(&random, sizeof random, 0);
        snprintf(out, 256, "%.*s.%u", BAD_NAME_MAX, name, random);
    }
}

int spool_move_to_bad(const struct spool *spool, const char *path,
                      const struct file_identity *identity, const char *reason)
{
    struct spool_place from;
    char line[512], name[256], why_name[256 + 4];
    size_t line_len = reason_line(reason, line);
    int result = spool_place_open(spool, path, SPOOL_PLACE_EXISTING, &from, NULL);
    if (result != 0)
        return result;
    result = -EEXIST;
    for (unsigned attempt = 1; attempt <= BAD_TRIES_MAX && result == -EEXIST; attempt++) {
        bad_name(from.name, attempt, name);
        snprintf(why_name, sizeof why_name, "%s.why", name);
        /* The reason first: a crash in between leaves a reason without a file, not the reverse. */
        result = write_file(spool->bad_fd, why_name, bytes_make(line, line_len), false);
        if (result != 0)
            continue;
        struct spool_place to = {.folder_fd = spool->bad_fd, .name = name};
        result = identity ? rename_checked(&from, &to, identity) : rename_noreplace(&from, &to);
        if (result != 0)
            (void)unlinkat(spool->bad_fd, why_name, 0);
    }
    spool_place_close(&from);
    return result;
}

static int draft_name(const char *name, char out[NAME_LEN])
{
    return snprintf(out, NAME_LEN, "%s.tmp", name) < NAME_LEN ? 0 : -ENAMETOOLONG;
}

int spool_write_draft(const struct spool *spool, const char *name, struct bytes data, bool sync)
{
    char tmp_name[NAME_LEN];
    int result = draft_name(name, tmp_name);
    if (result != 0)
        return result;
    /* One that an earlier crash left there is removed, not written into: tmp/ is open to writers,
     * and what stands under this name may be a link to something else. */
    (void)unlinkat(spool->tmp_fd, tmp_name, 0);
    return write_file(spool->tmp_fd, tmp_name, data, sync);
}

int spool_drop_draft(const struct spool *spool, const char *name)
{
    char tmp_name[NAME_LEN];
    int result = draft_name(name, tmp_name);
    if (result != 0)
        return result;
    return unlinkat(spool->tmp_fd, tmp_name, 0) == 0 ? 0 : -errno;
}

int spool_publish_draft(const struct spool *spool, const char *name)
{
    char tmp_name[NAME_LEN];
    int result = draft_name(name, tmp_name);
    if (result != 0)
        return result;
    struct spool_place from = {.folder_fd = spool->tmp_fd, .name = tmp_name};
    struct spool_place to = {.folder_fd = spool->new_fd, .name = name};
    result = rename_noreplace(&from, &to);
    return result == -EEXIST ? spool_drop_draft(spool, name) : result;
}

int spool_sync_drafts(const struct spool *spool)
{
    return fsync(spool->tmp_fd) == 0 ? 0 : -errno;
}

int spool_sync_new(const struct spool *spool)
{
    return fsync(spool->new_fd) == 0 ? 0 : -errno;
}
