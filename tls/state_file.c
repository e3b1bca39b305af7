/* Reading and replacing a file as a whole. What is in it is the caller's to know. */
#include "tls/state_file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };

static bool fail(const char *path, const char *what, char why[STATE_FILE_WHY_MAX])
{
    snprintf(why, STATE_FILE_WHY_MAX, "%.200s: %s", path, what);
    return false;
}

static const char *read_all(int fd, struct buffer *out)
{
    struct stat status;
    if (fstat(fd, &status) != 0)
        return strerror(errno);
    if (!S_ISREG(status.st_mode) || (status.st_mode & (S_IWGRP | S_IWOTH)))
        return "no regular file that only its owner may write";
    for (;;) {
        uint8_t *to = buffer_reserve(out, PIECE);
        if (!to)
            return "too large";
        ssize_t len = read(fd, to, PIECE);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return strerror(errno);
        if (len == 0)
            return NULL;
        out->len += (size_t)len;
    }
}

bool state_file_read(const char *path, struct buffer *out, char why[STATE_FILE_WHY_MAX])
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return errno == ENOENT || fail(path, strerror(errno), why);
    const char *problem = read_all(fd, out);
    close(fd);
    return !problem || fail(path, problem, why);
}

static int write_all(int fd, struct bytes content)
{
    while (content.len) {
        ssize_t len = write(fd, content.at, content.len);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return -errno;
        content = bytes_from(content, (size_t)len);
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

static int sync_folder(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? mem_strndup(path, (size_t)(slash - path) + 1) : mem_strdup(".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int result = fd < 0 || fsync(fd) != 0 ? -errno : 0;
    if (fd >= 0)
        close(fd);
    free(folder);
    return result;
}

static int replace(const char *path, const char *draft, struct bytes content)
{
    (void)unlink(draft); /* of a run that was cut short */
    int fd = open(draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd < 0)
        return -errno;
    int result = write_all(fd, content);
    if (close(fd) != 0 && result == 0)
        result = -errno;
    if (result == 0 && rename(draft, path) != 0)
        result = -errno;
    if (result != 0)
        (void)unlink(draft);
    return result == 0 ? sync_folder(path) : result;
}

bool state_file_write(const char *path, struct bytes content, char why[STATE_FILE_WHY_MAX])
{
    char *draft = mem_printf("%s.tmp", path);
    int result = replace(path, draft, content);
    free(draft);
    return result == 0 || fail(path, strerror(-result), why);
}
