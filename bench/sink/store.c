/* Received messages as files, named by a sequence number.
 * It syncs nothing: the sink is a measuring instrument, not a mailbox. */
#include "bench/sink/store.h"

#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { NAME_SIZE = 32 };

struct store {
    int folder_fd;
    _Atomic uint64_t sequence;
};

static uint64_t highest_name(int folder_fd)
{
    uint64_t highest = 0;
    int fd = openat(folder_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir)
        return 0;
    const struct dirent *entry;
    while ((entry = readdir(dir)) != NULL) {
        uint64_t number;
        if (bytes_to_u64(bytes_of(entry->d_name), UINT32_MAX, &number) && number > highest)
            highest = number;
    }
    closedir(dir);
    return highest;
}

struct store *store_open(const char *folder)
{
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return NULL;
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    struct store *store = mem_zalloc(1, sizeof *store);
    store->folder_fd = fd;
    atomic_store(&store->sequence, highest_name(fd));
    return store;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    close(store->folder_fd);
    free(store);
}

static void name_of(const struct store_file *file, bool hidden, char name[NAME_SIZE])
{
    snprintf(name, NAME_SIZE, "%s%08llu%s", hidden ? "." : "", (unsigned long long)file->sequence,
             hidden ? ".part" : "");
}

void store_file_begin(struct store *store, struct store_file *file)
{
    char name[NAME_SIZE];
    *file = (struct store_file){.fd = -1, .sequence = atomic_fetch_add(&store->sequence, 1) + 1};
    name_of(file, true, name);
    file->fd = openat(store->folder_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    file->failed = file->fd < 0;
}

void store_file_write(struct store_file *file, struct bytes bytes)
{
    while (bytes.len && !file->failed) {
        ssize_t num = write(file->fd, bytes.at, bytes.len);
        if (num < 0 && errno == EINTR)
            continue;
        file->failed = num < 0;
        if (num > 0)
            bytes = bytes_from(bytes, (size_t)num);
    }
}

void store_file_write_stuffed(struct store_file *file, struct bytes bytes, bool at_line_start)
{
    if (at_line_start && bytes.len && *bytes.at == '.')
        bytes = bytes_from(bytes, 1);
    for (;;) {
        const uint8_t *hit = bytes.len ? memmem(bytes.at, bytes.len, "\r\n.", 3) : NULL;
        if (!hit)
            break;
        size_t keep = (size_t)(hit - bytes.at) + 2;
        store_file_write(file, bytes_first(bytes, keep));
        bytes = bytes_from(bytes, keep + 1);
    }
    store_file_write(file, bytes);
}

bool store_file_commit(struct store *store, struct store_file *file)
{
    char hidden[NAME_SIZE];
    char name[NAME_SIZE];
    name_of(file, true, hidden);
    name_of(file, false, name);
    if (file->fd >= 0 && close(file->fd) != 0)
        file->failed = true;
    if (!file->failed && renameat(store->folder_fd, hidden, store->folder_fd, name) != 0)
        file->failed = true;
    if (file->failed && file->fd >= 0)
        unlinkat(store->folder_fd, hidden, 0);
    file->fd = -1;
    return !file->failed;
}

void store_file_abort(struct store *store, struct store_file *file)
{
    if (file->fd < 0)
        return;
    char name[NAME_SIZE];
    close(file->fd);
    file->fd = -1;
    name_of(file, true, name);
    unlinkat(store->folder_fd, name, 0);
}
