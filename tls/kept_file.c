/* Opening and replacing of the header.
 * It knows no format, and makes no words of errors. */
#include "tls/kept_file.h"

#include "base/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int kept_file_open(const char *path, struct stat *out_status)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    if (fstat(fd, out_status) == 0)
        return fd;
    int error = errno;
    close(fd);
    return -error;
}

static void note(struct kept_file_draft *draft, int error)
{
    if (draft->error == 0)
        draft->error = error;
}

void kept_file_draft_begin(struct kept_file_draft *draft, const char *path, const char *suffix)
{
    *draft = (struct kept_file_draft){.path = path, .name = mem_printf("%s%s", path, suffix)};
    (void)unlink(draft->name);
    draft->fd =
        open(draft->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (draft->fd < 0)
        note(draft, errno);
}

void kept_file_draft_write(struct kept_file_draft *draft, struct bytes content)
{
    while (draft->error == 0 && content.len > 0) {
        ssize_t len = write(draft->fd, content.at, content.len);
        if (len > 0)
            content = bytes_from(content, (size_t)len);
        else if (len == 0 || errno != EINTR)
            note(draft, len == 0 ? EIO : errno);
    }
}

static int sync_folder_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? mem_strndup(path, (size_t)(slash - path) + 1) : mem_strdup(".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    free(folder);
    return error;
}

int kept_file_draft_end(struct kept_file_draft *draft, bool folder_too)
{
    if (draft->error == 0 && fsync(draft->fd) != 0)
        note(draft, errno);
    if (draft->fd >= 0 && close(draft->fd) != 0)
        note(draft, errno);
    if (draft->error == 0 && rename(draft->name, draft->path) != 0)
        note(draft, errno);
    if (draft->error != 0 && draft->fd >= 0)
        (void)unlink(draft->name);
    if (draft->error == 0 && folder_too)
        note(draft, sync_folder_of(draft->path));
    free(draft->name);
    draft->name = NULL;
    return -draft->error;
}
