/* Copies and removes trees; remembers the journal's pages as they were last synced.
 * Only the journal loses anything: tests/powercut does the same to every file and folder. */
#include "tests/sim/disk.h"

#include "base/check.h"
#include "base/memory.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Of the segment length of tests/fault/simulation.c. */
enum { PAGE_LEN = 4096, SEGMENT_LEN = 16 * 1024, FILES_MAX = 256 };

static void copy_file(const char *from, const char *to, const struct stat *st)
{
    char octets[65536];
    const struct timespec times[2] = {st->st_atim, st->st_mtim};
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, st->st_mode & 07777);
    CHECK(in >= 0 && out >= 0);
    for (ssize_t len; (len = read(in, octets, sizeof octets)) > 0;)
        CHECK(write(out, octets, (size_t)len) == len);
    CHECK(futimens(out, times) == 0);
    close(in);
    close(out);
}

/* The spool's folders are three deep. */
void disk_copy(const char *from, const char *to)
{
    struct stat st;
    CHECK(lstat(from, &st) == 0 && mkdir(to, st.st_mode & 07777) == 0);
    DIR *dir = opendir(from);
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *source = mem_printf("%s/%s", from, entry->d_name);
        char *target = mem_printf("%s/%s", to, entry->d_name);
        bool is_self = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
        if (!is_self && lstat(source, &st) == 0) {
            if (S_ISDIR(st.st_mode))
                disk_copy(source, target);
            else if (S_ISREG(st.st_mode))
                copy_file(source, target, &st);
        }
        free(source);
        free(target);
    }
    closedir(dir);
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void disk_remove(const char *path)
{
    CHECK(nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT);
}

struct kept {
    ino_t ino;
    uint8_t octets[SEGMENT_LEN]; /* as they were last synced */
};

static struct synced {
    unsigned num;
    struct kept files[FILES_MAX];
} * synced; /* in memory that forked processes share */

void disk_init(void)
{
    synced = mmap(NULL, sizeof *synced, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(synced != MAP_FAILED);
}

void disk_forget(void)
{
    synced->num = 0;
}

static struct kept *find_kept(ino_t ino)
{
    for (unsigned i = 0; i < synced->num; i++)
        if (synced->files[i].ino == ino)
            return &synced->files[i];
    return NULL;
}

static void each_segment(const char *spool, int flags, void (*call)(int fd, void *ctx), void *ctx)
{
    char *path = mem_printf("%s/journal", spool);
    DIR *dir = opendir(path);
    CHECK(dir);
    for (struct dirent *entry; (entry = readdir(dir));) {
        int fd = -1;
        if (entry->d_type == DT_REG)
            fd = openat(dirfd(dir), entry->d_name, flags | O_CLOEXEC);
        if (fd < 0)
            continue;
        call(fd, ctx);
        close(fd);
    }
    closedir(dir);
    free(path);
}

void disk_note_sync(int fd)
{
    struct stat st;
    CHECK(fstat(fd, &st) == 0);
    if (!S_ISREG(st.st_mode) || st.st_size != SEGMENT_LEN)
        return;
    struct kept *file = find_kept(st.st_ino);
    if (!file) {
        CHECK(synced->num < FILES_MAX);
        file = &synced->files[synced->num++];
        file->ino = st.st_ino;
    }
    CHECK(pread(fd, file->octets, SEGMENT_LEN, 0) == SEGMENT_LEN);
}

struct cut {
    uint64_t (*draw)(uint64_t limit);
};

static void cut(int fd, void *ctx)
{
    struct stat st;
    uint8_t page[PAGE_LEN];
    const struct cut *how = ctx;
    CHECK(fstat(fd, &st) == 0);
    const struct kept *file = find_kept(st.st_ino);
    for (size_t at = 0; file && at < SEGMENT_LEN; at += PAGE_LEN) {
        if (pread(fd, page, PAGE_LEN, (off_t)at) != PAGE_LEN)
            break;
        if (memcmp(page, file->octets + at, PAGE_LEN) != 0 && how->draw(2))
            CHECK(pwrite(fd, file->octets + at, PAGE_LEN, (off_t)at) == PAGE_LEN);
    }
}

void disk_power_off(const char *spool, uint64_t (*draw)(uint64_t limit))
{
    struct cut how = {draw};
    each_segment(spool, O_RDWR, cut, &how);
}
