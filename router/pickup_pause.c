/* What pickup watches for all: whether the spool still stands where it was configured, and whether
 * the system gives descriptors again. The other sources of pauses.h are watched where they arise.
 */
#include "base/clock.h"
#include "base/memory.h"
#include "router/pickup.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SPARE_FDS = 8 }; /* that many at once must be had before work goes on */

/* 0, or why mail that is dropped there would not be seen: it was unmounted, renamed, removed, or
 * another folder stands there now (ESTALE). */
static int spool_trouble(const struct spool *spool)
{
    struct stat ours, there;
    if (fstat(spool->root_fd, &ours) != 0 || stat(spool->path, &there) != 0)
        return errno;
    return ours.st_dev == there.st_dev && ours.st_ino == there.st_ino ? 0 : ESTALE;
}

static void check_spool(struct pickup *pickup)
{
    struct pauses *pauses = pickup->services.pauses;
    int error = spool_trouble(pickup->services.spool);
    if (error) {
        pauses_begin(pauses, PAUSE_SPOOL, error, clock_wall_ms());
        pickup->spool_was_away = true;
        return;
    }
    pauses_end(pauses, PAUSE_SPOOL, clock_wall_ms());
    /* What was dropped while it was away made no event that we saw. */
    if (pickup->spool_was_away)
        pickup->rescan = true;
    pickup->spool_was_away = false;
}

static void check_limits(struct pickup *pickup)
{
    int fds[SPARE_FDS];
    unsigned num = 0;
    while (num < SPARE_FDS &&
           (fds[num] = fcntl(pickup->services.spool->root_fd, F_DUPFD_CLOEXEC, 0)) >= 0)
        num++;
    bool had = num == SPARE_FDS;
    while (num)
        close(fds[--num]);
    if (had)
        pauses_end(pickup->services.pauses, PAUSE_LIMITS, clock_wall_ms());
}

static void on_pause_due(struct timer *timer, int64_t now_ms)
{
    (void)now_ms;
    struct pickup *pickup = container_of(timer, struct pickup, pause_timer);
    check_spool(pickup);
    if (pauses_any(pickup->services.pauses))
        check_limits(pickup);
    loop_arm(&pickup->loop, timer, PAUSE_RETRY_MS);
}

void pickup_pause_init(struct pickup *pickup)
{
    timer_init(&pickup->pause_timer, on_pause_due);
    loop_arm(&pickup->loop, &pickup->pause_timer, PAUSE_RETRY_MS);
}
