/* sluice-sink: a receiver of mail for tests, demonstrations and measurements.
 * This file starts and ends it; it takes part in no conversation. */
#include "base/clock.h"
#include "base/log.h"
#include "base/memory.h"
#include "bench/sink/options.h"
#include "bench/sink/ports.h"
#include "bench/sink/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sysexits.h>
#include <unistd.h>

enum {
    SEEN_MAX = 8 * 1024 * 1024,  /* message and recipient pairs told apart */
    DEFERRALS_MAX = 1024 * 1024, /* recipients remembered by defer-first */
    REPORT_MAX = 4 * 1024 * 1024
};

_Noreturn static void die(const char *what, const char *why)
{
    log_error("%s: %s", what, why);
    exit(EX_OSERR);
}

/* Replaces the file as a whole, so that readers who poll see all or nothing. */
static void write_file(const char *path, struct bytes text)
{
    char *part = mem_printf("%s.part", path);
    FILE *file = fopen(part, "we");
    bool ok = file && fwrite(text.at, 1, text.len, file) == text.len;
    if (file && fclose(file) != 0)
        ok = false;
    if (!ok || rename(part, path) != 0)
        die(path, strerror(errno));
    free(part);
}

static void write_port_file(const struct options *options)
{
    struct buffer text;
    buffer_init(&text, REPORT_MAX);
    for (size_t i = 0; i < options->num_personalities; i++) {
        char address[PORTS_ADDRESS_MAX];
        ports_address(&options->personalities[i], address);
        buffer_printf(&text, "%s %s\n", options->personalities[i].name, address);
    }
    write_file(options->port_file, buffer_bytes(&text));
    buffer_fini(&text);
}

static void make_identity(const struct options *options, struct tls_identity *out)
{
    if (options->cert_file) {
        if (!tls_identity_load(out, options->cert_file, options->key_file))
            die(options->cert_file, "no usable certificate and key");
    } else {
        const char **names = mem_zalloc(options->num_personalities, sizeof *names);
        for (size_t i = 0; i < options->num_personalities; i++)
            names[i] = options->personalities[i].name;
        if (!tls_identity_make(out, names, options->num_personalities))
            die("cannot make a certificate", tls_error());
        free(names);
    }
    if (options->cert_out && !tls_identity_save(out, options->cert_out))
        die(options->cert_out, strerror(errno));
}

static void sink_init(struct sink *sink, const struct options *options)
{
    struct tls_identity identity;
    *sink = (struct sink){.num_listeners = options->num_personalities,
                          .find_duplicates = options->find_duplicates,
                          .timeout_ms = options->timeout_ms};
    tally_init(&sink->seen, SEEN_MAX);
    make_identity(options, &identity);
    sink->listeners = mem_zalloc(sink->num_listeners, sizeof *sink->listeners);
    for (size_t i = 0; i < sink->num_listeners; i++) {
        struct listener *listener = &sink->listeners[i];
        listener->personality = &options->personalities[i];
        tally_init(&listener->deferrals, DEFERRALS_MAX);
        atomic_store(&listener->dots_to_drop, listener->personality->close_after_dot);
        if (listener->personality->tls == PERSONALITY_TLS_NONE)
            continue;
        listener->tls = tls_server_new(listener->personality, &identity);
        if (!listener->tls)
            die("certificate or key refused", tls_error());
    }
    tls_identity_fini(&identity);
    if (options->ledger && !(sink->ledger = ledger_open(options->ledger, options->ledger_times)))
        die(options->ledger, strerror(errno));
    if (options->maildir && !(sink->store = store_open(options->maildir)))
        die(options->maildir, strerror(errno));
}

static void sink_fini(struct sink *sink)
{
    for (size_t i = 0; i < sink->num_listeners; i++) {
        tls_server_free(sink->listeners[i].tls);
        tally_fini(&sink->listeners[i].deferrals);
    }
    free(sink->listeners);
    store_close(sink->store);
    ledger_close(sink->ledger);
    tally_fini(&sink->seen);
}

static void print_sum(struct buffer *out, const struct server *servers, unsigned num_servers,
                      size_t first, size_t num)
{
    struct stats_sum sum = {0};
    for (unsigned thread = 0; thread < num_servers; thread++) {
        for (size_t i = first; i < first + num; i++)
            stats_sum_add(&sum, &servers[thread].counters[i]);
    }
    stats_sum_print(&sum, out);
}

static uint64_t microseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_usec;
}

static void write_stats(const struct options *options, const struct server *servers, unsigned dump)
{
    struct buffer text;
    struct rusage usage;
    if (!options->stats_file)
        return;
    buffer_init(&text, REPORT_MAX);
    getrusage(RUSAGE_SELF, &usage);
    buffer_printf(&text, "{\"dump\": %u, \"cpu_user_us\": %llu, \"cpu_system_us\": %llu,\n", dump,
                  (unsigned long long)microseconds(usage.ru_utime),
                  (unsigned long long)microseconds(usage.ru_stime));
    buffer_append_str(&text, " \"total\": ");
    print_sum(&text, servers, options->threads, 0, options->num_personalities);
    buffer_append_str(&text, ",\n \"listeners\": [");
    for (size_t i = 0; i < options->num_personalities; i++) {
        char address[PORTS_ADDRESS_MAX];
        ports_address(&options->personalities[i], address);
        buffer_printf(&text,
                      "%s\n  {\"name\": \"%s\", \"address\": \"%s\", \"counters\": ", i ? "," : "",
                      options->personalities[i].name, address);
        print_sum(&text, servers, options->threads, i, 1);
        buffer_append_byte(&text, '}');
    }
    buffer_append_str(&text, "]}\n");
    if (strcmp(options->stats_file, "-") == 0) {
        fwrite(text.at, 1, text.len, stdout);
        fflush(stdout);
    } else {
        write_file(options->stats_file, buffer_bytes(&text));
    }
    buffer_fini(&text);
}

static void start_servers(struct server *servers, struct sink *sink, struct options *options)
{
    size_t num = options->num_personalities;
    int *fds = mem_zalloc(num * options->threads, sizeof *fds);
    if (!ports_open(options, fds))
        die("cannot listen", strerror(errno));
    for (unsigned i = 0; i < options->threads; i++) {
        if (!server_init(&servers[i], sink, fds + i * num) || !server_start(&servers[i]))
            die("cannot start a thread", strerror(errno));
    }
    free(fds);
    if (options->port_file)
        write_port_file(options);
}

/* Many connections at once are the point of it. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void block_signals(sigset_t *set)
{
    signal(SIGPIPE, SIG_IGN);
    sigemptyset(set);
    sigaddset(set, SIGTERM);
    sigaddset(set, SIGINT);
    sigaddset(set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, set, NULL); /* before any thread: they inherit it */
}

int main(int argc, char **argv)
{
    struct options options;
    struct sink sink;
    sigset_t signals;
    int received = 0;
    unsigned dump = 0;
    options_parse(&options, argc, argv);
    block_signals(&signals);
    raise_descriptor_limit();
    sink_init(&sink, &options);
    struct server *servers = mem_zalloc(options.threads, sizeof *servers);
    start_servers(servers, &sink, &options);
    while (sigwait(&signals, &received) != 0 || received == SIGUSR1)
        write_stats(&options, servers, ++dump);
    for (unsigned i = 0; i < options.threads; i++)
        server_stop(&servers[i]);
    write_stats(&options, servers, ++dump);
    for (unsigned i = 0; i < options.threads; i++)
        server_fini(&servers[i]);
    free(servers);
    sink_fini(&sink);
    options_fini(&options);
    return EX_OK;
}
