/* stat and reading folders, of a disk in memory. */
#include "base/check.h"
#include "base/memory.h"
#include "tests/powercut/simulated_private.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { FOLDERS_MAX = 64 };

struct folder_stream {
    int fd;
    size_t num, at;
    struct dirent *entries; /* owned */
};

static struct folder_stream *streams[FOLDERS_MAX];

static mode_t mode_of(const struct disk_node *node)
{
    return node->is_folder ? S_IFDIR | 0750 : S_IFREG | 0640;
}

static void fill_stat(uint32_t number, struct stat *out)
{
    const struct disk_node *node = disk_node(simulated_disk, number);
    memset(out, 0, sizeof *out);
    out->st_dev = makedev(8, simulated_device);
    out->st_ino = number + SIMULATED_FIRST_INODE;
    out->st_mode = mode_of(node);
    out->st_nlink = node->num_links;
    out->st_size = (off_t)node->size;
    out->st_blocks = (blkcnt_t)(node->cap / 512);
    out->st_mtim.tv_sec = node->mtime_ns / 1000000000;
    out->st_mtim.tv_nsec = node->mtime_ns % 1000000000;
}

int fstat(int fd, struct stat *out)
{
    uint32_t node = simulated_node_at(fd);
    if (!node)
        return (int)syscall(SYS_fstat, fd, out);
    pthread_mutex_lock(&simulated_mutex);
    fill_stat(node, out);
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

int fstatat(int at, const char *path, struct stat *out, int flags)
{
    struct simulated_place place;
    if (!simulated_is_path(at, path))
        return (int)syscall(SYS_newfstatat, at, path, out, flags);
    pthread_mutex_lock(&simulated_mutex);
    int result = simulated_find(at, path, &place);
    if (result != 0 || !place.node)
        return simulated_fail(result ? -result : ENOENT);
    fill_stat(place.node, out);
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

int stat(const char *path, struct stat *out)
{
    return fstatat(AT_FDCWD, path, out, 0);
}

static struct statx_timestamp to_timestamp(int64_t ns)
{
    return (struct statx_timestamp){.tv_sec = ns / 1000000000,
                                    .tv_nsec = (uint32_t)(ns % 1000000000)};
}

int statx(int at, const char *path, int flags, unsigned mask, struct statx *out)
{
    struct simulated_place place;
    if (!simulated_is_path(at, path))
        return (int)syscall(SYS_statx, at, path, flags, mask, out);
    pthread_mutex_lock(&simulated_mutex);
    int result = simulated_find(at, path, &place);
    if (result != 0 || !place.node)
        return simulated_fail(result ? -result : ENOENT);
    const struct disk_node *node = disk_node(simulated_disk, place.node);
    memset(out, 0, sizeof *out);
    out->stx_mask = STATX_BASIC_STATS | STATX_BTIME;
    out->stx_nlink = node->num_links;
    out->stx_mode = (uint16_t)mode_of(node);
    out->stx_ino = place.node + SIMULATED_FIRST_INODE;
    out->stx_size = node->size;
    out->stx_mtime = to_timestamp(node->mtime_ns);
    out->stx_btime = to_timestamp(node->btime_ns);
    out->stx_dev_major = 8;
    out->stx_dev_minor = simulated_device;
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

static struct folder_stream *stream_of(DIR *dir)
{
    for (unsigned i = 0; i < FOLDERS_MAX; i++)
        if ((DIR *)(void *)streams[i] == dir)
            return streams[i];
    return NULL;
}

DIR *fdopendir(int fd)
{
    uint32_t number = simulated_node_at(fd);
    unsigned slot = 0;
    CHECK(number); /* the router opens no other folders in this way */
    pthread_mutex_lock(&simulated_mutex);
    const struct disk_node *node = disk_node(simulated_disk, number);
    struct folder_stream *stream = mem_zalloc(1, sizeof *stream);
    stream->fd = fd;
    stream->num = node->num_entries;
    stream->entries = mem_zalloc(node->num_entries + 1, sizeof *stream->entries);
    for (size_t i = 0; i < stream->num; i++) {
        struct dirent *entry = &stream->entries[i];
        entry->d_ino = node->entries[i].node + SIMULATED_FIRST_INODE;
        entry->d_type =
            disk_node(simulated_disk, node->entries[i].node)->is_folder ? DT_DIR : DT_REG;
        snprintf(entry->d_name, sizeof entry->d_name, "%s", node->entries[i].name);
    }
    while (slot < FOLDERS_MAX && streams[slot])
        slot++;
    CHECK(slot < FOLDERS_MAX);
    streams[slot] = stream;
    pthread_mutex_unlock(&simulated_mutex);
    return (DIR *)(void *)stream;
}

struct dirent *readdir(DIR *dir)
{
    struct folder_stream *stream = stream_of(dir);
    CHECK(stream);
    return stream->at < stream->num ? &stream->entries[stream->at++] : NULL;
}

int dirfd(DIR *dir)
{
    struct folder_stream *stream = stream_of(dir);
    CHECK(stream);
    return stream->fd;
}

int closedir(DIR *dir)
{
    struct folder_stream *stream = stream_of(dir);
    CHECK(stream);
    close(stream->fd);
    pthread_mutex_lock(&simulated_mutex);
    for (unsigned i = 0; i < FOLDERS_MAX; i++)
        if (streams[i] == stream)
            streams[i] = NULL;
    pthread_mutex_unlock(&simulated_mutex);
    free(stream->entries);
    free(stream);
    return 0;
}
