/* Lines and tables about a drain for people.
 * It writes nowhere and reads no clock. */
#include "router/progress.h"

#include "router/text_columns.h"

#include <inttypes.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEFAULT_COLUMNS = 80, LINE_MAX_OCTETS = 512 };

void progress_init(struct progress *progress, int fd, int64_t now_ms)
{
    struct winsize size = {0};
    *progress = (struct progress){.is_terminal = isatty(fd) == 1,
                                  .columns = DEFAULT_COLUMNS,
                                  .started_ms = now_ms,
                                  .shown_ms = now_ms};
    if (progress->is_terminal && ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= 20)
        progress->columns = size.ws_col;
}

static void put_elapsed(struct buffer *out, int64_t elapsed_ms)
{
    int64_t seconds = elapsed_ms > 0 ? elapsed_ms / 1000 : 0;
    buffer_printf(out, "%02" PRId64 ":%02" PRId64 ":%02" PRId64, seconds / 3600, seconds / 60 % 60,
                  seconds % 60);
}

static void put_line(const struct progress *progress, const struct progress_totals *totals,
                     int64_t now_ms, struct buffer *out)
{
    put_elapsed(out, now_ms - progress->started_ms);
    buffer_printf(out,
                  "  %.0f/s  delivered %" PRIu64 "  deferred %" PRIu64 "  bounced %" PRIu64
                  "  waiting %" PRIu64 "  connections %" PRIu64,
                  progress->rate, totals->delivered, totals->deferred, totals->bounced,
                  totals->waiting, totals->connections);
}

/* The rate of the last interval, smoothed so that it can be read. */
static void update_rate(struct progress *progress, const struct progress_totals *totals,
                        int64_t now_ms)
{
    double seconds = (double)(now_ms - progress->shown_ms) / 1000.0;
    uint64_t delivered = totals->delivered - progress->shown_delivered;
    double rate = (double)delivered / seconds;
    bool is_first = progress->shown_ms == progress->started_ms;
    progress->rate = is_first || !progress->is_terminal ? rate : progress->rate * 0.7 + rate * 0.3;
    progress->shown_ms = now_ms;
    progress->shown_delivered = totals->delivered;
}

bool progress_update(struct progress *progress, const struct progress_totals *totals,
                     int64_t now_ms, struct buffer *out)
{
    int64_t interval =
        progress->is_terminal ? PROGRESS_TERMINAL_INTERVAL_MS : PROGRESS_PLAIN_INTERVAL_MS;
    struct buffer line;
    if (now_ms - progress->shown_ms < interval)
        return false;
    update_rate(progress, totals, now_ms);
    buffer_init(&line, LINE_MAX_OCTETS);
    put_line(progress, totals, now_ms, &line);
    progress_wipe(progress, out);
    if (progress->is_terminal)
        /* The last column stays free: some terminals wrap when it is used. */
        text_columns_put(out, buffer_bytes(&line), progress->columns - 1, false);
    else
        buffer_append_bytes(out, buffer_bytes(&line));
    if (!progress->is_terminal)
        buffer_append_byte(out, '\n');
    progress->line_open = progress->is_terminal;
    buffer_fini(&line);
    return true;
}

void progress_wipe(struct progress *progress, struct buffer *out)
{
    if (progress->line_open)
        buffer_append_str(out, "\r\x1b[K");
    progress->line_open = false;
}

static void put_row(struct buffer *out, size_t name_columns, const struct progress_site *site)
{
    text_columns_put(out, bytes_of(site->name), name_columns, true);
    buffer_printf(out,
                  " %10" PRIu64 " %9" PRIu64 " %8" PRIu64 " %12" PRIu64 " %10" PRIu64 " %9" PRIu64
                  " %12" PRIu64 "\n",
                  site->delivered, site->deferred, site->bounced, site->connections,
                  site->plaintext, site->tls_full, site->tls_resumed);
}

static void add_site(struct progress_site *sum, const struct progress_site *site)
{
    sum->delivered += site->delivered;
    sum->deferred += site->deferred;
    sum->bounced += site->bounced;
    sum->connections += site->connections;
    sum->plaintext += site->plaintext;
    sum->tls_full += site->tls_full;
    sum->tls_resumed += site->tls_resumed;
}

static size_t widest_name(const struct progress_site *sites, size_t num_sites)
{
    size_t widest = strlen("destination");
    for (size_t i = 0; i < num_sites; i++) {
        size_t len = strnlen(sites[i].name, sizeof sites[i].name);
        widest = len > widest ? len : widest;
    }
    return widest < PROGRESS_NAME_COLUMNS ? widest : PROGRESS_NAME_COLUMNS;
}

static uint64_t beyond(uint64_t total, uint64_t sum)
{
    return total > sum ? total - sum : 0;
}

/* False when the rows tell of every recipient. */
static bool find_rest(const struct progress_totals *totals, const struct progress_site *sum,
                      struct progress_site *out)
{
    *out = (struct progress_site){.name = "(no host)",
                                  .delivered = beyond(totals->delivered, sum->delivered),
                                  .deferred = beyond(totals->deferred, sum->deferred),
                                  .bounced = beyond(totals->bounced, sum->bounced)};
    return out->delivered || out->deferred || out->bounced;
}

void progress_table(const struct progress_site *sites, size_t num_sites,
                    const struct progress_totals *totals, int64_t elapsed_ms, struct buffer *out)
{
    struct progress_site sum = {.name = "total"}, rest;
    size_t columns = widest_name(sites, num_sites);
    text_columns_put(out, bytes_of("destination"), columns, true);
    buffer_printf(out, " %10s %9s %8s %12s %10s %9s %12s\n", "delivered", "deferred", "bounced",
                  "connections", "plaintext", "full TLS", "resumed TLS");
    for (size_t i = 0; i < num_sites; i++) {
        put_row(out, columns, &sites[i]);
        add_site(&sum, &sites[i]);
    }
    if (find_rest(totals, &sum, &rest)) {
        put_row(out, columns, &rest);
        add_site(&sum, &rest);
    }
    put_row(out, columns, &sum);
    double seconds = elapsed_ms > 0 ? (double)elapsed_ms / 1000.0 : 0;
    buffer_printf(out, "%.1f s, %.0f delivered a second\n", seconds,
                  seconds > 0 ? (double)sum.delivered / seconds : 0);
}
