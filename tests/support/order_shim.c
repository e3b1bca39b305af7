/* Preloaded into the router by tests: one line in $ORDER_LOG when an fdatasync has ended, and one
 * when a DATA command or marked content is about to leave. What is asked about is the order. While
 * the file $ORDER_FAIL exists, fdatasync fails. The process is killed when the file named
 * $ORDER_KILL_AFTER was unlinked. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static const char content_mark[] = "ORDER-MARK";

static void note(const char *line)
{
    const char *path = getenv("ORDER_LOG");
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (fd < 0)
        return;
    /* One write to a file opened for appending: lines of two threads do not mix. */
    if (write(fd, line, strlen(line)) < 0)
        abort();
    close(fd);
}

static void look_at(const void *data, size_t len)
{
    if (memmem(data, len, "DATA\r\n", 6))
        note("data\n");
    if (memmem(data, len, content_mark, sizeof content_mark - 1))
        note("content\n");
}

int fdatasync(int fd)
{
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *fail = getenv("ORDER_FAIL");
    if (fail && access(fail, F_OK) == 0) {
        errno = EIO;
        return -1;
    }
    int result = next(fd);
    if (result == 0)
        note("fdatasync\n");
    return result;
}

int unlinkat(int folder, const char *name, int flags)
{
    int (*next)(int, const char *, int) =
        (int (*)(int, const char *, int))dlsym(RTLD_NEXT, "unlinkat");
    const char *last = getenv("ORDER_KILL_AFTER");
    int result = next(folder, name, flags);
    if (result == 0 && last && strcmp(name, last) == 0)
        kill(getpid(), SIGKILL);
    return result;
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    ssize_t (*next)(int, const void *, size_t, int) =
        (ssize_t(*)(int, const void *, size_t, int))dlsym(RTLD_NEXT, "send");
    look_at(data, len);
    return next(fd, data, len, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    ssize_t (*next)(int, const struct msghdr *, int) =
        (ssize_t(*)(int, const struct msghdr *, int))dlsym(RTLD_NEXT, "sendmsg");
    for (size_t i = 0; i < message->msg_iovlen; i++)
        look_at(message->msg_iov[i].iov_base, message->msg_iov[i].iov_len);
    return next(fd, message, flags);
}
