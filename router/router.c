/* Wiring: what is made in which order, which signals mean what, what is taken apart in which order.
 * No mail is handled here. */
#include "router/router.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/memory.h"
#include "router/control_command.h"
#include "router/dispatcher.h"
#include "router/recovery.h"
#include "router/reload.h"
#include "router/termination.h"
#include "router/tls_cache_table.h"
#include "router/tls_report_outbox.h"
#include "router/tls_reporter.h"
#include "router/transcript.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

enum { BROKEN_HOSTS_MAX = 65536, REPORT_MAX = 16 * 1024, FREE_FDS_MIN = 16 };

struct router {
    const struct router_options *options;
    const struct config *config; /* of the start; lives in first_snapshot */
    struct config_snapshot *first_snapshot;
    struct spool spool;
    struct journal *journal;
    struct pauses pauses;
    struct commit_gate commit_gate;
    struct session_cache *session_cache;
    struct session_saver session_saver;
    struct reloader reloader;
    struct tls_broken_hosts *broken_hosts;
    struct tls_reporter *tls_reporter;           /* owned; NULL: nothing is counted */
    struct tls_report_outbox *tls_report_outbox; /* owned; NULL: no reports are sent */
    struct resolver *resolver;
    struct tls_context *sts_context; /* owned: the anchors for policy hosts */
    struct sts_service *sts;         /* owned; NULL: MTA-STS is off */
    struct site_pool *site_pool;
    struct log_file *delivery_log;
    struct log_file *transcript;
    struct worker_services worker_services;
    struct termination termination;
    struct worker *workers; /* owned array */
    struct journal_thread journal_thread;
    struct pickup *pickup;         /* owned */
    struct dispatcher *dispatcher; /* owned */
    struct control_services control_services;
    struct control *control; /* owned; NULL: none could be opened */
    int done_fd;             /* eventfd: the dispatcher ended by itself */
};

static void on_done(void *ctx)
{
    struct router *router = ctx;
    CHECK(eventfd_write(router->done_fd, 1) == 0);
}

static void stop_workers(void *ctx)
{
    struct router *router = ctx;
    for (unsigned i = 0; i < router->config->workers; i++)
        worker_stop(&router->workers[i]);
}

/* As many sockets as we may have: the hard limit. */
static void raise_fd_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* A mapped page cannot be had: the only files that are mapped and change are the journal's
 * segments. The instruction cannot be finished, and to go on without its record could double or
 * lose mail; what was stored so far is the kernel's and stays. Async-signal-safe. */
static void on_sigbus(int number, siginfo_t *info, void *context)
{
    static const char line[] =
        "error: a mapped file, most likely a segment of SPOOL/journal, cannot be read or written "
        "(disk error, no room, or it was cut short); ending, a restart goes on\n";
    (void)context;
    if (info->si_code == BUS_ADRERR) {
        ssize_t written = write(STDERR_FILENO, line, sizeof line - 1);
        (void)written;
        _exit(EX_IOERR);
    }
    raise(number); /* SA_RESETHAND: a bug of ours, to be seen as such */
}

/* All threads inherit what is set here. SIGIO comes from read leases (spool_open_message). */
static bool take_signals(struct router *router)
{
    struct sigaction sigbus = {.sa_sigaction = on_sigbus,
                               .sa_flags = (int)(SA_SIGINFO | SA_RESETHAND)};
    signal(SIGPIPE, SIG_IGN);
    signal(SIGIO, SIG_IGN);
    sigaction(SIGBUS, &sigbus, NULL);
    router->done_fd = eventfd(0, EFD_CLOEXEC);
    if (router->done_fd >= 0 && reloader_init(&router->reloader) &&
        termination_init(&router->termination, router->config->queue.shutdown_grace_ms,
                         router->reloader.asked_fd))
        return true;
    close(router->done_fd);
    return false;
}

static struct log_file *open_log(const char *path)
{
    struct log_file *file = log_file_open(path);
    if (!file)
        log_error("cannot open the log %s: %s", path, strerror(errno));
    return file;
}

static int open_logs(struct router *router)
{
    if (router->config->log.file[0] && !(router->delivery_log = open_log(router->config->log.file)))
        return EX_CANTCREAT;
    if (!config_wants_transcripts(router->config))
        return 0;
    char *path = transcript_path(router->config);
    router->transcript = open_log(path);
    free(path);
    return router->transcript ? 0 : EX_CANTCREAT;
}

static void open_tls(struct router *router)
{
    router->session_cache = session_cache_new(&router->config->tls.cache);
    session_saver_init(&router->session_saver, router->session_cache, router->config,
                       router->first_snapshot->tls_contexts[0]->ssl_ctx);
    router->broken_hosts =
        tls_broken_hosts_new(BROKEN_HOSTS_MAX, router->config->tls.broken_lifetime_ms);
}

static int start_resolver(struct router *router)
{
    const struct config *config = router->config;
    char why[ROUTE_WHY_MAX];
    struct resolver_options options = config_resolver_options(config);
    router->resolver = resolver_start(&options, why);
    if (router->resolver)
        return 0;
    log_error("%s", why);
    return EX_CONFIG;
}

static int start_sts(struct router *router)
{
    const struct config *config = router->config;
    char why[TLS_WHY_MAX];
    if (!config->tls.sts.enabled)
        return 0;
    struct sts_service_options options;
    char *file = config_sts_file(config);
    if (config_sts_options(config, &options, &router->sts_context, why)) {
        options.resolver = router->resolver;
        options.file = file;
        router->sts = sts_service_start(&options, why);
    }
    free(file);
    if (router->sts)
        return 0;
    log_error("%s", why);
    return EX_CONFIG;
}

static void claim(void *ctx, const struct file_identity *identity)
{
    pickup_claim(ctx, identity);
}

static bool init_threads(struct router *router)
{
    const struct config *config = router->config;
    commit_gate_init(&router->commit_gate, config);
    struct journal_thread_services journal_services = {
        .commit_gate = &router->commit_gate,
        .config = config,
        .spool = &router->spool,
        .journal = router->journal,
        .dispatcher = &router->dispatcher->mailbox,
        .pauses = &router->pauses,
    };
    struct pickup_services pickup_services = {
        .config = config,
        .spool = &router->spool,
        .journal = router->journal,
        .dispatcher = &router->dispatcher->mailbox,
        .pauses = &router->pauses,
        .num_ahead = site_pool_num_ahead(router->site_pool),
        .drain = router->options->drain || router->options->until_empty,
    };
    site_pool_set_loader(router->site_pool, &router->pickup->mailbox, PICKUP_AHEAD / 2);
    struct dispatcher_services dispatcher_services = {
        .config = config,
        .snapshot = router->first_snapshot,
        .journal = router->journal,
        .resolver = router->resolver,
        .sts = router->sts,
        .site_pool = router->site_pool,
        .pickup = &router->pickup->mailbox,
        .journal_thread = &router->journal_thread.mailbox,
        .delivery_log = router->delivery_log,
        .drain = router->options->drain,
        .until_empty = router->options->until_empty,
        .progress = router->options->progress,
        .on_done = on_done,
        .stop_workers = stop_workers,
        .ctx = router,
    };
    router->worker_services = (struct worker_services){
        .commit_gate = &router->commit_gate,
        .config = config,
        .spool = &router->spool,
        .journal = router->journal,
        .session_cache = router->session_cache,
        .broken_hosts = router->broken_hosts,
        .tls_reporter = router->tls_reporter,
        .site_pool = router->site_pool,
        .journal_thread = &router->journal_thread.mailbox,
        .dispatcher = &router->dispatcher->mailbox,
        .transcript = router->transcript,
        .pauses = &router->pauses,
    };
    if (!journal_thread_init(&router->journal_thread, &journal_services) ||
        !pickup_init(router->pickup, &pickup_services) ||
        !dispatcher_init(router->dispatcher, &dispatcher_services))
        return false;
    for (unsigned i = 0; i < config->workers; i++) {
        if (!worker_init(&router->workers[i], i, &router->worker_services))
            return false;
        site_pool_set_worker(router->site_pool, i, &router->workers[i].mailbox);
    }
    return true;
}

/* Without it the router delivers mail all the same: some file systems have no sockets. */
static void open_control(struct router *router)
{
    char why[SPOOL_WHY_MAX];
    router->control_services = (struct control_services){
        .config = router->config,
        .dispatcher = router->dispatcher,
        .journal_thread = &router->journal_thread,
        .pauses = &router->pauses,
        .session_cache = router->session_cache,
        .reloader = &router->reloader,
        .started_wall_ms = clock_wall_ms(),
    };
    router->control = control_new(&router->spool, &router->control_services, why);
    if (!router->control)
        log_error("no control socket: %s; mail is delivered all the same", why);
}

static bool start_threads(struct router *router)
{
    for (unsigned i = 0; i < router->config->workers; i++)
        if (!worker_start(&router->workers[i]))
            return false;
    return session_saver_start(&router->session_saver) &&
           journal_thread_start(&router->journal_thread) && dispatcher_start(router->dispatcher) &&
           pickup_start(router->pickup) && (!router->control || control_start(router->control));
}

static int open_spool(struct router *router, struct waiting_set *known)
{
    char why[SPOOL_WHY_MAX];
    if (!spool_open(&router->spool, router->config->spool, true, why)) {
        log_error("%s", why);
        return EX_CANTCREAT;
    }
    struct journal_options options = {.sync = config_syncs(router->config)};
    router->journal = journal_open(&router->spool, &options, waiting_set_on_live, known, why);
    if (!router->journal) {
        log_error("%s", why);
        return EX_IOERR;
    }
    return 0;
}

/* A limit that leaves no room for connections and messages would be a pause without end. */
static bool has_descriptors(const struct router *router)
{
    int fds[FREE_FDS_MIN], num = 0;
    while (num < FREE_FDS_MIN && (fds[num] = fcntl(router->spool.root_fd, F_DUPFD_CLOEXEC, 0)) >= 0)
        num++;
    bool enough = num == FREE_FDS_MIN;
    if (!enough)
        log_error("only %d descriptors are left to work with: %s; raise the limit (ulimit -n)", num,
                  strerror(errno));
    while (num)
        close(fds[--num]);
    return enough;
}

static int start_tls_reporter(struct router *router)
{
    const struct config *config = router->config;
    char why[TLS_REPORTER_WHY_MAX];
    if (!config->tls.report.keep_ms)
        return 0;
    router->tls_reporter = tls_reporter_start(config->spool, config->tls.report.keep_ms, why);
    if (router->tls_reporter)
        return 0;
    log_error("%s", why);
    return EX_OSERR;
}

/* The last of all: nothing that may fail comes after it. */
static bool start_tls_report_outbox(struct router *router)
{
    const struct config *config = router->config;
    char why[TLS_WHY_MAX];
    if (!config->tls.report.send)
        return true;
    router->tls_report_outbox =
        tls_report_outbox_start(config, &router->spool, router->resolver, why);
    if (!router->tls_report_outbox)
        log_error("%s", why);
    return router->tls_report_outbox;
}

static int start(struct router *router)
{
    struct waiting_set known = {0};
    char why[SPOOL_WHY_MAX];
    int code = open_logs(router);
    if (code == 0)
        code = open_spool(router, &known);
    if (code == 0)
        open_tls(router);
    if (code == 0)
        code = start_resolver(router);
    if (code == 0)
        code = start_sts(router);
    if (code == 0)
        code = start_tls_reporter(router);
    if (code) {
        waiting_set_fini(&known);
        return code;
    }
    router->site_pool = site_pool_new(router->config, router->config->workers);
    router->workers = mem_zalloc(router->config->workers, sizeof *router->workers);
    router->pickup = mem_zalloc(1, sizeof *router->pickup);
    router->dispatcher = mem_zalloc(1, sizeof *router->dispatcher);
    if (!init_threads(router)) {
        log_error("cannot prepare the threads: %s", strerror(errno));
        return EX_OSERR;
    }
    if (!recovery_finish(&known, &router->spool, &router->dispatcher->table, router->journal, claim,
                         router->pickup, why)) {
        log_error("the spool cannot be recovered: %s", why);
        return EX_IOERR;
    }
    pickup_set_highest_id(router->pickup, journal_highest_id(router->journal));
    open_control(router);
    if (!has_descriptors(router))
        return EX_OSERR;
    if (!log_start() || !start_threads(router)) {
        log_error("cannot start the threads: %s", strerror(errno));
        return EX_OSERR;
    }
    return start_tls_report_outbox(router) ? 0 : EX_OSERR;
}

static void wait_for_end(struct router *router)
{
    struct pollfd fds[] = {{.fd = router->termination.asked_fd, .events = POLLIN},
                           {.fd = router->done_fd, .events = POLLIN},
                           {.fd = router->reloader.asked_fd, .events = POLLIN}};
    for (;;) {
        int num = poll(fds, 3, -1);
        CHECK(num > 0 || errno == EINTR);
        if (num > 0 && (fds[0].revents || fds[1].revents))
            return;
        if (num > 0)
            reloader_run(&router->reloader);
    }
}

/* After log_stop(), so that it is the last that is said. */
static void report_session_cache(struct router *router)
{
    struct buffer text;
    if (!router->session_cache)
        return;
    buffer_init(&text, REPORT_MAX);
    if (tls_cache_summary(router->session_cache, &text)) {
        log_info("%.*s", (int)text.len, (const char *)text.at);
        buffer_clear(&text);
        if (router->options->progress)
            tls_cache_table(router->session_cache, &text);
        fwrite(text.at, 1, text.len, stderr);
    }
    buffer_fini(&text);
}

/* What was made before the threads; whatever of it there is. */
static void release(struct router *router)
{
    control_free(router->control);
    if (router->journal)
        journal_close(router->journal);
    session_saver_fini(&router->session_saver);
    if (router->session_cache)
        session_cache_free(router->session_cache);
    tls_reporter_stop(router->tls_reporter);
    if (router->broken_hosts)
        tls_broken_hosts_free(router->broken_hosts);
    tls_context_free(router->sts_context);
    if (router->spool.path)
        spool_close(&router->spool);
    log_file_close(router->delivery_log);
    log_file_close(router->transcript);
    close(router->done_fd);
    pauses_fini(&router->pauses);
}

/* Downstream last: whoever hands on ends before whoever receives, so that nothing is posted to
 * nobody. */
static int stop(struct router *router)
{
    pickup_stop(router->pickup);
    pickup_join(router->pickup);
    dispatcher_stop(router->dispatcher);
    for (unsigned i = 0; i < router->config->workers; i++)
        worker_join(&router->workers[i]);
    dispatcher_join(router->dispatcher);
    tls_reporter_stop(router->tls_reporter);
    router->tls_reporter = NULL;
    journal_thread_stop(&router->journal_thread);
    journal_thread_join(&router->journal_thread);
    if (router->sts)
        sts_service_stop(router->sts);
    tls_report_outbox_stop(router->tls_report_outbox);
    resolver_stop(router->resolver);
    sts_service_free(router->sts);
    tls_report_outbox_free(router->tls_report_outbox);
    if (router->control)
        control_stop(router->control);
    session_saver_stop(&router->session_saver);
    log_stop();
    report_session_cache(router);
    const struct table *table = &router->dispatcher->table;
    bool mail_left = router->dispatcher->done && table->num + table->num_held > 0;
    dispatcher_fini(router->dispatcher);
    pickup_fini(router->pickup);
    site_pool_free(router->site_pool);
    for (unsigned i = 0; i < router->config->workers; i++)
        worker_fini(&router->workers[i]);
    journal_thread_fini(&router->journal_thread);
    free(router->workers);
    free(router->pickup);
    free(router->dispatcher);
    release(router);
    return mail_left ? EX_TEMPFAIL : EX_OK;
}

static void wire_reloader(struct router *router)
{
    const struct router_options *options = router->options;
    router->reloader.path = options->config_path;
    router->reloader.spool = options->spool;
    router->reloader.started_with = router->config;
    router->reloader.snapshot = config_snapshot_ref(router->first_snapshot);
    router->reloader.dispatcher = router->dispatcher;
    router->reloader.session_cache = router->session_cache;
    router->reloader.session_saver = &router->session_saver;
}

static int run(struct router *router)
{
    pauses_init(&router->pauses);
    int code = start(router);
    if (code) {
        release(router);
    } else {
        wire_reloader(router);
        wait_for_end(router);
        code = stop(router);
    }
    termination_fini(&router->termination);
    reloader_fini(&router->reloader);
    return code;
}

int router_run(const struct router_options *options)
{
    char why[TLS_WHY_MAX];
    struct router router = {.options = options};
    int code = EX_OSERR;
    router.first_snapshot = config_snapshot_new(options->config, why);
    if (!router.first_snapshot) {
        log_error("%s", why);
        return EX_CONFIG;
    }
    router.config = router.first_snapshot->config;
    raise_fd_limit();
    /* The limit of core files does not hold for programs that the kernel pipes dumps into. */
    if (!router.config->core_dumps)
        prctl(PR_SET_DUMPABLE, 0);
    if (take_signals(&router))
        code = run(&router);
    else
        log_error("signals: %s", strerror(errno));
    config_snapshot_unref(router.first_snapshot);
    return code;
}
