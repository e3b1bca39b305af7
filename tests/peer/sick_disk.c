/* Stands before the C library's fdatasync and fsync in a program that preloads it: while the file
 * that SICK_DISK names exists, they hang or fail, as the file's one word says. For
 * tests/e2e/shutdown_test.py. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int sick(void)
{
    char word[8] = "";
    int fd = open(getenv("SICK_DISK"), O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    if (read(fd, word, sizeof word - 1) < 0)
        word[0] = '\0';
    close(fd);
    while (strcmp(word, "hang") == 0)
        pause();
    errno = EIO;
    return 1;
}

int fdatasync(int fd)
{
    return sick() ? -1 : (int)syscall(SYS_fdatasync, fd);
}

int fsync(int fd)
{
    return sick() ? -1 : (int)syscall(SYS_fsync, fd);
}
