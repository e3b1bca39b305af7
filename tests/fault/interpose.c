/* The interposed functions; see the header. Linked into the test, they come before libc's; each
 * asks the shared state (fault_state) for its verdict and passes the call on if there is none. They
 * keep to functions that take descriptors and paths: memory and threads are not their matter. */
#include "tests/fault/interpose.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct fault_state *fault_state;

#define DISK ENOSPC, EDQUOT, EROFS, EIO
const struct fault_row fault_functions[FAULT_NUM] = {
    [FAULT_open] = {"open", {EMFILE, ENFILE, EIO, EACCES}, true, false},
    [FAULT_openat] = {"openat",
                      {EMFILE, ENFILE, ENOMEM, EIO, EACCES, ESTALE, ENOSPC, EROFS},
                      true,
                      false},
    [FAULT_mkdir] = {"mkdir", {DISK, EACCES}, false, true},
    [FAULT_mkdirat] = {"mkdirat", {DISK, EACCES}, false, true},
    [FAULT_stat] = {"stat", {EIO, EACCES, ENOMEM}, false, false},
    [FAULT_fstat] = {"fstat", {EIO, ENOMEM}, false, false},
    [FAULT_fstatat] = {"fstatat", {EIO, ENOMEM}, false, false},
    [FAULT_statx] = {"statx", {EIO, ENOMEM}, false, false},
    [FAULT_read] = {"read", {EIO, EINTR, FAULT_SHORT}, false, false},
    [FAULT_pread] = {"pread", {EIO, EINTR, FAULT_SHORT}, false, false},
    [FAULT_write] = {"write", {DISK, EINTR, FAULT_SHORT}, false, true},
    [FAULT_pwrite] = {"pwrite", {DISK, EINTR, FAULT_SHORT}, false, true},
    [FAULT_fsync] = {"fsync", {EIO, ENOSPC, EDQUOT, EROFS}, false, true},
    [FAULT_fdatasync] = {"fdatasync", {EIO, ENOSPC, EDQUOT}, false, true},
    [FAULT_fallocate] = {"fallocate", {DISK, EINTR, EOPNOTSUPP}, false, true},
    [FAULT_ftruncate] = {"ftruncate", {DISK, EINTR}, false, true},
    [FAULT_mmap] = {"mmap", {ENOMEM, EAGAIN}, false, false},
    [FAULT_renameat] = {"renameat", {DISK, EACCES}, false, true},
    [FAULT_renameat2] = {"renameat2", {DISK, EACCES, EINVAL, ENOSYS}, false, true},
    [FAULT_linkat] = {"linkat", {DISK, EMLINK, EPERM}, false, true},
    [FAULT_unlinkat] = {"unlinkat", {EIO, EROFS, EACCES, EBUSY}, false, true},
    [FAULT_fcntl] = {"fcntl", {EMFILE, EAGAIN, EINVAL}, true, false},
    [FAULT_flock] = {"flock", {ENOLCK, EINTR, EWOULDBLOCK}, false, false},
    [FAULT_fdopendir] = {"fdopendir", {ENOMEM}, false, false},
    [FAULT_readdir] = {"readdir", {EIO}, false, false},
    [FAULT_close] = {"close", {EIO, EINTR, ENOSPC}, false, false},
    [FAULT_inotify_init1] = {"inotify_init1", {EMFILE, ENOMEM}, true, false},
    [FAULT_inotify_add_watch] = {"inotify_add_watch", {ENOSPC, ENOMEM, EACCES}, false, false},
};

/* Those that a condition of the disk or of the process makes fail while it lasts. */
static bool is_concerned(enum fault_function function, int error)
{
    const struct fault_row *row = &fault_functions[function];
    if (error == EMFILE)
        return row->opens;
    if (error == EACCES) /* folders that another user has closed */
        return function == FAULT_openat || function == FAULT_renameat2;
    if (error == EIO)
        return row->writes || function == FAULT_pread || function == FAULT_readdir;
    return row->writes && function != FAULT_unlinkat ? true : row->writes && error == EROFS;
}

/* 0: the call goes through; else the error (or FAULT_SHORT) that it ends with. */
static int verdict(enum fault_function function)
{
    struct fault_state *state = fault_state;
    if (!state || !state->armed)
        return 0;
    uint64_t count = __atomic_add_fetch(&state->counts[function], 1, __ATOMIC_RELAXED);
    uint64_t total = __atomic_add_fetch(&state->total, 1, __ATOMIC_RELAXED);
    bool fails = state->kind == FAULT_ONCE ? function == state->function && count == state->index
                 : state->kind == FAULT_FROM
                     ? total >= state->index && is_concerned(function, state->error)
                     : false;
    if (!fails)
        return 0;
    state->fired = true;
    return state->error;
}

static void *real(const char *name)
{
    void *at = dlsym(RTLD_NEXT, name);
    if (!at)
        _exit(127);
    return at;
}

#define REAL(name) ((__typeof__(&name))real(#name))

/* Fails with -1 and errno unless the call goes through. */
#define MAY_FAIL(name)                                                                             \
    do {                                                                                           \
        int error_ = verdict(FAULT_##name);                                                        \
        if (error_) {                                                                              \
            errno = error_;                                                                        \
            return -1;                                                                             \
        }                                                                                          \
    } while (0)

static mode_t mode_of(int flags, va_list args)
{
    return flags & (O_CREAT | __O_TMPFILE) ? va_arg(args, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    MAY_FAIL(open);
    return REAL(open)(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = mode_of(flags, args);
    va_end(args);
    MAY_FAIL(openat);
    return REAL(openat)(folder, path, flags, mode);
}

/* What _FORTIFY_SOURCE makes of calls whose flags are not constant. */
int __open_2(const char *path, int flags);
int __open_2(const char *path, int flags)
{
    return open(path, flags);
}

int __openat_2(int folder, const char *path, int flags);
int __openat_2(int folder, const char *path, int flags)
{
    return openat(folder, path, flags);
}

int mkdir(const char *path, mode_t mode)
{
    MAY_FAIL(mkdir);
    return REAL(mkdir)(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode)
{
    MAY_FAIL(mkdirat);
    return REAL(mkdirat)(folder, path, mode);
}

int stat(const char *restrict path, struct stat *restrict out)
{
    MAY_FAIL(stat);
    return REAL(stat)(path, out);
}

int fstat(int fd, struct stat *out)
{
    MAY_FAIL(fstat);
    return REAL(fstat)(fd, out);
}

int fstatat(int folder, const char *restrict path, struct stat *restrict out, int flags)
{
    MAY_FAIL(fstatat);
    return REAL(fstatat)(folder, path, out, flags);
}

int statx(int folder, const char *restrict path, int flags, unsigned mask,
          struct statx *restrict out)
{
    MAY_FAIL(statx);
    return REAL(statx)(folder, path, flags, mask, out);
}

#define TRANSFER(name, len)                                                                        \
    do {                                                                                           \
        int error_ = verdict(FAULT_##name);                                                        \
        if (error_ > 0) {                                                                          \
            errno = error_;                                                                        \
            return -1;                                                                             \
        }                                                                                          \
        if (error_ == FAULT_SHORT && len > 1)                                                      \
            len /= 2;                                                                              \
    } while (0)

ssize_t read(int fd, void *at, size_t len)
{
    TRANSFER(read, len);
    return REAL(read)(fd, at, len);
}

ssize_t pread(int fd, void *at, size_t len, off_t offset)
{
    TRANSFER(pread, len);
    return REAL(pread)(fd, at, len, offset);
}

ssize_t __read_chk(int fd, void *at, size_t len, size_t room);
ssize_t __read_chk(int fd, void *at, size_t len, size_t room)
{
    (void)room;
    return read(fd, at, len);
}

ssize_t __pread_chk(int fd, void *at, size_t len, off_t offset, size_t room);
ssize_t __pread_chk(int fd, void *at, size_t len, off_t offset, size_t room)
{
    (void)room;
    return pread(fd, at, len, offset);
}

ssize_t write(int fd, const void *at, size_t len)
{
    TRANSFER(write, len);
    return REAL(write)(fd, at, len);
}

ssize_t pwrite(int fd, const void *at, size_t len, off_t offset)
{
    TRANSFER(pwrite, len);
    return REAL(pwrite)(fd, at, len, offset);
}

int fsync(int fd)
{
    MAY_FAIL(fsync);
    return REAL(fsync)(fd);
}

int fdatasync(int fd)
{
    MAY_FAIL(fdatasync);
    return REAL(fdatasync)(fd);
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
    MAY_FAIL(fallocate);
    return REAL(fallocate)(fd, mode, offset, len);
}

int ftruncate(int fd, off_t len)
{
    MAY_FAIL(ftruncate);
    return REAL(ftruncate)(fd, len);
}

/* Only of files: what the allocator maps is memory's matter. */
void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    int error = flags & MAP_ANONYMOUS ? 0 : verdict(FAULT_mmap);
    if (error) {
        errno = error;
        return MAP_FAILED;
    }
    return REAL(mmap)(at, len, protection, flags, fd, offset);
}

int renameat(int from, const char *old, int to, const char *new)
{
    MAY_FAIL(renameat);
    return REAL(renameat)(from, old, to, new);
}

int renameat2(int from, const char *old, int to, const char *new, unsigned flags)
{
    MAY_FAIL(renameat2);
    return REAL(renameat2)(from, old, to, new, flags);
}

int linkat(int from, const char *old, int to, const char *new, int flags)
{
    MAY_FAIL(linkat);
    return REAL(linkat)(from, old, to, new, flags);
}

int unlinkat(int folder, const char *path, int flags)
{
    MAY_FAIL(unlinkat);
    return REAL(unlinkat)(folder, path, flags);
}

/* Every argument of the commands in use fits a long. */
int fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    long argument = va_arg(args, long);
    va_end(args);
    MAY_FAIL(fcntl);
    return REAL(fcntl)(fd, command, argument);
}

int flock(int fd, int operation)
{
    MAY_FAIL(flock);
    return REAL(flock)(fd, operation);
}

DIR *fdopendir(int fd)
{
    int error = verdict(FAULT_fdopendir);
    if (error) {
        errno = error;
        return NULL;
    }
    return REAL(fdopendir)(fd);
}

struct dirent *readdir(DIR *dir)
{
    int error = verdict(FAULT_readdir);
    if (error) {
        errno = error;
        return NULL;
    }
    return REAL(readdir)(dir);
}

/* The descriptor is gone all the same, as in the kernel. */
int close(int fd)
{
    int error = verdict(FAULT_close);
    int result = REAL(close)(fd);
    if (!error)
        return result;
    errno = error;
    return -1;
}

int inotify_init1(int flags)
{
    MAY_FAIL(inotify_init1);
    return REAL(inotify_init1)(flags);
}

int inotify_add_watch(int fd, const char *path, uint32_t mask)
{
    MAY_FAIL(inotify_add_watch);
    return REAL(inotify_add_watch)(fd, path, mask);
}
