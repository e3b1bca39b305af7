/* The only place that asks the time. Policy takes `now` as an argument instead.
 * Monotonic for waits, wall clock for files, DSN and expiry. Any thread. */
#ifndef SLUICE_BASE_CLOCK_H
#define SLUICE_BASE_CLOCK_H

#include <stdint.h>

int64_t clock_mono_us(void);
/* Microseconds since the epoch. */
int64_t clock_wall_us(void);

static inline int64_t clock_wall_ms(void)
{
    return clock_wall_us() / 1000;
}

#endif
