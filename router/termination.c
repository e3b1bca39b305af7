/* Waits for signals and for the time that is left after the first.
 * It stops nothing itself: it says so, and pulls the plug when that did not help. */
#include "router/termination.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sysexits.h>
#include <unistd.h>

enum { SLACK_MS = 2000 }; /* beyond the grace: for the last commit */

/* Not through the log's thread, which may be what hangs, or not be there yet or any more; and only
 * if standard error takes it without waiting. */
static void say(const char *line)
{
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&out, 1, 0) == 1 && (out.revents & POLLOUT))
        (void)!write(STDERR_FILENO, line, strlen(line));
}

_Noreturn static void end_at_once(const char *why)
{
    say(why);
    _exit(EX_TEMPFAIL);
}

static int wait_ms(int64_t end_ms)
{
    if (end_ms == 0)
        return -1;
    int64_t left_ms = end_ms - clock_mono_us() / 1000;
    return left_ms > 0 ? (int)left_ms : 0;
}

static void *termination_main(void *ctx)
{
    struct termination *termination = ctx;
    struct pollfd fds[] = {{.fd = termination->signal_fd, .events = POLLIN},
                           {.fd = termination->over_fd, .events = POLLIN}};
    int64_t end_ms = 0; /* 0: not asked to end */
    for (;;) {
        int num = poll(fds, 2, wait_ms(end_ms));
        CHECK(num >= 0 || errno == EINTR);
        if (num > 0 && fds[1].revents)
            return NULL;
        if (num == 0)
            end_at_once("error: the grace is over and the router still runs; it ends at once, and "
                        "what was under way stays in the spool\n");
        struct signalfd_siginfo info;
        if (num < 0 || read(termination->signal_fd, &info, sizeof info) != sizeof info)
            continue;
        if (info.ssi_signo == SIGHUP) {
            CHECK(eventfd_write(termination->reload_fd, 1) == 0);
            continue;
        }
        if (end_ms)
            end_at_once("warning: asked twice to stop; what was under way stays in the spool\n");
        end_ms = clock_mono_us() / 1000 + termination->grace_ms + SLACK_MS;
        if (log_wants(LOG_LEVEL_INFO))
            say("info: stopping: transactions under way may end; a second signal ends at once\n");
        CHECK(eventfd_write(termination->asked_fd, 1) == 0);
    }
}

static void close_all(struct termination *termination)
{
    close(termination->signal_fd);
    close(termination->over_fd);
    close(termination->asked_fd);
}

bool termination_init(struct termination *termination, int64_t grace_ms, int reload_fd)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    *termination = (struct termination){.signal_fd = signalfd(-1, &set, SFD_CLOEXEC),
                                        .over_fd = eventfd(0, EFD_CLOEXEC),
                                        .asked_fd = eventfd(0, EFD_CLOEXEC),
                                        .reload_fd = reload_fd,
                                        .grace_ms = grace_ms};
    bool made =
        termination->signal_fd >= 0 && termination->over_fd >= 0 && termination->asked_fd >= 0;
    int rc = errno;
    if (made)
        rc = pthread_create(&termination->thread, NULL, termination_main, termination);
    if (made && rc == 0) {
        pthread_setname_np(termination->thread, "termination");
        return true;
    }
    close_all(termination);
    errno = rc;
    return false;
}

void termination_fini(struct termination *termination)
{
    CHECK(eventfd_write(termination->over_fd, 1) == 0);
    pthread_join(termination->thread, NULL);
    close_all(termination);
}
