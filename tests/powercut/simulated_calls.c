/* The C library's file functions on a disk in memory: descriptors, names, content, syncs.
 * It does not judge: it plays a kernel that never fails. */
#include "base/check.h"
#include "base/memory.h"
#include "tests/powercut/simulated_private.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { FILES_MAX = 4096, FIRST_FD = 1 << 20, MAPS_MAX = 64 };

struct map {
    struct disk_node *node;
    uint32_t number;
    uint8_t *known; /* owned: its pages as they were noted last */
};

pthread_mutex_t simulated_mutex = PTHREAD_MUTEX_INITIALIZER;
struct disk *simulated_disk;
static struct events *events;
uint32_t simulated_device;
static uint32_t node_of_fd[FILES_MAX]; /* by descriptor - FIRST_FD; 0: closed */
static bool writes[FILES_MAX];         /* opened for writing */
static unsigned num_open;
static struct map maps[MAPS_MAX];
static unsigned num_maps;

static int64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static void note_page(uint32_t number, const struct disk_node *node, uint32_t page)
{
    struct event *event = events_add(events, EVENT_PAGE);
    event->node = number;
    event->page = page;
    event->data = mem_alloc(DISK_PAGE);
    memcpy(event->data, node->pages + (size_t)page * DISK_PAGE, DISK_PAGE);
}

/* The journal's stores are no system calls: whatever changed in mapped pages since the last look.
 */
static void note_stores(void)
{
    for (unsigned i = 0; events && i < num_maps; i++) {
        struct map *map = &maps[i];
        for (size_t at = 0; at < map->node->cap; at += DISK_PAGE) {
            if (memcmp(map->known + at, map->node->pages + at, DISK_PAGE) == 0)
                continue;
            note_page(map->number, map->node, (uint32_t)(at / DISK_PAGE));
            memcpy(map->known + at, events->items[events->num - 1].data, DISK_PAGE);
        }
    }
}

static struct event *note(enum event_kind kind)
{
    note_stores();
    return events ? events_add(events, kind) : NULL;
}

static void note_name(enum event_kind kind, uint32_t node, uint32_t folder, const char *name)
{
    struct event *event = note(kind);
    if (!event)
        return;
    event->node = node;
    event->folder = folder;
    snprintf(event->name, sizeof event->name, "%s", name);
}

static void note_attributes(uint32_t number, const struct disk_node *node)
{
    struct event *event = note(EVENT_ATTRIBUTES);
    if (!event)
        return;
    event->node = number;
    event->size = node->size;
    event->time_ns = node->mtime_ns;
}

void simulated_stores(void)
{
    pthread_mutex_lock(&simulated_mutex);
    note_stores();
    pthread_mutex_unlock(&simulated_mutex);
}

void simulated_note(enum event_kind kind, const char *name)
{
    pthread_mutex_lock(&simulated_mutex);
    if (events)
        note_name(kind, 0, 0, name);
    pthread_mutex_unlock(&simulated_mutex);
}

unsigned simulated_num_open(void)
{
    return num_open;
}

void simulated_mount(struct disk *new_disk, struct events *new_events, uint32_t new_device)
{
    pthread_mutex_lock(&simulated_mutex);
    for (unsigned i = 0; i < num_maps; i++) {
        maps[i].node->num_maps--;
        free(maps[i].known);
    }
    num_maps = 0;
    memset(node_of_fd, 0, sizeof node_of_fd);
    num_open = 0;
    simulated_disk = new_disk;
    events = new_events;
    simulated_device = new_device;
    pthread_mutex_unlock(&simulated_mutex);
}

uint32_t simulated_node_at(int fd)
{
    return fd >= FIRST_FD && fd < FIRST_FD + FILES_MAX
               ? __atomic_load_n(&node_of_fd[fd - FIRST_FD], __ATOMIC_ACQUIRE)
               : 0;
}

bool simulated_is_path(int fd, const char *path)
{
    size_t len = sizeof SIMULATED_ROOT - 1;
    if (path[0] != '/')
        return simulated_node_at(fd) != 0;
    return strncmp(path, SIMULATED_ROOT, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

int simulated_fail(int error)
{
    pthread_mutex_unlock(&simulated_mutex);
    errno = error;
    return -1;
}

int simulated_find(int fd, const char *path, struct simulated_place *out)
{
    out->folder = out->node = path[0] == '/' ? DISK_ROOT : simulated_node_at(fd);
    out->name[0] = '\0';
    if (path[0] == '/')
        path += sizeof SIMULATED_ROOT - 1;
    while (*path) {
        size_t len = strcspn(path, "/");
        if (len >= sizeof out->name)
            return -ENAMETOOLONG;
        if (len > 0 && !(len == 1 && path[0] == '.')) {
            const struct disk_node *folder = disk_node(simulated_disk, out->node);
            if (!folder || out->node == 0)
                return -ENOENT;
            if (!folder->is_folder)
                return -ENOTDIR;
            out->folder = out->node;
            memcpy(out->name, path, len);
            out->name[len] = '\0';
            out->node = disk_find(simulated_disk, out->folder, out->name);
        }
        path += len;
        path += *path == '/';
    }
    return 0;
}

static int new_fd(uint32_t node, bool is_written)
{
    unsigned slot = 0;
    while (slot < FILES_MAX && node_of_fd[slot])
        slot++;
    CHECK(slot < FILES_MAX);
    writes[slot] = is_written;
    __atomic_store_n(&node_of_fd[slot], node, __ATOMIC_RELEASE);
    num_open++;
    return FIRST_FD + (int)slot;
}

static uint32_t create(const struct simulated_place *place, bool is_folder)
{
    uint32_t number = simulated_disk->num;
    struct disk_node *node = disk_add_node(simulated_disk, number, is_folder, now_ns());
    disk_link(simulated_disk, place->folder, place->name, number);
    note_name(EVENT_CREATE, number, place->folder, place->name);
    if (events) {
        events->items[events->num - 1].size = is_folder;
        events->items[events->num - 1].time_ns = node->btime_ns;
    }
    return number;
}

static int simulated_open(int at, const char *path, int flags)
{
    struct simulated_place place;
    pthread_mutex_lock(&simulated_mutex);
    int result = simulated_find(at, path, &place);
    if (result != 0)
        return simulated_fail(-result);
    if (place.node && (flags & O_CREAT) && (flags & O_EXCL))
        return simulated_fail(EEXIST);
    if (!place.node && !(flags & O_CREAT))
        return simulated_fail(ENOENT);
    if (!place.node)
        place.node = create(&place, false);
    bool is_folder = disk_node(simulated_disk, place.node)->is_folder;
    if ((flags & O_DIRECTORY) && !is_folder)
        return simulated_fail(ENOTDIR);
    if (is_folder && (flags & O_ACCMODE) != O_RDONLY)
        return simulated_fail(EISDIR);
    int fd = new_fd(place.node, (flags & O_ACCMODE) != O_RDONLY);
    pthread_mutex_unlock(&simulated_mutex);
    return fd;
}

int openat(int at, const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (simulated_is_path(at, path))
        return simulated_open(at, path, flags);
    return (int)syscall(SYS_openat, at, path, flags, mode);
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return openat(AT_FDCWD, path, flags, mode);
}

int __openat_2(int at, const char *path, int flags);
int __openat_2(int at, const char *path, int flags)
{
    return openat(at, path, flags);
}

int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return openat(AT_FDCWD, path, flags);
}

int close(int fd)
{
    if (!simulated_node_at(fd))
        return (int)syscall(SYS_close, fd);
    pthread_mutex_lock(&simulated_mutex);
    __atomic_store_n(&node_of_fd[fd - FIRST_FD], 0, __ATOMIC_RELEASE);
    num_open--;
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

/* A read lease is refused then, as by the kernel. A writer that comes later is not waited for: the
 * script's writers open their files once. */
static bool has_writer(uint32_t node)
{
    bool found = false;
    pthread_mutex_lock(&simulated_mutex);
    for (unsigned slot = 0; slot < FILES_MAX && !found; slot++)
        found = node_of_fd[slot] == node && writes[slot];
    pthread_mutex_unlock(&simulated_mutex);
    return found;
}

int fcntl(int fd, int command, ...)
{
    va_list arguments;
    va_start(arguments, command);
    long argument = va_arg(arguments, long);
    va_end(arguments);
    uint32_t node = simulated_node_at(fd);
    if (node && command == F_SETLEASE) {
        bool refused = argument == F_RDLCK && has_writer(node);
        errno = refused ? EAGAIN : errno;
        return refused ? -1 : 0;
    }
    if (!node || (command != F_DUPFD_CLOEXEC && command != F_DUPFD))
        return (int)syscall(SYS_fcntl, fd, command, argument);
    pthread_mutex_lock(&simulated_mutex);
    int copy = new_fd(node, writes[fd - FIRST_FD]);
    pthread_mutex_unlock(&simulated_mutex);
    return copy;
}

/* The control socket's name in the spool is no part of what is tested: it gets another one. */
int bind(int fd, const struct sockaddr *address, socklen_t len)
{
    int folder;
    const struct sockaddr_un *name = (const struct sockaddr_un *)(const void *)address;
    if (address->sa_family == AF_UNIX &&
        sscanf(name->sun_path, "/proc/self/fd/%d/", &folder) == 1 && simulated_node_at(folder))
        len = sizeof address->sa_family; /* the kernel then chooses one */
    return (int)syscall(SYS_bind, fd, address, len);
}

int flock(int fd, int operation)
{
    return simulated_node_at(fd) ? 0 : (int)syscall(SYS_flock, fd, operation);
}

int mkdirat(int at, const char *path, mode_t mode)
{
    struct simulated_place place;
    if (!simulated_is_path(at, path))
        return (int)syscall(SYS_mkdirat, at, path, mode);
    pthread_mutex_lock(&simulated_mutex);
    int result = simulated_find(at, path, &place);
    if (result == 0 && place.node)
        result = -EEXIST;
    if (result != 0)
        return simulated_fail(-result);
    create(&place, true);
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

int mkdir(const char *path, mode_t mode)
{
    return mkdirat(AT_FDCWD, path, mode);
}

int unlinkat(int at, const char *path, int flags)
{
    struct simulated_place place;
    if (!simulated_is_path(at, path))
        return (int)syscall(SYS_unlinkat, at, path, flags);
    pthread_mutex_lock(&simulated_mutex);
    int result = simulated_find(at, path, &place);
    if (result == 0 && !place.node)
        result = -ENOENT;
    if (result == 0 &&
        disk_node(simulated_disk, place.node)->is_folder != ((flags & AT_REMOVEDIR) != 0))
        result = -EISDIR;
    if (result != 0)
        return simulated_fail(-result);
    disk_unlink(simulated_disk, place.folder, place.name);
    note_name(EVENT_UNLINK, place.node, place.folder, place.name);
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

int linkat(int from_at, const char *from_path, int to_at, const char *to_path, int flags)
{
    struct simulated_place from, to;
    if (!simulated_is_path(from_at, from_path))
        return (int)syscall(SYS_linkat, from_at, from_path, to_at, to_path, flags);
    pthread_mutex_lock(&simulated_mutex);
    int result = simulated_find(from_at, from_path, &from);
    if (result == 0)
        result = simulated_find(to_at, to_path, &to);
    if (result == 0)
        result = !from.node ? -ENOENT : to.node ? -EEXIST : 0;
    if (result != 0)
        return simulated_fail(-result);
    disk_link(simulated_disk, to.folder, to.name, from.node);
    note_name(EVENT_LINK, from.node, to.folder, to.name);
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

int renameat2(int from_at, const char *from_path, int to_at, const char *to_path, unsigned flags)
{
    struct simulated_place from, to;
    if (!simulated_is_path(from_at, from_path))
        return (int)syscall(SYS_renameat2, from_at, from_path, to_at, to_path, flags);
    pthread_mutex_lock(&simulated_mutex);
    int result = simulated_find(from_at, from_path, &from);
    if (result == 0)
        result = simulated_find(to_at, to_path, &to);
    if (result == 0)
        result = !from.node ? -ENOENT : to.node && (flags & RENAME_NOREPLACE) ? -EEXIST : 0;
    if (result != 0)
        return simulated_fail(-result);
    if (to.node) {
        disk_unlink(simulated_disk, to.folder, to.name);
        note_name(EVENT_UNLINK, to.node, to.folder, to.name);
    }
    disk_unlink(simulated_disk, from.folder, from.name);
    disk_link(simulated_disk, to.folder, to.name, from.node);
    note_name(EVENT_RENAME, from.node, from.folder, from.name);
    if (events) {
        struct event *event = &events->items[events->num - 1];
        event->folder2 = to.folder;
        memcpy(event->name2, to.name, sizeof event->name2);
    }
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

int renameat(int from_at, const char *from_path, int to_at, const char *to_path)
{
    return renameat2(from_at, from_path, to_at, to_path, 0);
}

static int sync_node(int fd, enum event_kind kind)
{
    pthread_mutex_lock(&simulated_mutex);
    struct event *event = note(kind);
    if (event)
        event->node = simulated_node_at(fd);
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

int fsync(int fd)
{
    return simulated_node_at(fd) ? sync_node(fd, EVENT_FSYNC) : (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    return simulated_node_at(fd) ? sync_node(fd, EVENT_FDATASYNC) : (int)syscall(SYS_fdatasync, fd);
}

static ssize_t read_node(const struct disk_node *node, void *to, size_t len, off_t offset)
{
    uint64_t at = (uint64_t)offset;
    if (at >= node->size)
        return 0;
    len = len < node->size - at ? len : (size_t)(node->size - at);
    memcpy(to, node->pages + at, len);
    return (ssize_t)len;
}

ssize_t pread(int fd, void *to, size_t len, off_t offset)
{
    uint32_t node = simulated_node_at(fd);
    if (!node)
        return syscall(SYS_pread64, fd, to, len, offset);
    pthread_mutex_lock(&simulated_mutex);
    ssize_t done = read_node(disk_node(simulated_disk, node), to, len, offset);
    pthread_mutex_unlock(&simulated_mutex);
    return done;
}

ssize_t __pread_chk(int fd, void *to, size_t len, off_t offset, size_t room);
ssize_t __pread_chk(int fd, void *to, size_t len, off_t offset, size_t room)
{
    CHECK(len <= room);
    return pread(fd, to, len, offset);
}

/* Pages that stay what they were are no event: zeros written over zeros, say. */
static void write_node(uint32_t number, const uint8_t *from, size_t len, uint64_t offset)
{
    struct disk_node *node = disk_node(simulated_disk, number);
    uint64_t end = offset + len;
    note_stores();
    disk_reserve(node, end);
    if (end > node->size)
        node->size = end;
    node->mtime_ns = now_ns();
    note_attributes(number, node);
    for (uint64_t at = offset; at < end;) {
        uint64_t next = (at / DISK_PAGE + 1) * DISK_PAGE;
        size_t part = (size_t)((next < end ? next : end) - at);
        bool changes = memcmp(node->pages + at, from + (at - offset), part) != 0;
        memcpy(node->pages + at, from + (at - offset), part);
        if (changes && events && node->num_maps == 0)
            note_page(number, node, (uint32_t)(at / DISK_PAGE));
        else
            note_stores();
        at += part;
    }
}

ssize_t pwrite(int fd, const void *from, size_t len, off_t offset)
{
    uint32_t node = simulated_node_at(fd);
    if (!node)
        return syscall(SYS_pwrite64, fd, from, len, offset);
    pthread_mutex_lock(&simulated_mutex);
    write_node(node, from, len, (uint64_t)offset);
    pthread_mutex_unlock(&simulated_mutex);
    return (ssize_t)len;
}

/* Only appended to: nobody in the spool writes in another way. */
ssize_t write(int fd, const void *from, size_t len)
{
    uint32_t node = simulated_node_at(fd);
    if (!node)
        return syscall(SYS_write, fd, from, len);
    pthread_mutex_lock(&simulated_mutex);
    write_node(node, from, len, disk_node(simulated_disk, node)->size);
    pthread_mutex_unlock(&simulated_mutex);
    return (ssize_t)len;
}

int ftruncate(int fd, off_t len)
{
    uint32_t number = simulated_node_at(fd);
    if (!number)
        return (int)syscall(SYS_ftruncate, fd, len);
    pthread_mutex_lock(&simulated_mutex);
    struct disk_node *node = disk_node(simulated_disk, number);
    uint64_t size = (uint64_t)len;
    disk_reserve(node, size);
    if (size < node->size)
        memset(node->pages + size, 0, node->size - size);
    node->size = size;
    node->mtime_ns = now_ns();
    note_attributes(number, node);
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    uint32_t number = simulated_node_at(fd);
    if (!number)
        return (int)syscall(SYS_fallocate, fd, mode, offset, len);
    pthread_mutex_lock(&simulated_mutex);
    struct disk_node *node = disk_node(simulated_disk, number);
    uint64_t size = (uint64_t)(offset + len);
    CHECK(mode == 0);
    disk_reserve(node, size);
    if (size > node->size) {
        node->size = size;
        note_attributes(number, node);
    }
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}

void *mmap(void *where, size_t len, int protection, int flags, int fd, off_t offset)
{
    uint32_t number = simulated_node_at(fd);
    if (!number)
        return (void *)syscall(SYS_mmap, where, len, protection, flags, fd, offset);
    pthread_mutex_lock(&simulated_mutex);
    struct disk_node *node = disk_node(simulated_disk, number);
    CHECK(offset == 0 && (flags & MAP_SHARED) && len <= node->size && num_maps < MAPS_MAX);
    node->num_maps++;
    maps[num_maps] = (struct map){.node = node, .number = number, .known = mem_alloc(node->cap)};
    memcpy(maps[num_maps++].known, node->pages, node->cap);
    pthread_mutex_unlock(&simulated_mutex);
    return node->pages;
}

int munmap(void *at, size_t len)
{
    unsigned i = 0;
    if (num_maps == 0)
        return (int)syscall(SYS_munmap, at, len);
    pthread_mutex_lock(&simulated_mutex);
    while (i < num_maps && maps[i].node->pages != at)
        i++;
    if (i == num_maps) {
        pthread_mutex_unlock(&simulated_mutex);
        return (int)syscall(SYS_munmap, at, len);
    }
    note_stores();
    maps[i].node->num_maps--;
    free(maps[i].known);
    maps[i] = maps[--num_maps];
    pthread_mutex_unlock(&simulated_mutex);
    return 0;
}
