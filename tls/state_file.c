/* Reading and replacing a file as a whole. What is in it is the caller's to know, how it is
 * replaced kept_file.c's. */
#include "tls/state_file.h"

#include "tls/kept_file.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

enum { PIECE = 64 * 1024 };

static bool fail(const char *path, const char *what, char why[STATE_FILE_WHY_MAX])
{
    snprintf(why, STATE_FILE_WHY_MAX, "%.200s: %s", path, what);
    return false;
}

static const char *read_all(int fd, const struct stat *status, struct buffer *out)
{
    bool is_ours = status->st_uid == geteuid() || status->st_uid == 0;
    if (!S_ISREG(status->st_mode) || (status->st_mode & (S_IWGRP | S_IWOTH)) || !is_ours)
        return "no regular file that only we or root may write";
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
    struct stat status;
    int fd = kept_file_open(path, &status);
    if (fd < 0)
        return fd == -ENOENT || fail(path, strerror(-fd), why);
    const char *problem = read_all(fd, &status, out);
    close(fd);
    return !problem || fail(path, problem, why);
}

bool state_file_write(const char *path, struct bytes content, char why[STATE_FILE_WHY_MAX])
{
    struct kept_file_draft draft;
    kept_file_draft_begin(&draft, path, ".tmp");
    kept_file_draft_write(&draft, content);
    int result = kept_file_draft_end(&draft, true);
    return result == 0 || fail(path, strerror(-result), why);
}
